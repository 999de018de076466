"""One result: a value, the interval around it, its unit and how many observations it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """A measured value with its interval.

    What the interval is depends on the quantity: the quartiles of a latency, the 95 % interval of an accuracy, the
    bootstrap interval of a mean over seeds; `low == high == value` for what is counted exactly, such as a file's bytes.

    Raises:
        ValueError: the value lies outside its interval, or anything is not a number.

    >>> print(Measurement(12.5, 12.0, 13.5, "ms", 30))
    12.5 ms [12.0, 13.5]
    """

    value: float
    low: float
    high: float
    unit: str
    n: int = 1

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:  # false for NaN, too
            raise ValueError(f"a measurement needs low <= value <= high, got {self.low}, {self.value}, {self.high}")
        if self.n < 1:
            raise ValueError(f"a measurement rests on at least one observation, got n = {self.n}")

    @classmethod
    def exact(cls, value: float, unit: str) -> Measurement:
        """A count: bytes of a file, parameters of a model.

        >>> print(Measurement.exact(2_500_000, "bytes"))
        2.50 MB
        """
        return cls(value, value, value, unit, 1)

    def as_dict(self) -> dict:
        """The five fields by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.short} {self.interval}".rstrip()

    @property
    def short(self) -> str:
        """The value with its unit, without the interval.

        >>> Measurement(8.94e6, 8.9e6, 9e6, "bytes").short
        '8.94 MB'
        """
        value, _, _, unit = self._written()
        return f"{value}{'' if unit in ('×', '%') else ' '}{unit}".rstrip()

    @property
    def interval(self) -> str:
        """The interval in the unit of `short`, "[low, high]"; "" for what is exact."""
        _, low, high, _ = self._written()
        return "" if self.low == self.high else f"[{low}, {high}]"

    def _written(self) -> tuple[str, str, str, str]:
        """Value, low and high as digits, and the unit with its prefix."""
        factor, prefix = 1.0, ""
        if self.unit in ("bytes", "FLOP", ""):
            factor, prefix = next(
                (f, p) for f, p in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")) if abs(self.value) >= f
            )
        unit = prefix + (self.unit.replace("bytes", "B") if prefix else self.unit)
        decimals = 2 if unit in ("%", "points") else 5  # a hundredth of a point is below any interval
        value, low, high = (_digits(v / (factor or 1.0), decimals) for v in (self.value, self.low, self.high))
        return value, low, high, unit


def _digits(value: float, decimals: int) -> str:
    """Three significant digits, at most so many of them behind the point, and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.{max(0, min(decimals, 2 - math.floor(math.log10(abs(value)))))}f}"


def ratio(of: Measurement, to: Measurement) -> Measurement:
    """How many times `of` is `to`, with the widest interval that the two intervals allow.

    For timings taken in turn use `Timings.ratio`, which pairs the rounds and is far tighter.

    Raises:
        ValueError: the units differ, or `to` may be zero.

    >>> print(ratio(Measurement.exact(8e6, "bytes"), Measurement.exact(2e6, "bytes")))
    4.00×
    """
    if of.unit != to.unit:
        raise ValueError(f"a ratio needs one unit, got {of.unit!r} and {to.unit!r}")
    if to.low <= 0:
        raise ValueError(f"a ratio to {to} is not defined")
    ends = [a / b for a in (of.low, of.high) for b in (to.low, to.high)]
    return Measurement(of.value / to.value, min(ends), max(ends), "×", min(of.n, to.n))


def mean_with_interval(values: Sequence[float], unit: str, seed: int = 0) -> Measurement:
    """Mean with its 95 % percentile-bootstrap interval (Efron 1979), for results over seeds.

    With a single value the interval is that value: one seed says nothing about spread.

    Args:
        values: one per seed.
        unit: of the values.
        seed: of the bootstrap.

    >>> print(mean_with_interval([88.0, 89.0, 90.0], "%"))
    89.0% [88.0, 90.0]
    """
    numbers = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).choice(numbers, (10_000, len(numbers))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = numbers.mean()
    return Measurement(float(mean), float(min(low, mean)), float(max(high, mean)), unit, len(numbers))


def averaged(runs: Sequence[Measurement]) -> Measurement:
    """Mean of one quantity over runs with different seeds, with an interval that holds two kinds of chance.

    The spread over seeds (the bootstrap interval of the mean) and the runs' own intervals (averaged, since they share
    their test data) are independent: half-widths add in quadrature.

    Raises:
        ValueError: the units differ.

    >>> print(averaged([Measurement(88, 87, 89, "%", 1000), Measurement(90, 89, 91, "%", 1000)]))
    89.0% [87.6, 90.4]
    """
    unit = _one_unit(runs)
    mean = mean_with_interval([run.value for run in runs], unit)
    low = math.hypot(mean.value - mean.low, sum(run.value - run.low for run in runs) / len(runs))
    high = math.hypot(mean.high - mean.value, sum(run.high - run.value for run in runs) / len(runs))
    return Measurement(mean.value, mean.value - low, mean.value + high, unit, len(runs))


def difference(of: Measurement, *parts: Measurement) -> Measurement:
    """What `of` is above the sum of the parts; the intervals, taken as independent, add in quadrature.

    Results on the same test data are not independent, and the true interval is narrower.

    Raises:
        ValueError: the units differ.

    >>> print(difference(Measurement(5, 4, 6, "points", 100), Measurement(2, 2, 2, "points", 100)))
    3.00 points [2.00, 4.00]
    """
    unit = _one_unit([of, *parts])
    value = of.value - sum(part.value for part in parts)
    low = math.hypot(of.value - of.low, *(part.high - part.value for part in parts))
    high = math.hypot(of.high - of.value, *(part.value - part.low for part in parts))
    return Measurement(value, value - low, value + high, unit, min(m.n for m in (of, *parts)))


def _one_unit(measurements: Sequence[Measurement]) -> str:
    units = {m.unit for m in measurements}
    if len(units) != 1:
        raise ValueError(f"one unit is needed, got {', '.join(map(repr, sorted(units))) or 'no measurement'}")
    return units.pop()
