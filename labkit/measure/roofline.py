"""The roofline model: what a machine allows at most, by how many FLOP it does on each byte that it moves.

Source: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from labkit.measure.latency import time_in_turn
from labkit.measure.measurement import Measurement, rests_on

RATES = {"FLOP": "GFLOP/s", "bytes": "GB/s"}
# More bytes than any cache holds; a GPU is busy only with the larger matrix.
ARRAY_BYTES = 2**29
SIDES = {"cpu": 1536, "cuda": 4096}


def rate(work: Measurement, latency: Measurement) -> Measurement:
    """Work done per second, GFLOP/s or GB/s. A rate is the inverse of a time, so low and high swap.

    Args:
        work: a count of FLOP or bytes.
        latency: of doing it, in ms.

    Raises:
        ValueError: the units are others.

    >>> rate(Measurement.exact(2e9, "FLOP"), Measurement(20, 19, 22, "ms", 30)).short
    '100 GFLOP/s'
    """
    if work.unit not in RATES or latency.unit != "ms":
        raise ValueError(f"a rate is FLOP or bytes over ms, got {work.unit!r} over {latency.unit!r}")
    return latency.through(lambda ms: work.value / 1e6 / ms, RATES[work.unit])


@dataclass(frozen=True)
class Ceilings:
    """The two limits of a machine: arithmetic in GFLOP/s, traffic between CPU and main memory in GB/s."""

    arithmetic: Measurement
    bandwidth: Measurement

    @property
    def ridge(self) -> Measurement:
        """The intensity, in FLOP per byte, below which memory is the limit and above which arithmetic is."""
        a, b = self.arithmetic, self.bandwidth
        return Measurement(a.value / b.value, a.low / b.high, a.high / b.low, "FLOP/byte", *rests_on([a, b]))

    def attainable(self, intensity: float) -> Measurement:
        """The most GFLOP/s at an intensity in FLOP per byte: the lower of the two limits.

        Raises:
            ValueError: the intensity is below 0.

        >>> limits = Ceilings(Measurement.exact(100, "GFLOP/s"), Measurement.exact(20, "GB/s"))
        >>> limits.attainable(2).short, limits.ridge.short
        ('40.0 GFLOP/s', '5.00 FLOP/byte')
        """
        if intensity < 0:
            raise ValueError(f"an intensity is a number of FLOP per byte, got {intensity}")
        a, b = self.arithmetic, self.bandwidth
        return Measurement(
            min(intensity * b.value, a.value),
            min(intensity * b.low, a.low),
            min(intensity * b.high, a.high),
            a.unit,
            *rests_on([a, b]),
        )


def ceilings(device: str = "cpu", rounds: int = 10) -> Ceilings:
    """Measure both limits of the CPU or of a GPU in float32: medians with quartiles, in a second or two.

    Arithmetic is that of a product of two square matrices. Bandwidth is that of changing the signs of 512 MiB in place,
    counted as read once and written once; a kernel with an output of its own would besides fetch what it overwrites.

    Args:
        device: "cpu" or "cuda".
        rounds: calls of each.

    Raises:
        KeyError: for another device.
    """
    side = SIDES[device]
    x, numbers = torch.randn(side, side, device=device), torch.ones(ARRAY_BYTES // 4, device=device)
    product = torch.empty_like(x)
    timings = time_in_turn({"product": lambda: torch.mm(x, x, out=product), "signs": numbers.neg_}, rounds)
    work, traffic = Measurement.exact(2 * side**3, "FLOP"), Measurement.exact(2 * numbers.nbytes, "bytes")
    return Ceilings(rate(work, timings.latency("product")), rate(traffic, timings.latency("signs")))
