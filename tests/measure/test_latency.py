"""Latency: functions in turn, on a clock that moves only when a function says so."""

from functools import partial

import numpy as np
import pytest
import torch

from labkit.measure import Measurement, Timings, time_in_turn
from labkit.measure.measurement import CONFIDENCE, QUARTILES


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


def test_every_round_has_each_function_once_and_the_baseline_twice_in_a_new_order():
    calls = []
    functions = {name: partial(calls.append, name) for name in "ABC"}
    timings = time_in_turn(functions, rounds=30, warmup=2)
    rounds = ["".join(calls[i : i + 4]) for i in range(0, len(calls), 4)]
    assert len(rounds) == 32 and all(sorted(each) == ["A", "A", "B", "C"] for each in rounds)
    assert len(set(rounds)) > 8  # of 12 orders
    assert list(timings) == ["A", "B", "C"]
    assert [len(seconds) for seconds in (*timings.values(), timings.again)] == [30] * 4


def test_the_order_is_that_of_its_seed():
    def order(seed: int) -> list[str]:
        calls = []
        time_in_turn({name: partial(calls.append, name) for name in "ABC"}, rounds=9, seed=seed)
        return calls

    assert order(1) == order(1) != order(2)


def test_a_function_alone_is_called_once_a_round():
    calls = []
    timings = time_in_turn({"A": lambda: calls.append("A")}, rounds=3, warmup=2)
    assert len(calls) == 5 and not len(timings.again)


def test_each_round_holds_the_seconds_of_its_call():
    clock = Clock()
    functions = {"A": clock.spending(9, 9, 9, 9, 1, 1, 2, 2, 3, 3), "B": clock.spending(8, 8, 4, 5, 6)}
    timings = time_in_turn(functions, rounds=3, warmup=2, clock=clock)
    assert timings["A"].tolist() == timings.again.tolist() == [1, 2, 3]
    assert timings["B"].tolist() == [4, 5, 6]


def test_latency_is_the_median_with_quartiles_in_milliseconds():
    timings = Timings({"A": np.array([0.005, 0.001, 0.002, 0.004, 0.003])})
    assert timings.latency("A") == Measurement(3, 2, 4, "ms", 5, QUARTILES)


def test_ratio_is_taken_round_by_round_with_the_interval_of_the_median():
    fast = np.arange(1.0, 9.0)
    timings = Timings({"slow": fast * [2, 3, 4, 4, 4, 4, 5, 6], "fast": fast})
    assert timings.ratio("slow", "fast") == Measurement(4, 2, 6, "×", 8, CONFIDENCE, "sign test over rounds")


def test_ratio_is_as_wide_as_the_baseline_differs_from_itself():
    fast = np.arange(1.0, 9.0)
    slow = fast * [2, 3, 4, 4, 4, 4, 5, 6]
    for again in (1.1 * slow, slow / 1.1):
        wide = Timings({"slow": slow, "fast": fast}, again).ratio("slow", "fast")
        assert (wide.value, wide.low, wide.high) == pytest.approx((4, 2 / 1.1, 6 * 1.1))


def test_fewer_than_six_rounds_decide_nothing():
    five = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = Timings({"a": five, "b": np.ones(5)}).ratio("a", "b")
    assert (found.low, found.high, found.decides) == (1, 5, False)


def test_a_disturbance_of_one_round_leaves_the_ratio_alone():
    quiet, noisy = Clock(), Clock()
    steady = time_in_turn({"A": quiet.spending(*[4] * 10), "B": quiet.spending(*[2] * 5)}, 5, 0, quiet)
    slow, fast = [4, 4, 4, 4, 40, 40, 4, 4, 4, 4], [2, 2, 20, 2, 2]
    disturbed = time_in_turn({"A": noisy.spending(*slow), "B": noisy.spending(*fast)}, 5, 0, noisy)
    assert disturbed.ratio("A", "B") == steady.ratio("A", "B")
    assert steady.ratio("A", "B").value == 2


def test_functions_run_without_gradients():
    seen = []
    time_in_turn({"A": lambda: seen.append(torch.is_grad_enabled())}, rounds=1, warmup=0)
    assert seen == [False]


@pytest.mark.parametrize("rounds, warmup", [(0, 3), (5, -1)])
def test_refuses_to_record_nothing(rounds, warmup):
    with pytest.raises(ValueError, match="at least one round and no negative warm-up"):
        time_in_turn({"A": lambda: None}, rounds, warmup)
