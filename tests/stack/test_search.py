"""Search: the front of a space that is known, trials that count, and processes that share a study or are killed."""

import json
import os
import resource
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import _file as journal
from optuna.trial import FixedTrial, TrialState

import toy
from labkit.stack import Refused, Runner, admit, step
from labkit.stack.search import finished_trials, search

pytestmark = pytest.mark.usefixtures("unsynced")
OBJECTIVES = {"lost": "minimize", "file": "minimize"}


@pytest.fixture
def storage(tmp_path) -> Path:
    return tmp_path / "new" / "study.log"


def everything() -> tuple[set[tuple[float, ...]], set[tuple[str, ...]]]:
    """The front of the toy space by brute force, and the stacks that are refused."""
    known, refused = set(), set()
    for times, packed, folded in product([1, 2, 4], [False, True], [0, 1, 2]):
        steps = toy.space(FixedTrial({"times": times, "packed": packed, "folded": folded}))
        try:
            admit(steps, toy.Toy.facts)
        except Refused:
            refused.add(tuple(map(str, steps)))
            continue
        measured = Runner(toy.Toy()).run(steps)[-1].measurements
        known.add(tuple(measured[metric].value for metric in OBJECTIVES))
    dominated = {a for a, b in product(known, known) if a != b and all(y <= x for x, y in zip(a, b))}
    return known - dominated, refused


FRONT, REFUSED = everything()


@pytest.mark.parametrize(
    "sampler, kind", [("nsga2", optuna.samplers.NSGAIISampler), ("tpe", optuna.samplers.TPESampler)]
)
def test_the_front_of_a_small_space_is_found(sampler, kind, runner, storage):
    study = search(runner, toy.space, 70, storage, sampler, OBJECTIVES)
    assert type(study.sampler) is kind
    assert len(FRONT) == 4
    assert {tuple(trial.values) for trial in study.best_trials} == FRONT
    assert len(study.trials) == finished_trials(study) == 70


def test_a_trial_has_its_steps_and_a_value_for_every_objective(runner, task, storage):
    study = search(runner, toy.space, 12, storage)
    assert [direction.name for direction in study.directions] == ["MINIMIZE"] * 3
    for trial in study.trials:
        steps = toy.space(FixedTrial(trial.params))
        assert trial.user_attrs["steps"] == [str(step) for step in steps]
        if trial.state == TrialState.COMPLETE:
            measured = runner.run(steps)[-1].measurements
            assert trial.values == [measured[metric].value for metric in ("lost", "file", "latency")]


def test_objectives_can_be_maximized(runner, storage):
    study = search(runner, toy.space, 40, storage, objectives={"file": "maximize", "lost": "maximize"})
    known = [tuple(trial.values) for trial in study.trials if trial.values]
    best = {tuple(trial.values) for trial in study.best_trials}
    assert best == {a for a in known if not any(a != b and b[0] >= a[0] and b[1] >= a[1] for b in known)}
    assert (4096, 0) in best


def test_a_stack_that_is_refused_counts_and_does_not_stop_the_search(runner, task, storage):
    study = search(runner, toy.space, 40, storage, objectives=OBJECTIVES)
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned and {tuple(trial.user_attrs["steps"]) for trial in pruned} <= REFUSED
    assert all(trial.values is None for trial in pruned)
    assert {trial.state for trial in study.trials} == {TrialState.PRUNED, TrialState.COMPLETE}
    assert finished_trials(study) == len(study.trials) == 40
    assert not REFUSED & {row.steps for row in runner.rows.all()}


def test_a_stack_that_was_tried_is_not_run_again(runner, task, storage):
    search(runner, toy.space, 40, storage)
    assert task.measured == len(runner.rows.all()) <= 12


def test_the_same_seed_tries_the_same_stacks(task, tmp_path):
    tried = []
    for number, seed in enumerate((0, 0, 1)):
        study = search(Runner(task), toy.space, 10, tmp_path / str(number), seed=seed)
        tried.append([trial.params for trial in study.trials])
    assert tried[0] == tried[1] != tried[2]


def test_called_again_it_goes_on_to_the_new_total(task, storage):
    first = search(Runner(task), toy.space, 5, storage).trials
    for trials in (5, 3, 0):
        assert search(Runner(task), toy.space, trials, storage).trials == first
    study = search(Runner(task), toy.space, 9, storage)
    assert study.trials[:5] == first
    assert [trial.number for trial in study.trials] == list(range(9))
    assert [trial.params for trial in study.trials[5:]] != [trial.params for trial in study.trials[:4]]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_or_an_error_stops_the_search_and_its_trial_does_not_count(error, runner, storage):
    @step()
    def fail(model, task):
        raise error

    def failing(trial):
        return [fail()] if trial.number == 2 else toy.space(trial)

    with pytest.raises(error):
        search(runner, failing, 5, storage)
    study = search(runner, toy.space, 5, storage)
    assert finished_trials(study) == 5
    assert [trial.state == TrialState.FAIL for trial in study.trials] == [False, False, True, False, False, False]


def test_an_unknown_sampler_is_an_error_that_names_the_known_ones(runner, storage):
    with pytest.raises(ValueError, match="the sampler is 'nsga2' or 'tpe', got 'random'"):
        search(runner, toy.space, 5, storage, "random")
    assert not storage.exists()


def test_objectives_that_rows_lack_are_an_error_that_names_what_they_have(runner, storage):
    wrong = {"size": "minimize", "accuracy": "maximize", "file": "minimize"}
    with pytest.raises(ValueError, match="rows have no accuracy, size; they have file, lost, latency"):
        search(runner, toy.space, 50, storage, objectives=wrong)


@pytest.mark.parametrize(
    "other", [{"lost": "minimize"}, {"file": "minimize", "lost": "minimize"}, {"lost": "maximize", "file": "minimize"}]
)
def test_a_study_keeps_its_objectives(other, runner, storage):
    search(runner, toy.space, 3, storage, objectives=OBJECTIVES)
    with pytest.raises(ValueError, match="the study has the objectives {'lost': 'minimize', 'file': 'minimize'}, got"):
        search(runner, toy.space, 6, storage, objectives=other)
    assert finished_trials(search(runner, toy.space, 4, storage, objectives=OBJECTIVES)) == 4


def test_a_study_can_be_in_a_file_or_in_a_database(runner, tmp_path):
    for storage in (tmp_path / "a.log", str(tmp_path / "b.log"), f"sqlite:///{tmp_path}/c.db"):
        search(runner, toy.space, 2, storage)
        study = search(runner, toy.space, 4, storage)
        assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert {path.name for path in tmp_path.glob("?.*")} == {"a.log", "b.log", "c.db"}


def test_studies_of_two_tasks_can_share_a_file(runner, storage):
    other = toy.Toy()
    other.name = "another toy"
    search(runner, toy.space, 3, storage)
    assert finished_trials(search(Runner(other), toy.space, 2, storage)) == 2
    assert finished_trials(search(runner, toy.space, 3, storage)) == 3


def test_the_lock_of_a_file_points_at_the_file_also_if_the_path_is_relative(runner, tmp_path, monkeypatch):
    """Whoever waits for the lock of a killed process tells its age by the file that it points at."""
    targets, symlink = [], os.symlink
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journal.os, "symlink", lambda to, link: (symlink(to, link), targets.append(Path(link).stat())))
    search(runner, toy.space, 1, Path("new") / "study.log")
    assert targets


# --- several processes ---

WORKER = """
import sys
import toy
from labkit.stack import Rows, Runner, step
from labkit.stack.search import search

storage, folder, trials, seed, blocks = sys.argv[1:]


@step()
def block(model, task):
    print("blocks", flush=True)
    sys.stdin.readline()
    return model


def space(trial):
    trial.set_user_attr("worker", seed)
    steps = toy.space(trial)
    if blocks == "yes" and trial.number == 4:
        steps.append(block())
    return steps


runner = Runner(toy.Toy(), Rows(folder))
print("ready", flush=True)
sys.stdin.readline()
search(runner, space, int(trials), storage, seed=int(seed))
"""


@pytest.fixture
def worker(tmp_path, folder, storage):
    """Starts processes that search, each when it is told to; ends those that are left."""
    started = []
    (tmp_path / "worker.py").write_text(WORKER)

    def start(trials: int, seed: int, blocks: str = "no") -> subprocess.Popen:
        command = [sys.executable, tmp_path / "worker.py", storage, folder, str(trials), str(seed), blocks]
        path = os.pathsep.join([str(Path(toy.__file__).parent), os.environ.get("PYTHONPATH", "")])
        started.append(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go(*processes: subprocess.Popen) -> None:
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def test_two_processes_finish_one_study_together(worker, runner, storage, folder):
    workers = [worker(30, seed) for seed in (0, 1000)]
    go(*workers)
    for process in workers:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    study = search(runner, toy.space, 0, storage)
    assert 30 <= finished_trials(study) == len(study.trials) <= 31  # both may be at their last
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    assert {trial.state for trial in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert {trial.user_attrs["worker"] for trial in study.trials} == {"0", "1000"}
    assert {path.suffix for path in folder.iterdir()} == {".json"}
    tried = {tuple(t.user_attrs["steps"]) for t in study.trials if t.state == TrialState.COMPLETE}
    assert tried == {row.steps for row in runner.rows.all()}


def test_a_process_that_is_killed_loses_one_trial_and_the_study_can_be_finished(worker, runner, task, storage):
    killed = worker(10, 0, blocks="yes")
    go(killed)
    assert killed.stdout.readline() == "blocks\n"
    killed.kill()
    assert killed.wait(timeout=60) != 0
    study = search(runner, toy.space, 0, storage)
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3, 4]
    assert [trial.state == TrialState.RUNNING for trial in study.trials] == [False] * 4 + [True]
    assert task.measured == 0
    study = search(runner, toy.space, 10, storage)
    assert finished_trials(study) == 10
    assert [trial.number for trial in study.trials] == list(range(11))
    assert optuna.load_study(study_name="toy", storage=study._storage).best_trials == study.best_trials


def test_half_a_line_that_a_full_disk_left_is_dropped_and_the_study_goes_on(runner, storage, unsynced):
    search(runner, toy.space, 5, storage)
    whole = storage.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 284, limits[1]))
    try:
        with pytest.raises(OSError):
            search(runner, toy.space, 50, storage)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert len(whole) < storage.stat().st_size and not storage.read_bytes().endswith(b"\n")
    assert finished_trials(search(runner, toy.space, 20, storage)) == 20
    assert storage.read_bytes().startswith(whole)


@pytest.mark.parametrize("half", [b'{"op_code":', b"\0" * 100, b"x"])
def test_whatever_stands_behind_the_last_whole_line_is_dropped(half, runner, storage, unsynced):
    search(runner, toy.space, 3, storage)
    storage.write_bytes(storage.read_bytes() + half)
    assert finished_trials(search(runner, toy.space, 6, storage)) == 6
    assert all(map(json.loads, storage.read_bytes().splitlines()))


def test_a_damaged_line_is_an_error_that_names_file_and_line(runner, storage, unsynced):
    search(runner, toy.space, 3, storage)
    lines = storage.read_bytes().splitlines(keepends=True)
    storage.write_bytes(b"".join([*lines[:4], lines[4][:20], *lines[5:]]))
    with pytest.raises(ValueError, match="study.log is damaged: delete line 5, "):
        search(runner, toy.space, 6, storage)
