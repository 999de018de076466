"""Runner and rows: nothing is computed twice, nothing depends on the order of the calls, and files are whole."""

import copy
import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import toy
from labkit import files
from labkit.measure import Measurement, averaged
from labkit.stack import Recorded, Refused, Rows, Runner, StackResult, is_admissible, step

SHRINK, PACK, FOLD, TRIM, NOISE, DRAW = toy.shrink(), toy.pack(), toy.fold(), toy.trim(), toy.noise(), toy.draw()


def values(row: StackResult) -> tuple[float, float, float]:
    return tuple(row.measurements[metric].value for metric in ("file", "lost", "latency"))


def test_there_is_a_row_for_the_start_and_one_after_every_step(runner):
    rows = runner.run([SHRINK, PACK, FOLD])
    assert [row.steps for row in rows] == [
        (),
        ("shrink(2, 0.5)",),
        ("shrink(2, 0.5)", "pack(4)"),
        ("shrink(2, 0.5)", "pack(4)", "fold()"),
    ]
    assert [values(row) for row in rows] == [(4096, 0, 1), (2048, 0.5, 1), (512, 1.5, 1), (256, 1.5, 0.5)]
    assert {(row.task, row.seed) for row in rows} == {("toy", None)}


def test_or_for_the_last_step_alone(runner, task):
    [row] = runner.run([SHRINK, PACK, FOLD], every_step=False)
    assert (len(row.steps), values(row)) == (3, (256, 1.5, 0.5))
    assert task.measured == 1


def test_a_measurement_is_told_what_is_known_about_the_model(task):
    told = []
    task.measure = lambda model, facts: told.append(facts) or {}
    Runner(task).run([SHRINK, FOLD, PACK])
    assert told == [{"plain"}, {"plain", "small"}, {"small"}, {"small", "integers"}]


def test_a_row_has_a_seed_as_soon_as_a_step_was_random(runner):
    assert [row.seed for row in runner.run([SHRINK, NOISE, FOLD], seed=3)] == [None, None, 3, 3]


def test_a_shared_beginning_is_applied_once(runner, task):
    runner.run([SHRINK, PACK, FOLD])
    assert runner.applied == 3
    runner.run([SHRINK, PACK, TRIM])
    assert runner.applied == 4
    assert task.ran == {"shrink": 1, "pack": 1, "fold": 1, "trim": 1}
    assert task.measured == 5


def test_what_was_run_is_found_and_takes_no_time(runner, task):
    first = runner.run([SHRINK, NOISE])
    ran, measured = task.ran.copy(), task.measured
    assert runner.run([SHRINK, NOISE]) == first
    assert (task.ran, task.measured) == (ran, measured)


def test_what_is_not_random_is_run_once_for_all_seeds(runner, task):
    runner.run_all([[SHRINK, NOISE, FOLD]], seeds=range(5))
    assert task.ran == {"shrink": 1, "noise": 5, "fold": 5}
    assert task.measured == 1 + 1 + 5 + 5


admissible = st.lists(st.sampled_from(toy.STEPS), max_size=4).filter(lambda s: is_admissible(s, toy.Toy.facts))
calls = st.lists(st.tuples(admissible, st.integers(0, 2), st.booleans()), max_size=6)


@settings(deadline=None, max_examples=60)
@given(calls, st.integers(0, 8), st.randoms())
def test_rows_do_not_depend_on_the_models_in_memory_or_the_order_of_the_calls(calls, kept_models, random):
    alone = [Runner(toy.Toy(), kept_models=0).run(*call) for call in calls]
    together, order = Runner(toy.Toy(), kept_models=kept_models), list(range(len(calls)))
    random.shuffle(order)
    found = {number: together.run(*calls[number]) for number in order}
    assert [found[number] for number in range(len(calls))] == alone
    assert len(together._models) <= kept_models


@settings(deadline=None, max_examples=60)
@given(st.lists(admissible, max_size=5), st.sets(st.integers(0, 2)), st.booleans())
def test_run_all_applies_every_beginning_once(stacks, seeds, every):
    beginnings = set()
    for steps in stacks:
        for seed in seeds:
            for length in range(1, len(steps) + 1):
                is_random = any(each.random for each in steps[:length])
                beginnings.add((tuple(steps[:length]), seed if is_random else None))
    runner = Runner(toy.Toy(), kept_models=1000)
    runner.run_all(stacks, seeds, every)
    assert runner.applied == len(beginnings)
    ends = {(tuple(s), seed if any(e.random for e in s) else None) for s in stacks for seed in seeds}
    wanted = beginnings | ({((), None)} if stacks and seeds else set()) if every else ends
    assert {(row.steps, row.seed) for row in runner.rows.all()} == {(tuple(map(str, s)), seed) for s, seed in wanted}


def test_run_all_runs_what_begins_alike_one_after_the_other(task):
    runner = Runner(task, kept_models=3)
    runner.run_all([[SHRINK, PACK], [FOLD, PACK], [SHRINK, FOLD], [FOLD, TRIM], [SHRINK, TRIM]])
    assert (task.ran["shrink"], task.ran["fold"]) == (1, 1 + 1)  # at the beginning, and after `shrink`


def test_run_all_takes_stacks_and_seeds_that_can_be_gone_through_only_once(runner):
    runner.run_all(iter([[NOISE], [DRAW]]), iter([0, 1]), every_step=False)
    assert sorted((row.steps, row.seed) for row in runner.rows.all()) == [
        (("draw()",), 0),
        (("draw()",), 1),
        (("noise(0.125)",), 0),
        (("noise(0.125)",), 1),
    ]


def test_run_all_refuses_before_anything_runs(runner, task, folder):
    with pytest.raises(Refused, match=r"noise\(0.125\) does not work .*after pack\(4\)"):
        runner.run_all([[SHRINK], [PACK, NOISE], [FOLD]])
    assert not task.ran and not task.measured and not folder.exists()


def test_run_refuses_before_anything_runs(runner, task):
    for attempt in (runner.run, runner.model):
        with pytest.raises(Refused, match="they are integers already"):
            attempt([SHRINK, PACK, PACK])
    assert not task.ran


def test_a_model_that_was_handed_out_is_not_changed_by_later_steps(runner):
    stack = [SHRINK, NOISE, PACK, FOLD]
    handed = [runner.model(stack[:length]) for length in range(5)]
    before = [copy.deepcopy(model.state_dict()) for model in handed]
    runner.run(stack)
    runner.run([SHRINK, TRIM, FOLD])
    for model, state in zip(handed, before):
        torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)


def test_random_numbers_are_neither_taken_from_the_caller_nor_left_to_it(task):
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(3, generator=torch.Generator().manual_seed(seed))
        seen.append(Runner(task).run([NOISE, DRAW, SHRINK]))
        assert torch.equal(torch.rand(3), expected)
    assert seen[0] == seen[1]


def test_a_step_draws_the_same_numbers_wherever_it_stands(runner):
    def added(*before, then=NOISE, seed=0):
        return runner.model([*before, then], seed).bias - runner.model(before, seed).bias

    for then in (NOISE, DRAW):
        for before in ([SHRINK], [PACK, FOLD] if then is DRAW else [FOLD], [toy.noise(0.5)]):
            torch.testing.assert_close(added(*before, then=then), added(then=then))
        assert not torch.allclose(added(then=then, seed=1), added(then=then))


def test_different_steps_draw_different_numbers(runner):
    once, twice = (runner.model([toy.noise(spread)]).bias for spread in (0.125, 0.25))
    assert not torch.allclose(2 * once, twice)


def test_a_step_that_draws_without_asking_for_a_seed_does_not_depend_on_which_seed_came_first(task):
    @step()
    def jitter(model, task):
        model.bias.data += torch.rand(4)
        return model

    first, second = Runner(task), Runner(task)
    assert first.run([jitter()], seed=0) == second.run([jitter()], seed=1)


def test_an_average_over_seeds_is_that_of_their_rows(runner, task):
    rows = [runner.run([SHRINK, NOISE], seed)[-1].measurements["lost"] for seed in range(4)]
    result = runner.averaged([SHRINK, NOISE], range(4))
    assert result["lost"] == averaged(rows)
    assert result["lost"].n == 4
    assert result["file"] == Measurement.exact(2048, "bytes")


def test_what_is_not_random_has_nothing_to_average(runner):
    assert runner.averaged([SHRINK, PACK], range(4)) == runner.run([SHRINK, PACK])[-1].measurements


def test_rows_are_averaged_as_the_runner_does(runner):
    stacks, seeds = [[SHRINK], [SHRINK, NOISE], [DRAW, FOLD]], range(4)
    runner.run_all(stacks, seeds, every_step=False)
    found = runner.rows.averaged()
    assert found == {tuple(map(str, stack)): runner.averaged(stack, seeds) for stack in stacks}
    assert [found[tuple(map(str, stack))]["lost"].n for stack in stacks] == [100, 4, 4]


def test_of_one_seed_nothing_is_decided(runner):
    assert not runner.averaged([SHRINK, NOISE], [3])["lost"].decides


def test_seeds_can_be_left_out_and_stacks_with_too_few_of_them(runner):
    runner.run_all([[SHRINK], [SHRINK, NOISE]], range(3), every_step=False)
    runner.run_all([[DRAW, FOLD]], range(2), every_step=False)
    found = runner.rows.averaged(seeds=(1, 2), at_least=2)
    assert found.keys() == {(str(SHRINK),), (str(SHRINK), str(NOISE))}
    assert found[str(SHRINK), str(NOISE)] == runner.averaged([SHRINK, NOISE], (1, 2))


def test_rows_of_several_tasks_are_not_averaged():
    rows = Rows()
    assert rows.averaged() == {}
    rows.put(row("a"))
    assert rows.averaged().keys() == {("a",)}
    rows.put(row("a", task="another toy"))
    with pytest.raises(ValueError, match="rows of one task are needed, these are of another toy, toy"):
        rows.averaged()


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(folder):
    stacks, seeds = [[SHRINK, NOISE, PACK], [DRAW, TRIM], [FOLD, DRAW]], (0, 1)
    whole = Runner(toy.Toy())
    whole.run_all(stacks, seeds)
    for stop_at in (1, 4, 9):
        first, again = toy.Toy(), toy.Toy()
        first.stop_at, rows = stop_at, folder / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            Runner(first, Rows(rows)).run_all(stacks, seeds)
        assert len(list(rows.iterdir())) == first.measured > 0
        Runner(again, Rows(rows)).run_all(stacks, seeds)
        assert first.measured + again.measured == whole.task.measured == len(whole.rows.all())
        assert Rows(rows).all() == whole.rows.all()


def test_the_same_runner_goes_on_after_an_interruption(runner, task):
    task.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        runner.run([SHRINK, NOISE, PACK])
    task.stop_at = None
    assert runner.run([SHRINK, NOISE, PACK]) == Runner(toy.Toy()).run([SHRINK, NOISE, PACK])
    assert task.ran["shrink"] == 1


def test_what_is_in_the_folder_is_not_computed_again(runner, folder):
    first = runner.run([SHRINK, NOISE, FOLD], seed=1)
    task = toy.Toy()
    again = Runner(task, Rows(folder)).run([SHRINK, NOISE, FOLD], seed=1)
    assert not task.ran and not task.measured
    assert again == first


def test_rows_of_another_task_are_not_taken_for_those_of_this_one(runner, folder):
    runner.run([SHRINK])
    other = toy.Toy()
    other.name = "another toy"
    Runner(other, Rows(folder)).run([SHRINK])
    assert other.measured == 2
    assert {row.task for row in Rows(folder).all()} == {"toy", "another toy"}


# --- rows ---

numbers = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
measurements = st.builds(
    lambda ordered, unit, n: Measurement(ordered[1], ordered[0], ordered[2], unit, n),
    st.tuples(numbers, numbers, numbers).map(sorted),
    st.sampled_from(["bytes", "×", "%", ""]),
    st.integers(1, 10**6),
)
rows = st.builds(
    StackResult,
    st.text(),
    st.lists(st.text()).map(tuple),
    st.none() | st.integers(0),
    st.dictionaries(st.text(), measurements),
)


@given(rows)
def test_a_row_is_one_line_that_is_read_again_within_six_digits(row):
    line = row.as_json()
    again = StackResult.from_json(line)
    assert line.splitlines() == [line]
    assert again.as_json() == line
    assert (again.task, again.steps, again.seed) == (row.task, row.steps, row.seed)
    assert list(again.measurements) == list(row.measurements)
    for metric, measured in row.measurements.items():
        read = again.measurements[metric]
        assert (read.unit, read.n) == (measured.unit, measured.n)
        expected = (measured.value, measured.low, measured.high)
        assert (read.value, read.low, read.high) == pytest.approx(expected, rel=5.001e-6, abs=0)


def row(*steps: str, seed: int | None = None, task: str = "toy", file: float = 1) -> StackResult:
    return StackResult(task, steps, seed, {"file": Measurement.exact(file, "bytes")})


ROWS = [row(), row("a"), row("a", "b", seed=0), row("a", "b", seed=1), row("b", file=0.3), row("b", task="other")]


def test_rows_are_told_apart_by_task_steps_and_seed(folder):
    for kept in (Rows(), Rows(folder)):
        for each in ROWS:
            kept.put(each)
        assert [kept.get(each.task, each.steps, each.seed) for each in ROWS] == ROWS
        assert kept.get("toy", ("a", "b"), None) is None
        assert kept.get("toy", ("a, b",), None) is None
        assert sorted(kept.all(), key=str) == sorted(ROWS, key=str)


def test_a_row_that_is_put_is_given_as_it_will_be_found(folder):
    for kept in (Rows(), Rows(folder)):
        given = kept.put(row("a", file=1 / 3))
        assert given == row("a", file=0.333333) == kept.all()[0] == kept.get("toy", ("a",), None)


def test_a_row_that_is_put_again_replaces_the_first(folder):
    kept = Rows(folder)
    kept.put(row("a"))
    kept.put(row("a", file=2))
    assert kept.all() == Rows(folder).all() == [row("a", file=2)]


def test_rows_of_other_processes_in_the_folder_are_seen(folder):
    mine, others = Rows(folder), Rows(folder)
    assert mine.all() == []
    assert mine.get("toy", ("a",), None) is None
    others.put(row("a"))
    assert mine.get("toy", ("a",), None) == row("a")
    others.put(row("b"))
    assert mine.all() == [row("a"), row("b")]


def test_a_file_of_rows_has_a_line_a_row_sorted_and_the_same_bytes_whatever_came_first(folder, tmp_path):
    written = []
    for number, order in enumerate((ROWS, ROWS[::-1])):
        kept = Rows(folder / str(number))
        for each in order:
            kept.put(each)
        written.append(kept.write(tmp_path / "new" / f"{number}.jsonl"))
        assert kept.write(tmp_path / "again.jsonl").read_bytes() == written[-1].read_bytes()
    assert written[0].read_bytes() == written[1].read_bytes()
    lines = written[0].read_text().splitlines()
    assert lines == sorted(each.as_json() for each in ROWS)
    assert Rows(recorded=written).all() == Rows(folder / "0").all()


def test_recorded_rows_need_no_folder_and_make_none(tmp_path):
    path = Rows(recorded=[]).write(tmp_path / "rows.jsonl")
    assert path.read_bytes() == b"" and Rows(recorded=[path]).all() == []
    assert list(tmp_path.iterdir()) == [path]


LINE = row("a").as_json()
OTHER = {"task": "toy", "steps": ["a"], "seed": None}


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        LINE[:-1],
        LINE[: len(LINE) // 2],
        LINE + LINE,
        "[]",
        "7",
        "null",
        "{}",
        json.dumps(OTHER),
        *(json.dumps({**OTHER, "measured": wrong}) for wrong in ([], None, {"file": 7}, {"file": [2, 1, 1, "", 1]})),
    ],
)
def test_a_damaged_line_is_an_error_that_names_the_file_and_the_line(damaged, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{LINE}\n{damaged}\n{LINE}\n")
    with pytest.raises(ValueError) as error:
        Rows(recorded=[path])
    assert str(error.value).startswith(f"{path}, line 2 is not a row (")
    assert str(error.value).endswith("): fetch the file anew")


def test_a_missing_file_of_rows_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Rows(recorded=[tmp_path / "rows.jsonl"])


def test_an_error_while_writing_leaves_nothing_behind(folder, monkeypatch):
    kept = Rows(folder)
    kept.put(row("a"))
    before = list(folder.iterdir())
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    for write in (lambda: kept.put(row("b")), lambda: kept.write(folder / "all.jsonl")):
        with pytest.raises(OSError, match="no space left"):
            write()
    assert list(folder.iterdir()) == before
    assert kept.get("toy", ("b",), None) is None


def write_again_and_again(folder: Path, barrier) -> None:
    row = StackResult("toy", ("a",), None, {str(n): Measurement.exact(n, "bytes") for n in range(500)})
    barrier.wait()
    for _ in range(50):
        Rows(folder).put(row)
        assert Rows(folder).all() == [row]


def test_two_processes_that_write_the_same_row_leave_it_whole(folder):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2, timeout=60)
    writers = [context.Process(target=write_again_and_again, args=(folder, barrier)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    [path] = folder.iterdir()
    assert len(StackResult.from_json(path.read_text()).measurements) == 500


# --- what is recorded, without the task ---


@pytest.fixture
def recorded(task, tmp_path) -> Rows:
    runner = Runner(task)
    runner.run_all([[SHRINK, NOISE], [FOLD]], seeds=(0, 1))
    runner.run([SHRINK, PACK], every_step=False)
    return Rows(recorded=[runner.rows.write(tmp_path / "rows.jsonl")])


def test_a_row_that_is_recorded_is_had_without_the_model(recorded, task):
    runner = Runner(Recorded(recorded, task.facts), recorded)
    assert [values(each) for each in runner.run([FOLD])] == [(4096, 0, 1), (2048, 0, 0.5)]
    assert values(runner.run([SHRINK, PACK], every_step=False)[-1]) == (512, 1.5, 1)
    assert runner.averaged([SHRINK, NOISE], (0, 1))["lost"].n == 2
    assert runner.applied == 0


@pytest.mark.parametrize("stack, seed", [([TRIM], 0), ([SHRINK, FOLD], 0), ([SHRINK, NOISE], 2), ([NOISE], 0)])
def test_what_is_not_recorded_cannot_be_had(stack, seed, recorded, task):
    with pytest.raises(LookupError, match="not in the record; run it with a task that has the model"):
        Runner(Recorded(recorded, task.facts), recorded).run(stack, seed)


def test_what_cannot_be_is_refused_by_a_record_too(recorded, task):
    with pytest.raises(Refused, match="they have no room for it"):
        Runner(Recorded(recorded, task.facts), recorded).run([PACK, NOISE])


def test_a_record_measures_nothing(recorded, task):
    with pytest.raises(LookupError, match="measures nothing"):
        Recorded(recorded, task.facts).measure(task.start(), task.facts)


def test_a_record_is_of_one_task():
    kept = Rows()
    with pytest.raises(ValueError, match="rows of one task are needed, these are of none"):
        Recorded(kept, frozenset())
    kept.put(row("a"))
    assert Recorded(kept, frozenset()).name == "toy"
    kept.put(row("a", task="another toy"))
    with pytest.raises(ValueError, match="these are of another toy, toy"):
        Recorded(kept, frozenset())
