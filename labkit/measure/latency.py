"""Latency: functions run in turn, so that a disturbance of the machine meets them all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from labkit.measure.measurement import QUARTILES, Measurement, median_with_interval


class Timings(dict[str, np.ndarray]):
    """Seconds by function, one entry per round; entry i of every function is from the same round.

    `again` are those of the first function, the baseline, timed a second time in every round; empty where there was
    only one.
    """

    def __init__(self, seconds: Mapping[str, np.ndarray], again: np.ndarray | None = None):
        super().__init__(seconds)
        self.again = np.empty(0) if again is None else again

    def latency(self, name: str) -> Measurement:
        """Median and quartiles in milliseconds."""
        return quartiles(self[name] * 1e3, "ms")

    def ratio(self, of: str, to: str) -> Measurement:
        """How many times longer `of` takes than `to`: the median of the ratios round by round.

        Its 95 % interval is that of the median, and wider by as much as the baseline differs from itself, as
        `against_itself` says. Read it as the speed-up of `to` over `of`.
        """
        return self.widened(median_with_interval(self[of] / self[to], "×"))

    def widened(self, factor: Measurement) -> Measurement:
        """A factor of time with an interval that holds what the baseline differs from itself, too."""
        apart = math.exp(abs(math.log(self.against_itself.value)))
        return replace(factor, low=factor.low / apart, high=factor.high * apart)

    @property
    def against_itself(self) -> Measurement:
        """How many times longer the baseline takes than itself, timed twice in every round: 1 but for noise."""
        if not len(self.again):
            return Measurement.exact(1, "×")
        return median_with_interval(self.again / next(iter(self.values())), "×")


def quartiles(samples: np.ndarray, unit: str) -> Measurement:
    """Median of samples, (n,), with the quartiles for an interval: half of the samples lie inside.

    Raises:
        ValueError: there are no samples, or NaN is among them.

    >>> print(quartiles(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "ms"))
    3.00 ms (2.00 – 4.00)
    """
    if not len(samples):
        raise ValueError("no samples have no median")
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return Measurement(float(median), float(low), float(high), unit, len(samples), QUARTILES)


def time_in_turn(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    warmup: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> Timings:
    """Time functions in turn, without gradients; on a GPU each call waits until the device is done.

    The order is drawn anew in every round, so that none always finds the caches as the same neighbour leaves them. The
    first function, the baseline, is timed twice in every round: what it differs from itself is no effect.

    Args:
        functions: what is timed, by name; each is called without arguments.
        rounds: calls of each function that are recorded; an interval of 95 % needs six.
        warmup: rounds before these, not recorded: they compile, fill caches and allocate.
        clock: returns seconds.
        seed: of the order.

    Raises:
        ValueError: there is no round, or a negative number of warm-up rounds.

    >>> timings = time_in_turn({"sum": lambda: sum(range(9)), "nothing": lambda: None}, rounds=6)
    >>> len(timings["sum"]), timings.latency("sum").unit, timings.ratio("sum", "nothing").kind
    (6, 'ms', '95 % confidence')
    """
    if rounds < 1 or warmup < 0:
        raise ValueError(f"timing needs at least one round and no negative warm-up, got {rounds} and {warmup}")
    contestants = list(functions.items())
    if len(contestants) > 1:
        contestants.append(contestants[0])  # the baseline again
    seconds, order = np.empty((len(contestants), rounds)), np.random.default_rng(seed)
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    with torch.no_grad():
        for i in range(-warmup, rounds):
            for number in order.permutation(len(contestants)):
                wait()
                start = clock()
                contestants[number][1]()
                wait()
                if i >= 0:
                    seconds[number, i] = clock() - start
    return Timings(dict(zip(functions, seconds)), seconds[len(functions)] if len(functions) > 1 else None)
