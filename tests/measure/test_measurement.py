"""Measurement: a value with its interval, in words, and in ratios."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labkit.measure import Measurement, mean_with_interval, ratio


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
