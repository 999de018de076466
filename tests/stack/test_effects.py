"""Effects of steps, of which it is known in closed form what they are."""

import math
from itertools import permutations

import numpy as np
import pytest

import toy
from labkit.measure import Measurement, difference
from labkit.stack import Recorded, Refused, Rows, Runner, ablate, interactions, largest, smallest

SHRINK, PACK, FOLD, REPAIR, NOISE = toy.shrink(), toy.pack(), toy.fold(), toy.repair(), toy.noise()
STACK = [SHRINK, PACK, FOLD, REPAIR]


def test_effects_that_are_independent_are_the_same_alone_and_in_the_whole(runner):
    effects = {effect.step: effect for effect in ablate(runner, [SHRINK, PACK, FOLD])}
    assert list(effects) == [SHRINK, PACK, FOLD]
    for step, smaller, lost in ((SHRINK, 2, 0.5), (PACK, 4, 1), (FOLD, 2, 0)):
        effect = effects[step]
        assert effect.alone_smaller == effect.smaller == Measurement.exact(smaller, "×")
        assert (effect.alone_lost.value, effect.lost.value) == (lost, lost)
        assert effect.needed == ""


def test_what_a_step_costs_in_the_whole_has_the_intervals_of_both_stacks(runner):
    effect = ablate(runner, [SHRINK, PACK])[1]
    assert effect.alone_lost == Measurement(1, 0.75, 1.5, "points", 100)
    below, above = math.hypot(0.25, 0.5), math.hypot(0.5, 0.25)
    assert (effect.lost.low, effect.lost.high) == pytest.approx((1 - below, 1 + above), rel=1e-5)


def test_a_step_that_repairs_has_a_negative_loss(runner):
    effect = ablate(runner, STACK)[-1]
    assert (effect.lost.value, effect.smaller.value) == (-0.25, 1)


def test_a_step_that_others_need_says_so_and_has_no_effect_in_the_whole(runner):
    effect = ablate(runner, STACK)[0]
    assert effect.needed == "repair() needs a model with small: there is nothing to repair (after pack(4), fold())"
    assert effect.smaller is None and effect.lost is None
    assert (effect.alone_smaller.value, effect.alone_lost.value) == (2, 0.5)


def test_a_step_that_cannot_stand_alone_has_no_effect_alone(runner):
    effect = ablate(runner, STACK)[-1]
    assert effect.alone_smaller is None and effect.alone_lost is None
    assert effect.needed == ""


def test_a_step_that_stands_twice_is_left_out_once(runner):
    for effect in ablate(runner, [SHRINK, SHRINK]):
        assert (effect.smaller.value, effect.lost.value) == (2, 0.5)


def test_effects_overlap_where_a_step_finds_nothing_left_to_do(runner):
    shrink, trim = ablate(runner, [toy.shrink(8), toy.trim(0.25)])
    assert (shrink.alone_smaller.value, shrink.smaller.value) == (8, 2)
    assert (trim.alone_smaller.value, trim.smaller.value) == (4, 1)
    assert (trim.alone_lost.value, trim.lost.value) == (0.75, 0.25)


def test_the_cost_and_the_loss_are_those_that_are_named(runner):
    for effect in ablate(runner, [SHRINK, FOLD], cost="latency", metric="file"):
        assert effect.alone_smaller.value == effect.smaller.value == (2 if effect.step == FOLD else 1)
        assert (effect.alone_lost.value, effect.lost.value) == (2048, -1024)


def test_a_whole_that_is_refused_has_no_effects(runner, task):
    with pytest.raises(Refused, match="they have no room for it"):
        ablate(runner, [PACK, NOISE])
    assert not task.ran


def test_effects_are_averaged_over_the_seeds(runner):
    seeds = range(3)
    [shrink, noise] = ablate(runner, [SHRINK, NOISE], seeds)
    losses = runner.averaged([SHRINK, NOISE], seeds)["lost"], runner.averaged([SHRINK], seeds)["lost"]
    assert noise.lost == difference(*losses)
    assert noise.alone_lost == runner.averaged([NOISE], seeds)["lost"]
    assert noise.alone_lost.n == 3
    assert shrink.lost.value == pytest.approx(0.5)


def test_effects_that_multiply_and_losses_that_add_have_a_share_of_one_and_no_loss(runner):
    found = interactions(runner, [SHRINK, PACK, FOLD])
    assert [each.pair for each in found] == [*permutations([SHRINK, PACK, FOLD], 2)]
    for each in found:
        assert each.share == Measurement.exact(1, "×")
        assert each.loss.value == 0
        below, above = math.hypot(0.25, 0.5, 0.5), math.hypot(0.5, 0.25, 0.25)
        assert (each.loss.low, each.loss.high) == pytest.approx((-below, above), rel=1e-5)


def test_steps_that_do_the_same_share_their_effect_and_their_loss(runner):
    shrink, trim = toy.shrink(8), toy.trim(0.25)
    found = {each.pair: each for each in interactions(runner, [shrink, trim])}
    assert found[shrink, trim].share.value == 1 / 4  # eight times smaller, and not thirty-two
    assert found[shrink, trim].loss.value == -0.5  # 0.75 together, 0.5 and 0.75 apart
    assert found[trim, shrink].share.value == 1  # what is trimmed can still shrink
    assert found[trim, shrink].loss.value == 0


def test_pairs_that_are_refused_or_of_which_one_cannot_stand_alone_are_left_out(runner):
    pairs = [each.pair for each in interactions(runner, [PACK, NOISE, SHRINK, REPAIR])]
    assert pairs == [(PACK, SHRINK), (NOISE, PACK), (NOISE, SHRINK), (SHRINK, PACK), (SHRINK, NOISE)]


def test_effects_can_be_had_from_recorded_rows(runner, task, tmp_path):
    known = ablate(runner, STACK), interactions(runner, STACK)
    rows = Rows(recorded=[runner.rows.write(tmp_path / "rows.jsonl")])
    record = Runner(Recorded(rows, task.facts), rows)
    assert (ablate(record, STACK), interactions(record, STACK)) == known
    with pytest.raises(LookupError, match="not in the record"):
        ablate(record, [SHRINK, NOISE])


def normal(value: float, n: int = 10_000) -> Measurement:
    return Measurement(value, value - 1.96, value + 1.96, "points", n, "95 % confidence", "normal")


@pytest.mark.parametrize("truth", [[0] * 25, [0] * 24 + [3], [0, 1]])
def test_the_interval_of_the_largest_holds_the_largest_truth(truth):
    generator, held, alone = np.random.default_rng(0), 0, 0
    for _ in range(1000):
        found = [normal(value) for value in generator.normal(truth)]
        best, own = largest(found), max(found, key=lambda m: m.value)
        assert best.value == own.value and best.decides
        held += best.low <= max(truth) <= best.high
        alone += own.low <= max(truth) <= own.high
    assert held >= 950 and alone <= held
    assert alone < 800 or len(set(truth)) > 1  # its own interval would be wrong every other time


def test_of_few_seeds_the_largest_is_widened_as_students_t_asks():
    found = [normal(0, n=5), normal(-9, n=5)]
    assert largest(found).high == pytest.approx(1.96 * 3.495 / 2.776, rel=1e-3)  # t of 4 degrees, 98.75 % and 97.5 %


def test_the_smallest_is_the_largest_turned_round():
    found = [normal(1.0), normal(-2.0), normal(4.0)]
    worst, best = smallest(found), largest([normal(-1.0), normal(2.0), normal(-4.0)])
    assert (worst.value, worst.low, worst.high) == (-best.value, -best.high, -best.low)
    assert worst.method == "the smallest of 3, after Bonferroni: normal"


def test_the_largest_of_ranges_decides_nothing_and_of_no_measurement_there_is_none():
    seen = Measurement(9, 8, 10, "points", 2)
    assert largest([normal(1.0), seen]).kind == "range"
    for wrong in ([], [seen, Measurement.exact(1, "bytes")]):
        with pytest.raises(ValueError, match="one of several in one unit"):
            largest(wrong)
