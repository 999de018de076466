"""Measurement: a value with its interval, in words, and in ratios."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labkit.measure import Measurement, averaged, difference, mean_with_interval, median_with_interval, ratio
from labkit.measure.measurement import CONFIDENCE, EXACT, KINDS, QUARTILES, RANGE


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


def confident(value: float, low: float, high: float, unit: str = "points", n: int = 1) -> Measurement:
    return Measurement(value, low, high, unit, n, CONFIDENCE, "somehow")


@pytest.mark.parametrize(
    "kind, low, high, method, message",
    [
        ("sure", 1, 3, "", "not 'sure'"),
        (EXACT, 1, 3, "", "what is exact has no interval, got 1 and 3"),
        (CONFIDENCE, 2, 2, "Wilson", "some width and a method, got 2, 2 and 'Wilson'"),
        (CONFIDENCE, 1, 3, "", "some width and a method, got 1, 3 and ''"),
    ],
)
def test_an_interval_is_of_its_kind(kind, low, high, method, message):
    with pytest.raises(ValueError, match=message):
        Measurement(2, low, high, "ms", 5, kind, method)


def test_exact_counts_and_confidence_intervals_alone_decide():
    assert Measurement.exact(3, "bytes").decides and confident(2, 1, 3).decides
    assert not Measurement(2, 1, 3, "ms", 40, QUARTILES).decides
    assert not Measurement(2, 1, 3, "ms", 40).decides  # nobody has said what the interval is


@pytest.mark.parametrize("kinds", [(EXACT, CONFIDENCE), (CONFIDENCE, QUARTILES), (QUARTILES, RANGE), (EXACT, RANGE)])
@pytest.mark.parametrize("combine", [ratio, difference, lambda a, b: averaged([a, b])])
def test_what_is_computed_from_several_has_the_kind_that_says_least(kinds, combine):
    values = {EXACT: (2, 2, 2), CONFIDENCE: (2, 1, 3), QUARTILES: (2, 1, 3), RANGE: (2, 1, 3)}
    a, b = (Measurement(*values[kind], "ms", 9, kind, "somehow" if kind == CONFIDENCE else "") for kind in kinds)
    assert combine(a, b).kind == combine(b, a).kind == max(kinds, key=KINDS.index)


def test_a_function_that_falls_turns_the_interval_round():
    assert confident(2, 1, 4, "ms", 7).through(lambda ms: 1 / ms, "1/ms") == confident(0.5, 0.25, 1, "1/ms", 7)
    assert confident(0, -1, 1).through(math.exp, "×").high == math.e


def test_exact_has_no_interval():
    count = Measurement.exact(7, "bytes")
    assert (count.low, count.value, count.high, count.unit, count.n) == (7, 7, 7, "bytes", 1)


def test_as_dict_makes_the_same_measurement_again():
    measured = Measurement(12.3, 11.9, 12.8, "ms", 30)
    assert Measurement(**measured.as_dict()) == measured


@pytest.mark.parametrize(
    "measured, text",
    [
        (confident(12.34, 11.91, 12.83, "ms"), "12.3 ms [11.9, 12.8]"),
        (confident(93.5, 93.0, 94.0, "%"), "93.5% [93.0, 94.0]"),
        (confident(4.004, 4, 4.01, "×"), "4.00× [4.00, 4.01]"),
        (confident(0.25, -0.1, 0.6, "points"), "0.25 points [-0.10, 0.60]"),
        (Measurement(12.34, 11.91, 12.83, "ms", 9, QUARTILES), "12.3 ms (11.9 – 12.8)"),
        (Measurement.exact(0, "ms"), "0 ms"),
        (Measurement.exact(999, "bytes"), "999 bytes"),
        (Measurement.exact(1500, "bytes"), "1.50 kB"),
        (confident(8.9e6, 8.8e6, 9e6, "bytes"), "8.90 MB [8.80, 9.00]"),
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


def test_what_is_exact_rests_on_no_values():
    timed = Measurement(2, 1, 3, "s", 9, "quartiles")
    assert ratio(Measurement.exact(6, "s"), timed).n == difference(Measurement.exact(6, "s"), timed).n == 9


def test_ratio_needs_one_unit():
    with pytest.raises(ValueError, match="one unit, got 'ms' and 'bytes'"):
        ratio(Measurement.exact(1, "ms"), Measurement.exact(1, "bytes"))


def test_ratio_to_what_may_be_zero_is_not_defined():
    with pytest.raises(ValueError, match="not defined"):
        ratio(Measurement.exact(1, "ms"), Measurement(1, 0, 2, "ms"))


def test_mean_has_the_interval_of_students_t():
    values = np.random.default_rng(0).gamma(2.0, size=40)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    mean = mean_with_interval(values, "points", "topics")
    assert mean.value == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx(tuple(expected))
    assert (mean.n, mean.kind, mean.method) == (40, CONFIDENCE, "Student's t over topics")


@pytest.mark.parametrize("n", [6, 7, 9, 30, 101])
def test_median_has_the_interval_of_the_sign_test(n):
    samples = np.random.default_rng(n).gamma(2.0, size=n)
    expected = stats.quantile_test(samples, q=0, p=0.5).confidence_interval(0.95)
    median = median_with_interval(samples, "ms")
    assert (median.low, median.high) == pytest.approx(tuple(expected))
    assert (median.value, median.n, median.kind) == (np.median(samples), n, CONFIDENCE)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5))
def test_fewer_than_six_samples_decide_nothing_about_a_median(samples):
    median = median_with_interval(samples, "ms")
    assert (median.low, median.high) == (min(samples), max(samples)) and not median.decides


@given(st.floats(-1e3, 1e3), st.integers(1, 9))
def test_one_seed_or_no_spread_decides_nothing_about_a_mean(value, n):
    assert not mean_with_interval([value] * n, "points").decides
    assert not median_with_interval([value] * n, "points").decides
    assert not averaged([confident(value, value - 1, value + 1)]).decides


def widths(measured: Measurement) -> tuple[float, float]:
    return measured.value - measured.low, measured.high - measured.value


def test_one_run_keeps_its_interval_and_decides_nothing_about_others():
    one = averaged([confident(3, 2.5, 4, n=1000)])
    assert (one.value, one.low, one.high, one.n, one.kind) == (3, 2.5, 4, 1, RANGE)


def test_runs_that_agree_have_the_interval_that_each_has():
    same = averaged([confident(3, 2, 4)] * 5)
    assert (same.low, same.high, same.n, same.kind) == (2, 4, 5, CONFIDENCE)
    other = averaged([confident(3, 2.5, 3.5), confident(3, 1.5, 6.5)])
    assert (other.value, other.low, other.high) == (3, 2, 5)


def test_counts_that_all_runs_share_stay_exact():
    assert averaged([Measurement.exact(7, "bytes")] * 3) == Measurement.exact(7, "bytes")


def test_runs_that_are_exact_have_the_interval_of_their_mean():
    values = [1.0, 2.0, 4.0, 8.0]
    assert averaged([Measurement.exact(value, "bytes") for value in values]) == mean_with_interval(values, "bytes")


def test_what_seeds_do_and_what_no_run_could_know_add_up_as_squares():
    values = [1.0, 2.0, 4.0, 8.0]
    seeds = widths(mean_with_interval(values, "points"))
    runs = [confident(value, value - 1, value + own) for value, own in zip(values, (1, 2, 3, 4))]
    result = averaged(runs)
    assert (result.value, result.n) == (3.75, 4)
    assert result.method == "Student's t over seeds, and somehow"
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
    assert difference(confident(3, 2, 5, n=7)) == confident(3, 2, 5, n=7)


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
