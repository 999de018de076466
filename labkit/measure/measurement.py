"""One result: a value, the interval around it, its unit and how many observations it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """A measured value with its interval.

    What the interval is depends on the quantity: the quartiles of a latency, the 95 % interval
    of an accuracy, the bootstrap interval of a mean over seeds; `low == high == value` for
    what is counted exactly, such as a file's bytes. Raises ValueError if the value lies
    outside its interval or anything is not a number.
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
        """A count: bytes of a file, parameters of a model."""
        return cls(value, value, value, unit, 1)

    def as_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        value, low, high, unit = self.value, self.low, self.high, self.unit
        if unit == "bytes":
            factor, unit = next((f, u) for f, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")) if
                                abs(value) >= f or f == 1)  # fmt: skip
            value, low, high = value / factor, low / factor, high / factor
        elif unit == "" and abs(value) >= 1e6:
            value, low, high, unit = value / 1e6, low / 1e6, high / 1e6, "M"
        gap = "" if unit in ("×", "%") else " "
        text = f"{_digits(value)}{gap}{unit}".rstrip()
        return text if low == high else f"{text} [{_digits(low)}, {_digits(high)}]"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent for the sizes that occur in tables."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 5)}f}"


def ratio(of: Measurement, to: Measurement) -> Measurement:
    """How many times `of` is `to`, with the widest interval that the two intervals allow.

    For timings taken in turn use `Timings.ratio`, which pairs the rounds and is far tighter.
    Raises ValueError when the units differ or `to` may be zero.
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
    """
    values = np.asarray(values, dtype=float)
    draws = np.random.default_rng(seed).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    mean = values.mean()
    return Measurement(float(mean), float(min(low, mean)), float(max(high, mean)), unit, len(values))
