"""The product that independent effects would give, beside the measured whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from labkit.measure.measurement import Measurement, ratio


@dataclass(frozen=True)
class Product:
    """What independent effects would multiply to, and what the whole measured.

    Args:
        base: what every factor and the whole are measured against.
        whole: what holds all parts together.
        factors: name of a part → how many times smaller or faster it is alone, in ×.
        measured: how many times smaller or faster the whole is, in ×.
        paired: the share, where it was measured pair by pair and is tighter than the intervals of the parts allow.

    >>> part = Measurement.exact(4, "×")
    >>> print(Product("FP32", "both", {"INT8": part, "pruned": part}, Measurement.exact(12, "×")).share)
    0.750×
    """

    base: str
    whole: str
    factors: Mapping[str, Measurement]
    measured: Measurement
    paired: Measurement | None = None

    @property
    def predicted(self) -> Measurement:
        """Product of the factors; its interval is the widest that theirs allow."""
        parts = self.factors.values()
        return Measurement(
            math.prod(p.value for p in parts),
            math.prod(p.low for p in parts),
            math.prod(p.high for p in parts),
            "×",
            min(p.n for p in parts),
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
