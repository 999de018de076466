"""The roofline: the lower of two limits, and where they meet."""

import pytest

from labkit.measure import Ceilings, Measurement, ceilings, rate


@pytest.fixture
def machine():
    """100 GFLOP/s and 20 GB/s, so that the limits meet at 5 FLOP per byte."""
    return Ceilings(Measurement(100, 80, 120, "GFLOP/s", 7), Measurement(20, 10, 40, "GB/s", 5))


def test_the_ridge_is_where_the_two_limits_meet(machine):
    assert machine.ridge.value == 5
    assert machine.attainable(5).value == 100 == 5 * machine.bandwidth.value


def test_the_ridge_has_the_widest_interval_that_the_two_limits_allow(machine):
    assert machine.ridge == Measurement(5, 80 / 40, 120 / 10, "FLOP/byte", 5)


def test_left_of_the_ridge_memory_is_the_limit(machine):
    assert machine.attainable(0.5) == Measurement(10, 5, 20, "GFLOP/s", 5)


def test_right_of_the_ridge_arithmetic_is_the_limit_whatever_the_intensity(machine):
    assert machine.attainable(50) == machine.attainable(5000) == Measurement(100, 80, 120, "GFLOP/s", 5)


def test_near_the_ridge_one_end_of_the_interval_is_a_limit_of_memory_and_the_other_one_of_arithmetic(machine):
    assert machine.attainable(6) == Measurement(100, 6 * 10, 120, "GFLOP/s", 5)
    assert machine.attainable(4) == Measurement(4 * 20, 4 * 10, 120, "GFLOP/s", 5)


def test_without_operations_nothing_is_attained_and_there_are_no_fewer(machine):
    assert machine.attainable(0).value == 0
    with pytest.raises(ValueError, match="FLOP per byte, got -1"):
        machine.attainable(-1)


@pytest.mark.parametrize("counted, per_second", [("FLOP", "GFLOP/s"), ("bytes", "GB/s")])
def test_a_rate_is_work_a_second_and_the_fastest_calls_have_the_highest(counted, per_second):
    latency = Measurement(2, 1, 4, "ms", 9)
    assert rate(Measurement.exact(8e6, counted), latency) == Measurement(4, 2, 8, per_second, 9)


@pytest.mark.parametrize("work, time", [("", "ms"), ("FLOP", "s")])
def test_a_rate_of_other_units_is_refused(work, time):
    with pytest.raises(ValueError, match=f"got '{work}' over '{time}'"):
        rate(Measurement.exact(1, work), Measurement.exact(1, time))


def test_the_limits_of_this_machine_are_measured_with_quartiles():
    measured = ceilings(rounds=3)
    for limit, unit in ((measured.arithmetic, "GFLOP/s"), (measured.bandwidth, "GB/s")):
        assert 0 < limit.low <= limit.value <= limit.high
        assert (limit.unit, limit.n) == (unit, 3)
    assert measured.ridge.value == measured.arithmetic.value / measured.bandwidth.value


def test_there_are_limits_only_of_devices_that_can_be_timed():
    with pytest.raises(KeyError, match="abacus"):
        ceilings("abacus")
