"""What a study has recorded, beside the same stacks run again, and what can be chosen from it."""

import json

import pytest

import toy
from labkit import stack
from labkit.measure import Measurement, difference

SHRINK, PACK, FOLD, REPAIR, NOISE = toy.shrink(), toy.pack(), toy.fold(), toy.repair(), toy.noise()
ABOUT = {
    "search": {"samplers": {"tpe": 7}},
    "environment": {"gpu": None, "processor": "a CPU"},
    "latency": {"1": {"value": 2, "low": 1, "high": 3, "unit": "×", "n": 30}},
}


@pytest.fixture
def record(runner, tmp_path):
    """A runner that knows some stacks of the toy, each with three seeds where it is random."""
    known = [(), (SHRINK,), (PACK,), (FOLD,), (SHRINK, PACK), (PACK, SHRINK), (SHRINK, PACK, FOLD)]
    runner.run_all([*known, (SHRINK, REPAIR)], [0], every_step=False)
    runner.run_all([(NOISE,), (NOISE, PACK)], range(3), every_step=False)
    runner.run_all([(NOISE, FOLD)], [1], every_step=False)
    runner.rows.write(tmp_path / "toy.jsonl")
    (tmp_path / "toy_about.json").write_text(json.dumps(ABOUT))
    return stack.recorded(tmp_path, "toy", toy.Toy.facts)


def test_a_record_gives_what_was_recorded_and_runs_nothing(record, runner):
    assert record.averaged((NOISE,), range(3)) == runner.averaged((NOISE,), range(3))
    with pytest.raises(LookupError, match="not in the record"):
        record.averaged((FOLD, PACK))


def test_its_origin_counts_runs_stacks_and_trials(record, tmp_path):
    assert stack.origin(tmp_path, {"toy": record}).rows == [["toy", "toy", "15 runs of 11 stacks", "7 by tpe", "a CPU"]]


def test_the_times_of_the_record_need_not_be_measured_again(record, tmp_path):
    task = toy.Toy(latencies=stack.latencies(tmp_path, "toy"))
    assert stack.Runner(task).averaged((SHRINK,))["latency"] == Measurement(2, 1, 3, "×", 30)
    assert task.timed == 0


def test_a_stack_that_is_run_again_is_equal(record, runner):
    again = stack.repeat(runner, record, (SHRINK, PACK))
    assert again.equal and again.same_data and not again.trained
    assert again.cells == ["shrink(2, 0.5) → pack(4)", "1.50 points", "1.50 points", "512 bytes", "512 bytes", "yes"]


@pytest.mark.parametrize(
    ("file", "lost", "trained", "same_data", "equal"),
    [
        (1000.001, 1.05, False, True, True),
        (1000.1, 1.0, False, True, False),  # other bytes
        (1000.0, 1.1, False, True, False),  # more images
        (1000.0, 9.0, False, False, True),  # of other images the loss says nothing
        (1010.0, 1.4, True, True, True),
        (1030.0, 1.0, True, True, False),
    ],
)
def test_two_machines_may_differ_by_little_and_after_training_by_more(file, lost, trained, same_data, equal):
    new = {"file": Measurement.exact(file, "bytes"), "lost": Measurement.exact(lost, "points")}
    old = {"file": Measurement.exact(1000, "bytes"), "lost": Measurement.exact(1.0 + 1e-9, "points")}
    assert stack.Repeat(("step()",), new, old, same_data, trained).equal == equal


def test_every_order_is_named_and_its_gain_is_against_the_best_other(record):
    found = stack.every_order(record, (SHRINK, PACK), [0])
    assert list(found) == [("shrink", "pack"), ("pack", "shrink")]
    lost = found["pack", "shrink"]["lost"], found["shrink", "pack"]["lost"]
    gain = stack.gain(found, (SHRINK, PACK))
    assert (gain.value, gain.low, gain.high) == pytest.approx(
        (difference(*lost).value, difference(*lost).low, difference(*lost).high)
    )


def test_pairs_are_measured_refused_with_a_short_reason_or_left_out(record):
    found = stack.every_pair(record, [SHRINK, PACK], [PACK, REPAIR, NOISE], [0])
    assert found["shrink", "pack"]["lost"].value == 1.5
    assert found["pack", "repair"] == "needs small" and found["pack", "noise"] == "not after integers"
    assert ("shrink", "noise") not in found and ("pack", "pack") not in found


def test_an_ablation_is_a_table_and_a_product_sets_parts_against_the_whole(record):
    table = stack.ablation(record, (SHRINK, PACK), [0])
    assert [row[:3] for row in table.rows] == [["shrink(2, 0.5)", "2.00×", "2.00×"], ["pack(4)", "4.00×", "4.00×"]]
    product = stack.product(record, (SHRINK, PACK, FOLD), [0])
    assert list(product.factors) == ["shrink", "pack", "fold"]
    assert (product.predicted.value, product.share.value) == (16, 1)


def test_a_step_that_cannot_be_left_out_is_refused_in_the_table(record):
    assert stack.ablation(record, (SHRINK, REPAIR), [0]).rows[1][1] == "refused"


def test_what_was_run_with_too_few_seeds_cannot_be_chosen(record):
    can, everything = stack.candidates(record, (0, 1, 2))
    assert set(everything) - set(can) == {("noise(0.125)", "fold()")}
    assert ("pack(4)",) in can and can["pack(4)",]["smaller"].value == 4


def test_losses_can_be_held_against_another_reference(record):
    reference = Measurement.exact(1.0, "points")
    can, _ = stack.candidates(record, (0, 1, 2), reference)
    assert can["pack(4)",]["lost"].value == 0 and can[()]["lost"].value == -1


def test_the_smallest_file_is_that_of_one_stack():
    sizes = {("a",): 3, ("b",): 1, ("c",): 2}
    stacks = {steps: {"file": Measurement.exact(size, "bytes")} for steps, size in sizes.items()}
    assert stack.smallest_file(stacks) == ("b",)
    with pytest.raises(ValueError, match="empty"):
        stack.smallest_file({})
