"""What pruning, rounding and both do to a small matrix, and to its bits in a file."""

from __future__ import annotations

import math

import torch
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from labkit.drawings import canvas, cells
from labkit.plot import ORANGE, SKY, STYLE, Chart
from labkit.techniques.pruning.magnitude import keep_largest
from labkit.techniques.quantization.rounding import quantize_tensor

PALE_GREEN = "#9FD9C6"  # integers


@style.context(STYLE)
def four_files(weights: torch.Tensor, sparsity: float) -> Chart:
    """A matrix as it is, pruned by magnitude, rounded to 8 bits, and both; below, the bits of each.

    Zeros cost a position: H(s) bits for each weight, 1 where half of them are zero. The scale of the integers is left
    out.

    Args:
        weights: (4, 4).
        sparsity: fraction to prune, in (0, 1).
    """
    count, kept = weights.numel(), keep_largest(weights.abs().flatten(), sparsity).view(weights.shape)
    pruned, codes = torch.where(kept, weights, 0.0), quantize_tensor(weights)[0]
    stored, positions = int(kept.sum()), round(-count * sum(p * math.log2(p) for p in (sparsity, 1 - sparsity)))
    bits = {"FP32": (32 * count, 0), "pruned": (32 * stored, positions), "INT8": (8 * count, 0)}
    bits["both"] = 8 * stored, positions
    told = "; ".join(f"{name} {sum(both)}, of which {both[1]} for positions" for name, both in bits.items())
    chart, ax = canvas(13, 16.4, f"Sixteen weights as they are, pruned, rounded to integers, and both. Bits: {told}.")
    cells(ax, 1.5, 1, weights.tolist(), form="{:.1f}", title="FP32")
    cells(ax, 7.5, 1, pruned.tolist(), form="{:.2g}", title=f"pruned: {100 * sparsity:.0f} % zeros")
    cells(ax, 1.5, 6.2, codes.tolist(), PALE_GREEN, title="rounded to INT8")
    cells(ax, 7.5, 6.2, torch.where(kept, codes, 0).tolist(), PALE_GREEN, title="both")
    for i, (name, (values, places)) in enumerate(bits.items()):
        color = SKY if name in ("FP32", "pruned") else PALE_GREEN
        _bar(ax, 11 + 0.95 * i, name, values, places, color, 7.5 / bits["FP32"][0])
    for x, text, *look in ((2.2, "32 bits", SKY), (5.2, "8 bits", PALE_GREEN), (8, "positions", ORANGE, "///")):
        _rectangle(ax, x, 15.1, 0.6, *look)
        ax.text(x + 0.8, 15.45, text, va="center", fontsize=9)
    return chart


def _bar(ax: Axes, y: float, name: str, values: int, positions: int, color: str, scale: float) -> None:
    ax.text(2, y + 0.35, name, ha="right", va="center", fontsize=9)
    _rectangle(ax, 2.2, y, scale * values, color)
    _rectangle(ax, 2.2 + scale * values, y, scale * positions, ORANGE, "///")
    text = f"{values} + {positions} bits" if positions else f"{values} bits"
    ax.text(2.4 + scale * (values + positions), y + 0.35, text, va="center", fontsize=9)


def _rectangle(ax: Axes, x: float, y: float, width: float, color: str, hatch: str = "") -> None:
    ax.add_patch(Rectangle((x, y), width, 0.7, facecolor=color, hatch=hatch, edgecolor="black", linewidth=0.8))
