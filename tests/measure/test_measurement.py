"""Measurement: a value with its interval, in words, and in ratios."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labkit.measure import Measurement, averaged, difference, mean_with_interval, ratio


@st.composite
def measurements(draw, values):
    low, value, high = sorted(draw(st.tuples(values, values, values)))
    return Measurement(value, low, high, "ms")


@pytest.mark.parametrize(
    "value, low, high", [(1, 2, 3), (4, 2, 3), (2, 3, 1), (float("nan"), 0, 1), (1, 0, float("nan"))]
)
def test_value_lies_in_its_interval(value, low, high):
    with pytest.raises(ValueError, match="low <= value <= high"):
        Measurement(value, low, high, "ms")


def test_rests_on_at_least_one_observation():
    with pytest.raises(ValueError, match="at least one observation, got n = 0"):
        Measurement(1, 1, 1, "ms", 0)


def test_exact_has_no_interval():
    count = Measurement.exact(7, "bytes")
    assert (count.low, count.value, count.high, count.unit, count.n) == (7, 7, 7, "bytes", 1)


def test_as_dict_makes_the_same_measurement_again():
    measured = Measurement(12.3, 11.9, 12.8, "ms", 30)
    assert Measurement(**measured.as_dict()) == measured


@pytest.mark.parametrize(
    "measured, text",
    [
        (Measurement(12.34, 11.91, 12.83, "ms"), "12.3 ms [11.9, 12.8]"),
        (Measurement(93.5, 93.0, 94.0, "%"), "93.5% [93.0, 94.0]"),
        (Measurement(4.004, 4, 4.01, "×"), "4.00× [4.00, 4.01]"),
        (Measurement(0.25, -0.1, 0.6, "points"), "0.25 points [-0.10, 0.60]"),
        (Measurement.exact(0, "ms"), "0 ms"),
        (Measurement.exact(999, "bytes"), "999 bytes"),
        (Measurement.exact(1500, "bytes"), "1.50 kB"),
        (Measurement(8.9e6, 8.8e6, 9e6, "bytes"), "8.90 MB [8.80, 9.00]"),
        (Measurement.exact(3.2e9, "bytes"), "3.20 GB"),
        (Measurement.exact(123456, ""), "123 k"),
        (Measurement.exact(33158400, "FLOP"), "33.2 MFLOP"),
        (Measurement.exact(3_500_000, ""), "3.50 M"),
    ],
)
def test_text_has_three_digits_the_unit_and_the_interval(measured, text):
    assert str(measured) == text


@given(measurements(st.floats(-1e6, 1e6)), measurements(st.floats(1e-3, 1e6)), st.data())
def test_ratio_bounds_every_ratio_that_the_intervals_allow(of, to, data):
    result = ratio(of, to)
    a, b = data.draw(st.floats(of.low, of.high)), data.draw(st.floats(to.low, to.high))
    assert result.low <= a / b <= result.high
    assert result.value == of.value / to.value
    assert result.unit == "×"


def test_ratio_rests_on_the_fewer_observations():
    assert ratio(Measurement(1, 1, 1, "ms", 30), Measurement(2, 2, 2, "ms", 5)).n == 5


def test_ratio_needs_one_unit():
    with pytest.raises(ValueError, match="one unit, got 'ms' and 'bytes'"):
        ratio(Measurement.exact(1, "ms"), Measurement.exact(1, "bytes"))


def test_ratio_to_what_may_be_zero_is_not_defined():
    with pytest.raises(ValueError, match="not defined"):
        ratio(Measurement.exact(1, "ms"), Measurement(1, 0, 2, "ms"))


def test_mean_has_the_percentile_bootstrap_interval():
    values = np.random.default_rng(0).gamma(2.0, size=40)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    mean = mean_with_interval(values, "points")
    assert mean.value == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx(tuple(expected), abs=0.03)  # it is 0.8 wide; the draws differ
    assert mean.n == 40


def test_mean_of_one_seed_shows_no_spread():
    assert mean_with_interval([3.0], "points") == Measurement(3, 3, 3, "points", 1)


def widths(measured: Measurement) -> tuple[float, float]:
    return measured.value - measured.low, measured.high - measured.value


def test_averaging_one_run_leaves_it_as_it_is():
    assert averaged([Measurement(3, 2.5, 4, "points", 1000)]) == Measurement(3, 2.5, 4, "points", 1)


def test_runs_that_agree_have_the_interval_that_each_has():
    assert averaged([Measurement(3, 2, 4, "points")] * 5) == Measurement(3, 2, 4, "points", 5)
    other = averaged([Measurement(3, 2.5, 3.5, "points"), Measurement(3, 1.5, 6.5, "points")])
    assert other == Measurement(3, 2, 5, "points", 2)


def test_runs_that_are_exact_have_the_interval_of_their_mean():
    values = [1.0, 2.0, 4.0, 8.0]
    assert averaged([Measurement.exact(value, "bytes") for value in values]) == mean_with_interval(values, "bytes")


def test_what_seeds_do_and_what_no_run_could_know_add_up_as_squares():
    values = [1.0, 2.0, 4.0, 8.0]
    seeds = widths(mean_with_interval(values, "points"))
    runs = [Measurement(value, value - 1, value + own, "points") for value, own in zip(values, (1, 2, 3, 4))]
    result = averaged(runs)
    assert result.value == 3.75 and result.n == 4
    assert widths(result) == pytest.approx((math.hypot(seeds[0], 1), math.hypot(seeds[1], 2.5)))


runs = st.lists(measurements(st.floats(-1e3, 1e3)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=30)
@given(runs)
def test_the_interval_of_an_average_is_wider_than_either_part_and_narrower_than_their_sum(runs):
    result, seeds = averaged(runs), mean_with_interval([run.value for run in runs], "ms")
    assert result.low <= result.value <= result.high
    assert min(run.value for run in runs) - 1e-9 <= result.value <= max(run.value for run in runs) + 1e-9
    for width, of_seeds, own in zip(widths(result), widths(seeds), zip(*map(widths, runs))):
        own = sum(own) / len(runs)
        assert max(of_seeds, own) - 1e-9 <= width <= of_seeds + own + 1e-9


def test_a_difference_of_counts_is_exact():
    assert difference(Measurement.exact(9, "bytes"), Measurement.exact(4, "bytes")) == Measurement.exact(5, "bytes")
    parts = [Measurement.exact(value, "points") for value in (1, 2, 3)]
    assert difference(Measurement.exact(4, "points"), *parts) == Measurement.exact(-2, "points")


def test_a_difference_from_nothing_is_the_measurement_itself():
    assert difference(Measurement(3, 2, 5, "points", 7)) == Measurement(3, 2, 5, "points", 7)


def test_a_difference_is_low_where_the_parts_are_high():
    result = difference(Measurement(10, 7, 12, "points", 9), Measurement(3, 2.5, 7, "points", 5))
    assert result == Measurement(7, 7 - math.hypot(3, 4), 7 + math.hypot(2, 0.5), "points", 5)


@given(measurements(st.floats(-1e3, 1e3)), st.lists(measurements(st.floats(-1e3, 1e3)), max_size=4))
def test_the_interval_of_a_difference_is_wider_than_any_part_and_narrower_than_their_sum(of, parts):
    result = difference(of, *parts)
    assert result.low <= result.value <= result.high
    assert result.value == pytest.approx(of.value - math.fsum(part.value for part in parts), abs=1e-9)
    below = [widths(of)[0], *(widths(part)[1] for part in parts)]
    above = [widths(of)[1], *(widths(part)[0] for part in parts)]
    for width, each in zip(widths(result), (below, above)):
        assert max(each) - 1e-9 <= width <= sum(each) + 1e-9


@given(measurements(st.floats(-1e3, 1e3)), measurements(st.floats(-1e3, 1e3)))
def test_a_difference_the_other_way_round_has_the_other_sign(a, b):
    there, back = difference(a, b), difference(b, a)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-9)


@pytest.mark.parametrize("combine", [lambda a, b: averaged([a, b]), difference])
def test_averages_and_differences_need_one_unit(combine):
    with pytest.raises(ValueError, match="one unit is needed, got 'bytes', 'ms'"):
        combine(Measurement.exact(1, "ms"), Measurement.exact(1, "bytes"))


def test_there_is_no_average_of_nothing():
    with pytest.raises(ValueError, match="got no measurement"):
        averaged([])
