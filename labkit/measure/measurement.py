"""One result: a value, the interval around it, its unit and how many observations it rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import numpy as np

EXACT, CONFIDENCE, QUARTILES, RANGE = "exact", "95 % confidence", "quartiles", "range"
KINDS = (EXACT, CONFIDENCE, QUARTILES, RANGE)  #: of intervals; the first two can decide a claim


@dataclass(frozen=True)
class Measurement:
    """A measured value with its interval, and what that interval is.

    Args:
        value: in `unit`.
        low: the interval's lower end.
        high: its upper end.
        unit: of all three.
        n: observations that it rests on.
        kind: "exact" for what is counted, such as a file's bytes; "95 % confidence"; "quartiles", which say what to
            expect of a single call; "range" for any other spread, such as that of too few values to say more.
        method: how a confidence interval was made, or what a range is.

    Raises:
        ValueError: the value lies outside its interval, anything is not a number, or the interval is not of its kind:
            what is exact has no width, and a confidence interval has some width and a method.

    >>> print(Measurement(12.5, 12.0, 13.5, "ms", 30, "95 % confidence", "Student's t over seeds"))
    12.5 ms [12.0, 13.5]
    >>> print(Measurement(12.5, 12.0, 13.5, "ms", 30, "quartiles"))  # round brackets decide nothing
    12.5 ms (12.0 – 13.5)
    """

    value: float
    low: float
    high: float
    unit: str
    n: int = 1
    kind: str = RANGE
    method: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:  # false for NaN, too
            raise ValueError(f"a measurement needs low <= value <= high, got {self.low}, {self.value}, {self.high}")
        if self.n < 1:
            raise ValueError(f"a measurement rests on at least one observation, got n = {self.n}")
        if self.kind not in KINDS:
            raise ValueError(f"an interval is {', '.join(KINDS)}; not {self.kind!r}")
        if self.kind == EXACT and self.low < self.high:
            raise ValueError(f"what is exact has no interval, got {self.low} and {self.high}")
        if self.kind == CONFIDENCE and not (self.low < self.high and self.method):
            raise ValueError(
                f"a confidence interval has some width and a method, got {self.low}, {self.high} and {self.method!r}"
            )

    @classmethod
    def exact(cls, value: float, unit: str) -> Measurement:
        """A count: bytes of a file, parameters of a model.

        >>> print(Measurement.exact(2_500_000, "bytes"))
        2.50 MB
        """
        return cls(value, value, value, unit, 1, EXACT)

    @property
    def decides(self) -> bool:
        """Whether a claim can be held against it: it is exact, or its interval is one of 95 % confidence."""
        return self.kind in (EXACT, CONFIDENCE)

    def through(self, function: Callable[[float], float], unit: str) -> Measurement:
        """The measurement of a function of the value that only rises, or only falls, such as exp or 1 / x.

        >>> print(Measurement(2, 1, 4, "ms").through(lambda ms: 1000 / ms, "1/s"))
        500 1/s (250 – 1000)
        """
        low, high = sorted(map(function, (self.low, self.high)))
        return replace(self, value=function(self.value), low=low, high=high, unit=unit)

    def as_dict(self) -> dict:
        """The fields by name, ready for JSON."""
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
        """The interval in the unit of `short`: "[low, high]" of 95 % confidence, "(low – high)" of another kind.

        It is "" where it has no width.
        """
        _, low, high, _ = self._written()
        if self.low == self.high:
            return ""
        return f"[{low}, {high}]" if self.kind == CONFIDENCE else f"({low} – {high})"

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

    Of two confidence intervals it covers the ratio more often than 95 times in a hundred. For timings taken in turn use
    `Timings.ratio`, which pairs the rounds and is far tighter.

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
    return Measurement(of.value / to.value, min(ends), max(ends), "×", *rests_on([of, to]))


def mean_with_interval(values: Sequence[float], unit: str, over: str = "seeds") -> Measurement:
    """Mean with the 95 % interval of Student's t (Student 1908).

    It takes the values as independent. Its coverage is 95 % for normal data and 93 % or more where the data are
    skewed as Gumbel's are, or have heavier tails, from two values on. A single value, or values that are all the same,
    say nothing about spread: they give a range, which decides nothing.

    Args:
        values: one per seed, say.
        unit: of the values.
        over: what each value comes from, in the plural.

    Raises:
        ValueError: there are no values, or some are not finite.

    >>> print(mean_with_interval([88.0, 89.0, 90.0], "%"))
    89.0% [86.5, 91.5]
    """
    from scipy.special import stdtrit  # slow to import

    numbers = _finite(values, over)
    n, mean = len(numbers), float(np.clip(numbers.mean(), numbers.min(), numbers.max()))  # but for rounding
    spread = numbers.std(ddof=1) if numbers.min() < numbers.max() else 0.0
    half = float(stdtrit(n - 1, 0.975) * spread / math.sqrt(n)) if spread else 0.0
    low, high = mean - half, mean + half
    if low == high:
        return Measurement(mean, low, high, unit, n, RANGE, f"no spread over {n} {over}")
    return Measurement(mean, low, high, unit, n, CONFIDENCE, f"Student's t over {over}")


def median_with_interval(samples: Sequence[float] | np.ndarray, unit: str, over: str = "rounds") -> Measurement:
    """Median with a 95 % interval from one sample to another, by the sign test (Conover 1999, section 3.2).

    It is right for every distribution of independent samples. Fewer than six cannot reach 95 %: they give their range.

    Raises:
        ValueError: there are no samples, or some are not finite.

    >>> print(median_with_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "ms"))
    3.50 ms [1.00, 6.00]
    """
    ordered, n = np.sort(_finite(samples, over)), len(samples)
    rank = _rank_beyond_the_median(n)
    low, high = float(ordered[rank]), float(ordered[-1 - rank])
    is_enough = n >= 6 and low < high
    kind, method = (CONFIDENCE, f"sign test over {over}") if is_enough else (RANGE, f"few or equal {over}")
    return Measurement(float(np.median(ordered)), low, high, unit, n, kind, method)


def _finite(values: Sequence[float] | np.ndarray, over: str) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"finite values of one of the {over} or more are needed, got {numbers[:8].tolist()}")
    return numbers


@cache
def _rank_beyond_the_median(n: int) -> int:
    """The largest rank, from 0 on, whose sample of n lies beyond the median once in forty times at most; 0 for none."""
    return max((k for k in range(n // 2) if sum(math.comb(n, i) for i in range(k + 1)) <= 0.025 * 2**n), default=0)


def averaged(runs: Sequence[Measurement], over: str = "seeds") -> Measurement:
    """Mean of one quantity over runs, with an interval that holds two kinds of chance.

    The spread over the runs (Student's t) and the runs' own intervals (averaged, since they share their test data) are
    independent: half-widths add in quadrature. Counts that all runs share stay exact. One run decides nothing.

    Args:
        runs: one per seed, say.
        over: what they differ by, in the plural.

    Raises:
        ValueError: the units differ.

    >>> seeds = [Measurement(v, v - 1, v + 1, "%", 1000, "95 % confidence", "Wilson") for v in (88, 89, 90)]
    >>> print(averaged(seeds))
    89.0% [86.3, 91.7]
    """
    unit = _one_unit(runs)
    mean = mean_with_interval([run.value for run in runs], unit, over)
    _, kind, method = rests_on(runs)
    if kind == EXACT:
        return runs[0] if mean.low == mean.high else mean
    low = math.hypot(mean.value - mean.low, sum(run.value - run.low for run in runs) / len(runs))
    high = math.hypot(mean.high - mean.value, sum(run.high - run.value for run in runs) / len(runs))
    if len(runs) == 1:
        kind, method = RANGE, f"one of the {over}"
    elif kind == CONFIDENCE:
        method = f"Student's t over {over}, and {method}"
    return Measurement(mean.value, mean.value - low, mean.value + high, unit, len(runs), kind, method)


def difference(of: Measurement, *parts: Measurement) -> Measurement:
    """What `of` is above the sum of the parts; the intervals, taken as independent, add in quadrature.

    Results on the same test data are not independent, and the true interval is narrower.

    Raises:
        ValueError: the units differ.

    >>> print(difference(Measurement(5, 4, 6, "points"), Measurement.exact(2, "points")))
    3.00 points (2.00 – 4.00)
    """
    unit = _one_unit([of, *parts])
    value = of.value - sum(part.value for part in parts)
    low = math.hypot(of.value - of.low, *(part.high - part.value for part in parts))
    high = math.hypot(of.high - of.value, *(part.value - part.low for part in parts))
    return Measurement(value, value - low, value + high, unit, *rests_on([of, *parts]))


def rests_on(parts: Sequence[Measurement]) -> tuple[int, str, str]:
    """What is computed from all of them rests on: the fewest values, and the kind that says least, with its method.

    What is exact rests on no values.
    """
    n = min((part.n for part in parts if part.kind != EXACT), default=1)
    kind = max((part.kind for part in parts), key=KINDS.index)
    methods = dict.fromkeys(part.method for part in parts if part.kind == kind and part.method)
    return n, kind, "; ".join(methods)


def _one_unit(measurements: Sequence[Measurement]) -> str:
    units = {m.unit for m in measurements}
    if len(units) != 1:
        raise ValueError(f"one unit is needed, got {', '.join(map(repr, sorted(units))) or 'no measurement'}")
    return units.pop()
