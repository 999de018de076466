"""Latency: functions in turn, on a clock that moves only when a function says so."""

import numpy as np
import pytest
import torch

from labkit.measure import Measurement, Timings, time_in_turn


class Clock:
    """Seconds that pass only when a function spends them."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def spending(self, *seconds: float):
        """A function whose calls take these seconds, one after the other."""
        costs = iter(seconds)

        def function() -> None:
            self.now += next(costs)

        return function


def test_functions_run_in_turn_after_a_warm_up_that_is_not_recorded():
    calls = []
    timings = time_in_turn({"A": lambda: calls.append("A"), "B": lambda: calls.append("B")}, rounds=3, warmup=2)
    assert "".join(calls) == "AB" * 5
    assert list(timings) == ["A", "B"]
    assert [len(timings[name]) for name in timings] == [3, 3]


def test_each_round_holds_the_seconds_of_its_call():
    clock = Clock()
    functions = {"A": clock.spending(9, 9, 1, 2, 3), "B": clock.spending(8, 8, 4, 5, 6)}
    timings = time_in_turn(functions, rounds=3, warmup=2, clock=clock)
    assert timings["A"].tolist() == [1, 2, 3]
    assert timings["B"].tolist() == [4, 5, 6]


def test_latency_is_the_median_with_quartiles_in_milliseconds():
    timings = Timings({"A": np.array([0.005, 0.001, 0.002, 0.004, 0.003])})
    assert timings.latency("A") == Measurement(3, 2, 4, "ms", 5)


def test_ratio_is_taken_round_by_round():
    timings = Timings({"slow": np.array([2.0, 6.0, 12.0]), "fast": np.array([1.0, 2.0, 3.0])})
    assert timings.ratio("slow", "fast") == Measurement(3, 2.5, 3.5, "×", 3)


def test_a_disturbance_of_one_round_leaves_the_ratio_alone():
    quiet, noisy = Clock(), Clock()
    steady = time_in_turn({"A": quiet.spending(*[4] * 5), "B": quiet.spending(*[2] * 5)}, 5, 0, quiet)
    disturbed = time_in_turn({"A": noisy.spending(4, 4, 40, 4, 4), "B": noisy.spending(2, 2, 20, 2, 2)}, 5, 0, noisy)
    assert disturbed.ratio("A", "B") == steady.ratio("A", "B") == Measurement(2, 2, 2, "×", 5)


def test_functions_run_without_gradients():
    seen = []
    time_in_turn({"A": lambda: seen.append(torch.is_grad_enabled())}, rounds=1, warmup=0)
    assert seen == [False]


@pytest.mark.parametrize("rounds, warmup", [(0, 3), (5, -1)])
def test_refuses_to_record_nothing(rounds, warmup):
    with pytest.raises(ValueError, match="at least one round and no negative warm-up"):
        time_in_turn({"A": lambda: None}, rounds, warmup)
