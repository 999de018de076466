"""Rounding to a symmetric grid of integers.

Source: affine quantization, Jacob et al. 2018 (arXiv:1712.05877).
"""

from __future__ import annotations

import torch

from labkit import checks

STEPS = 127  # INT8 reaches from -128 to 127; the symmetric grid leaves -128 out


def quantize_tensor(
    x: torch.Tensor, axis: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round to 255 equal steps: integers q in [-127, 127] and a scale s with x ≈ s q.

    The error is at most s / 2. Zero stays exactly zero, so pruned weights stay pruned.

    Args:
        x: of any shape.
        axis: None gives the tensor one scale; otherwise each index along the axis has
            one (for a weight (out, in, …), axis 0 gives every output channel its own).

    Returns:
        q (int8, shape of x) and s (float32, broadcastable to x).

    Raises:
        ValueError: x is empty or not finite in float32, or has no such axis.

    >>> q, s = quantize_tensor(torch.tensor([0.5, -1.0, 0.0]))
    >>> q
    tensor([  64, -127,    0], dtype=torch.int8)
    """
    if not x.numel() or (axis is not None and not -x.dim() <= axis < x.dim()):
        raise ValueError(f"shape {tuple(x.shape)} has no numbers, or no axis {axis}")
    dims = [d for d in range(x.dim()) if axis is None or d != axis % x.dim()]
    # Over no dimension at all, amax would take all of them.
    largest = (x.abs().amax(dims, keepdim=True) if dims else x.abs()).float()
    checks.finite(largest, "largest numbers")
    scale = largest.clamp(min=torch.finfo(torch.float32).tiny) / STEPS
    return (x / scale).round().to(torch.int8), scale


def dequantize(q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The numbers that the integers stand for.

    >>> dequantize(torch.tensor([2, -127], dtype=torch.int8), torch.tensor(0.5))
    tensor([  1.0000, -63.5000])
    """
    return q * scale
