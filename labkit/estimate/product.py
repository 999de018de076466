"""The product that independent effects would give, beside the measured whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from labkit.measure.latency import Timings
from labkit.measure.measurement import Measurement, median_with_interval, ratio, rests_on
from labkit.table import Table


@dataclass(frozen=True)
class Product:
    """What independent effects would multiply to, and what the whole measured.

    Every part was measured alone, against the same start, by the same instrument as the whole: make it with `of_costs`
    or `of_times`. Factors that were taken one upon the other multiply to the whole by definition and prove nothing.

    Args:
        base: what every factor and the whole are measured against.
        whole: what holds all parts together.
        factors: name of a part → how many times smaller or faster it is alone, in ×.
        measured: how many times smaller or faster the whole is, in ×.
        paired: the share, where it was measured pair by pair and is tighter than the intervals of the parts allow.
    """

    base: str
    whole: str
    factors: Mapping[str, Measurement]
    measured: Measurement
    paired: Measurement | None = None

    @classmethod
    def of_costs(
        cls, base: str, start: Measurement, alone: Mapping[str, Measurement], whole: str, together: Measurement
    ) -> Product:
        """From one cost, such as bytes of a file, of the start, of each part alone on it, and of all together.

        Raises:
            ValueError: there are fewer than two parts, or the units differ: one instrument measures all.

        >>> start, quarter = Measurement.exact(12, "MB"), Measurement.exact(3, "MB")
        >>> parts = {"INT8": quarter, "pruned": quarter}
        >>> print(Product.of_costs("FP32", start, parts, "both", Measurement.exact(1, "MB")).share)
        0.750×
        """
        if len(alone) < 2:
            raise ValueError(f"a product has two parts or more, each measured alone; got {', '.join(alone) or 'none'}")
        factors = {part: ratio(start, cost) for part, cost in alone.items()}
        return cls(base, whole, factors, ratio(start, together))

    @classmethod
    def of_times(cls, timings: Timings, base: str, alone: Mapping[str, str], whole: str) -> Product:
        """From contestants that were timed in turn.

        Args:
            timings: of all of them.
            base: the contestant at the start.
            alone: name of a part → the contestant that has it alone.
            whole: the contestant that has all parts.

        Raises:
            ValueError: there are fewer than two parts.
            KeyError: a contestant was not timed.
        """
        if len(alone) < 2:
            raise ValueError(f"a product has two parts or more, each timed alone; got {', '.join(alone) or 'none'}")
        factors = {part: timings.ratio(base, contestant) for part, contestant in alone.items()}
        predicted = math.prod(timings[base] / timings[contestant] for contestant in alone.values())
        share = timings.widened(median_with_interval(timings[base] / timings[whole] / predicted, "×"))
        return cls(base, whole, factors, timings.ratio(base, whole), share)

    @property
    def predicted(self) -> Measurement:
        """Product of the factors; its interval is the widest that theirs allow."""
        parts = [*self.factors.values()]
        return Measurement(
            math.prod(p.value for p in parts),
            math.prod(p.low for p in parts),
            math.prod(p.high for p in parts),
            "×",
            *rests_on(parts),
        )

    @property
    def share(self) -> Measurement:
        """Measured whole over predicted product; 1 when the effects multiply, below 1 when they overlap."""
        return self.paired or ratio(self.measured, self.predicted)

    def as_dict(self) -> dict:
        """The fields by name, ready for JSON."""
        return {
            "base": self.base,
            "whole": self.whole,
            "factors": {name: factor.as_dict() for name, factor in self.factors.items()},
            "measured": self.measured.as_dict(),
            "paired": self.paired.as_dict() if self.paired else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping) -> Product:
        """The product that `as_dict` wrote."""
        factors = {name: Measurement(**factor) for name, factor in data["factors"].items()}
        paired = Measurement(**data["paired"]) if data["paired"] else None
        return cls(data["base"], data["whole"], factors, Measurement(**data["measured"]), paired)


def by_baseline(
    baselines: Mapping[str, Measurement], alone: Mapping[str, Measurement], whole: str, together: Measurement
) -> Table:
    """What a stack saves, and its share of the product, if the start is measured in one way or another.

    Only a baseline that was measured as the parts and the whole are gives a share that means something.

    Args:
        baselines: how the start was measured → its cost.
        alone: name of a part → its cost.
        whole: what holds all parts together.
        together: the cost of the whole.

    >>> a, b = Measurement.exact(4, "MB"), Measurement.exact(6, "MB")
    >>> print(by_baseline({"raw": Measurement.exact(12, "MB")}, {"a": a, "b": b}, "both", Measurement.exact(2, "MB")))
    baseline     cost   both  share of the product
    raw       12.0 MB  6.00×                 1.00×
    """
    products = {name: Product.of_costs(name, start, alone, whole, together) for name, start in baselines.items()}
    rows = [[name, str(baselines[name]), str(p.measured), str(p.share)] for name, p in products.items()]
    return Table(["baseline", "cost", whole, "share of the product"], rows)
