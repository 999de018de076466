"""Latency: functions run in turn, so that a disturbance of the machine meets them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from labkit.measure.measurement import Measurement


class Timings(dict[str, np.ndarray]):
    """Seconds by function, one entry per round; entry i of every function is from the same round."""

    def latency(self, name: str) -> Measurement:
        """Median and quartiles in milliseconds."""
        return quartiles(self[name] * 1e3, "ms")

    def ratio(self, of: str, to: str) -> Measurement:
        """How many times longer `of` takes than `to`: median and quartiles of the ratios round by round.

        Read it as the speed-up of `to` over `of`.
        """
        return quartiles(self[of] / self[to], "×")


def quartiles(samples: np.ndarray, unit: str) -> Measurement:
    """Median of samples, (n,), with the quartiles for an interval.

    >>> quartiles(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "ms")
    Measurement(value=3.0, low=2.0, high=4.0, unit='ms', n=5)
    """
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return Measurement(float(median), float(low), float(high), unit, len(samples))


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> Timings:
    """Time functions in turn, without gradients; on a GPU each call waits until the device is done.

    The order is the same in every round, A B C A B C …: each function always follows the same neighbour, and finds the
    caches as that one left them.

    Args:
        functions: what is timed, by name; each is called without arguments.
        rounds: calls of each function that are recorded.
        warmup: rounds before these, not recorded: they compile, fill caches and allocate.
        clock: returns seconds.

    Raises:
        ValueError: there is no round, or a negative number of warm-up rounds.

    >>> timings = time_in_turn({"sum": lambda: sum(range(9)), "nothing": lambda: None}, rounds=5)
    >>> len(timings["sum"]), timings.latency("sum").unit, timings.ratio("sum", "nothing").unit
    (5, 'ms', '×')
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"timing needs at least one round and no negative warm-up, got {rounds} and {warmup}")
    seconds = {name: np.empty(rounds) for name in functions}
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    with torch.no_grad():
        for i in range(-warmup, rounds):
            for name, function in functions.items():
                wait()
                start = clock()
                function()
                wait()
                if i >= 0:
                    seconds[name][i] = clock() - start
    return Timings(seconds)
