"""The command that runs the studies of Lab 05, on the toy task."""

import json
import os
import shutil

import pytest

import toy
from labkit.measure import Measurement
from labkit.recipes import stack_studies
from labkit.stack import Rows, Runner, StackResult, Step
from labkit.stack.search import finished_trials, search
from labkit.stack.study import SEEDS, Study


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Files that are not forced to the disk, which is most of the time that a trial takes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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

    study = Study(Watched, toy, Watched.facts, (), (), (), stacks(), space, [(), (toy.fold(),)], 1.25)
    monkeypatch.setattr(stack_studies, "STUDIES", {"toy": study})
    return made


def command(out, *arguments: str) -> list[StackResult]:
    """Run it, and give the rows in its folder."""
    name, *options = arguments
    stack_studies.main([name, "--task", "toy", "--out", str(out), *options])
    return Rows(out / "toy").all()


def written(out) -> bytes:
    command(out, "write")
    return (out / "toy.jsonl").read_bytes()


def test_orders_runs_every_stack_with_every_seed(made, tmp_path):
    rows = command(tmp_path, "orders")
    expected = set()
    for stack in stacks():
        is_random = any(step.random for step in stack)
        expected |= {(tuple(map(str, stack)), seed) for seed in (SEEDS if is_random else [None])}
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
    assert len(about["commands"]) == 5 and all("labkit.recipes.stack_studies" in line for line in about["commands"])
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
        stack_studies.main(wrong)
    assert "usage:" in capsys.readouterr().err
    assert not made
