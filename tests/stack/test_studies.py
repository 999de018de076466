"""The studies of Lab 05: their stacks can all be run, and the command that runs them, on the toy task."""

import json
import shutil
from itertools import permutations

import optuna
import pytest
from optuna.trial import FixedTrial

import toy
from labkit.measure import Measurement
from labkit.stack import Refused, Rows, Runner, StackResult, Step, admit, is_admissible, read, studies
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text
from labkit.stack.search import finished_trials, search

pytestmark = pytest.mark.usefixtures("unsynced")
IMAGES = pytest.param(images, studies.image_space, studies.image_stacks, studies.images_facts(), id="images")
TEXT = pytest.param(text, studies.text_space, studies.text_stacks, frozenset(), id="text")
of_both_tasks = pytest.mark.parametrize("vocabulary, space, stacks, facts", [IMAGES, TEXT])


@of_both_tasks
def test_every_stack_of_a_study_is_admissible_and_can_be_read(vocabulary, space, stacks, facts):
    for stack in stacks():
        assert is_admissible(stack, facts), [str(step) for step in stack]
        assert tuple(read(str(step), vocabulary) for step in stack) == tuple(stack)


@of_both_tasks
def test_a_study_has_the_start_every_order_every_ablation_and_every_pair(vocabulary, space, stacks, facts):
    steps, pairs, whole = (
        (studies.IMAGE_STEPS, studies.IMAGE_PAIRS, studies.IMAGE_STACK)
        if vocabulary is images
        else (studies.TEXT_STEPS, studies.TEXT_PAIRS, studies.TEXT_STACK)
    )
    wanted = [(), whole, *permutations(steps), *permutations(pairs, 2), *[(each,) for each in (*pairs, *whole)]]
    wanted += [whole[:number] + whole[number + 1 :] for number in range(len(whole))]
    assert {stack for stack in wanted if is_admissible(stack, facts)} <= {tuple(stack) for stack in stacks()}
    assert is_admissible(whole, facts)


def draws(space, count: int):
    """Stacks that a search could try first, with what was suggested for each."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield space(trial), trial.params


@of_both_tasks
def test_whatever_is_suggested_gives_steps_that_can_be_read_and_are_admissible_or_refused(
    vocabulary, space, stacks, facts
):
    admissible = 0
    for steps, params in draws(space, 300):
        assert isinstance(steps, list) and all(isinstance(step, Step) for step in steps)
        assert [read(str(step), vocabulary) for step in steps] == steps
        assert space(FixedTrial(params)) == steps
        try:
            assert len(admit(steps, facts)) == len(steps)
            admissible += 1
        except Refused as error:
            assert str(error)
    assert admissible > 200


def test_of_pictures_only_training_after_integers_is_refused():
    for steps, params in draws(studies.image_space, 300):
        refused = params["values"] == "int8" and params["training"] != "none" and params["training after sharing"]
        assert is_admissible(steps, studies.images_facts()) == (not refused), [str(step) for step in steps]


def test_of_text_nothing_is_refused():
    assert all(is_admissible(steps, frozenset()) for steps, _ in draws(studies.text_space, 300))


def test_where_nothing_is_chosen_nothing_is_done_but_to_round():
    nothing = {
        "channels removed": 0.0,
        "sparsity": 0.0,
        "rule": "global",
        "values": "float",
        "training": "none",
        "training steps": 50,
        "training after sharing": True,
    }
    assert studies.image_space(FixedTrial(nothing)) == [images.half()]
    nothing = {
        "layers cut": 0,
        "sparsity": 0.0,
        "by": "wanda",
        "values": "float",
        "rank": 0,
        "training steps": 25,
        "order": "LQP",
    }
    assert studies.text_space(FixedTrial(nothing)) == []


def test_what_is_chosen_is_done_in_the_order_that_is_chosen():
    chosen = {
        "channels removed": 0.25,
        "sparsity": 0.9,
        "rule": "lamp",
        "values": "3 bit",
        "training": "distill",
        "training steps": 400,
        "training after sharing": True,
    }
    first = [images.thin(0.25), images.prune(0.9, "lamp")]
    assert studies.image_space(FixedTrial(chosen)) == [*first, images.share(3), images.distill(400), images.half()]
    chosen |= {"training": "recover", "values": "int8", "training after sharing": False}
    assert studies.image_space(FixedTrial(chosen)) == [*first, images.recover(400), images.quantize(), images.half()]
    chosen = {
        "layers cut": 2,
        "sparsity": 0.3,
        "by": "magnitude",
        "values": "nf4",
        "rank": 16,
        "training steps": 100,
        "order": "LQP",
    }
    assert studies.text_space(FixedTrial(chosen)) == [
        text.cut(2),
        text.lora(16, 100),
        text.quantize("nf4"),
        text.prune(0.3, "magnitude"),
    ]


@of_both_tasks
def test_every_architecture_that_a_study_meets_is_timed(vocabulary, space, stacks, facts):
    """What changes the shape of the network: the channels and the BatchNorm of one, the layers of the other."""
    timed = studies.thinnest("images" if vocabulary is images else "text")
    assert all(is_admissible(stack, facts) for stack in timed)
    shape = lambda stack: {str(step) for step in stack if str(step).startswith(("thin", "fold", "cut"))}  # noqa: E731
    known = [shape(stack) for stack in timed]
    met = [*stacks(), *(steps for steps, _ in draws(space, 300) if is_admissible(steps, facts))]
    assert [shape(stack) for stack in met if shape(stack) not in known] == []


# --- the command, on the toy task ---


def space(trial) -> list[Step]:
    return [toy.draw(), *toy.space(trial)]


def stacks() -> list[tuple[Step, ...]]:
    shrink, noise = toy.shrink(), toy.noise()
    return [(), (shrink,), (shrink, noise), (noise, shrink), (shrink, toy.fold(), toy.pack()), (shrink, toy.repair())]


@pytest.fixture
def made(monkeypatch) -> list[toy.Toy]:
    """The tasks that the command makes, in place of the two large ones."""
    made = []

    class Watched(toy.Toy):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            made.append(self)

    Watched.__module__ = "toy"  # where the command looks for the steps
    monkeypatch.setattr(studies, "STUDIES", {"toy": (Watched, space, stacks)})
    monkeypatch.setattr(studies, "WORTH", {"toy": 1.25})
    monkeypatch.setattr(studies, "thinnest", lambda task: [(), (toy.fold(),)])
    return made


def command(out, *arguments: str) -> list[StackResult]:
    """Run it, and give the rows in its folder."""
    name, *options = arguments
    studies.main([name, "--task", "toy", "--out", str(out), *options])
    return Rows(out / "toy").all()


def written(out) -> bytes:
    command(out, "write")
    return (out / "toy.jsonl").read_bytes()


def test_orders_runs_every_stack_with_every_seed(made, tmp_path):
    rows = command(tmp_path, "orders")
    expected = set()
    for stack in stacks():
        is_random = any(step.random for step in stack)
        expected |= {(tuple(map(str, stack)), seed) for seed in (studies.SEEDS if is_random else [None])}
    assert {(row.steps, row.seed) for row in rows} == expected
    assert command(tmp_path, "orders") == rows
    assert [task.measured for task in made] == [len(rows), 0]


@pytest.mark.parametrize("parts", [2, 4, 9])
def test_the_parts_of_orders_are_together_the_whole(parts, made, tmp_path):
    command(tmp_path / "whole", "orders")
    for part in range(parts):
        command(tmp_path / "parts", "orders", "--part", str(part), "--parts", str(parts))
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_latencies_are_timed_once_and_known_to_what_is_run_later(made, tmp_path):
    command(tmp_path, "latency")
    known = json.loads((tmp_path / "toy_latency.json").read_text())
    assert {key: Measurement(**each).value for key, each in known.items()} == {"1": 1, "0.5": 0.5}
    assert made[0].timed == 2
    for again in ("latency", "orders", "search"):
        command(tmp_path, again, "--trials", "3")
        assert made[-1].timed == 0
    assert json.loads((tmp_path / "toy_latency.json").read_text()) == known


def test_search_goes_on_to_the_number_of_trials_and_keeps_what_it_came_to(made, tmp_path, capsys):
    for trials in (5, 8):
        rows = command(tmp_path, "search", "--trials", str(trials), "--worker", "3")
        found = json.loads((tmp_path / "toy_search.json").read_text())
        assert found["trials"] == trials
        assert str(found) in capsys.readouterr().out
    study = search(Runner(toy.Toy()), space, 0, tmp_path / "toy.log")
    refused = [trial for trial in study.trials if trial.values is None]
    counts = {"trials": finished_trials(study), "refused": len(refused), "front": len(study.best_trials)}
    assert found == {**counts, "samplers": {"nsga2": 8}}
    assert refused and {row.steps for row in rows} == {tuple(t.user_attrs["steps"]) for t in study.trials if t.values}


@pytest.mark.parametrize("other", [("--worker", "1"), ("--sampler", "tpe")])
def test_workers_with_other_numbers_or_samplers_try_other_stacks(other, made, tmp_path):
    tried = []
    for name, options in (("a", ()), ("b", ()), ("c", other)):
        command(tmp_path / name, "search", "--trials", "15", *options)
        study = search(Runner(toy.Toy()), space, 0, tmp_path / name / "toy.log")
        tried.append([trial.params for trial in study.trials])
    assert tried[0] == tried[1] != tried[2]


def test_front_runs_the_stacks_that_are_worth_it_with_every_seed(made, tmp_path):
    command(tmp_path, "search", "--trials", "40", "--sampler", "tpe")
    best = search(Runner(toy.Toy()), space, 0, tmp_path / "toy.log").best_trials
    front = {tuple(trial.user_attrs["steps"]) for trial in best}
    worth = {tuple(trial.user_attrs["steps"]) for trial in best if trial.values[0] <= 1.25}
    assert worth and worth < front
    shutil.copytree(tmp_path, tmp_path / "parts")
    rows = command(tmp_path, "front")
    for steps in {row.steps for row in rows}:
        seeds = [row.seed for row in rows if row.steps == steps]
        assert sorted(seeds) == ([0, 1, 2, 3, 4] if steps in worth else [0])
    for part in range(3):
        command(tmp_path / "parts", "front", "--part", str(part), "--parts", "3")
    assert written(tmp_path / "parts") == written(tmp_path)


def test_write_makes_one_file_of_rows_and_says_where_they_come_from(made, tmp_path):
    for name in ("latency", "search"):
        command(tmp_path, name, "--trials", "4")
    rows = command(tmp_path, "orders")
    first = written(tmp_path)
    assert Rows(recorded=[tmp_path / "toy.jsonl"]).all() == rows
    assert len(first.splitlines()) == len(rows)
    about = json.loads((tmp_path / "toy_about.json").read_text())
    assert about["environment"].keys() >= {"python", "packages", "processor"}
    assert len(about["commands"]) == 5 and all("labkit.stack.studies" in line for line in about["commands"])
    for part in ("search", "latency"):
        assert about[part] == json.loads((tmp_path / f"toy_{part}.json").read_text())
    assert written(tmp_path) == first


def test_rows_can_be_written_of_a_task_that_was_never_searched(made, tmp_path):
    command(tmp_path, "orders")
    assert written(tmp_path)
    about = json.loads((tmp_path / "toy_about.json").read_text())
    assert about["search"] == about["latency"] == {}


@pytest.mark.parametrize("wrong", [["orders"], ["orders", "--task", "toys", "--out", "."], ["draw", "--task", "toy"]])
def test_a_wrong_command_is_an_error_that_says_what_there_is(wrong, made, capsys):
    with pytest.raises(SystemExit):
        studies.main(wrong)
    assert "usage:" in capsys.readouterr().err
    assert not made
