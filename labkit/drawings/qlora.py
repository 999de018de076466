"""Drawings of Lab 03: an adapter beside a frozen weight, rounding by blocks, merging on a grid, memory by part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import style

from labkit.drawings import arrow, box, canvas, cells
from labkit.measure.measurement import Measurement
from labkit.plot import BLUE, GREEN, GREY, ORANGE, SKY, STYLE, VERMILLION, Chart, subplots

FROZEN = "#DDDDDD"
YELLOW = "#F0E442"
COLORS = {
    "weights": SKY,
    "adapters": BLUE,
    "gradients": VERMILLION,
    "optimizer": ORANGE,
    "activations": GREEN,
    "logits": YELLOW,
    "workspace": "#CC79A7",
}
HATCHES = dict(zip(COLORS, ("", "..", "\\\\", "xx", "//", "--", "++")))
Bytes = Mapping[str, Measurement]


@style.context(STYLE)
def beside(outputs: int, inputs: int, rank: int) -> Chart:
    """A frozen weight (outputs, inputs) and the two thin matrices beside it: shapes, numbers, who gets a gradient."""
    frozen, trained = outputs * inputs, rank * (outputs + inputs)
    chart, ax = canvas(
        16,
        10.4,
        "The input goes two ways and the results are added: through a frozen weight of "
        f"{frozen:,} numbers without gradient, and through A, then B, of together {trained:,} numbers with gradients "
        "and optimizer state.",
    )
    box(ax, 6, 9.4, 4, 0.9, f"x: {inputs:,} numbers", "white")
    box(ax, 0.5, 2.9, 6, 5, f"W, frozen\n{outputs:,} × {inputs:,}\n{frozen:,} numbers\n\nno gradient", FROZEN)
    box(ax, 9.5, 6.3, 6, 1.6, f"A: {rank} × {inputs:,}\n{rank * inputs:,} numbers", ORANGE)
    box(ax, 9.5, 2.9, 6, 1.6, f"B: {outputs:,} × {rank}\n{outputs * rank:,} numbers", ORANGE)
    ax.text(12.9, 5.4, "gradient and\noptimizer state", ha="left", va="center", fontsize=9, color=VERMILLION)
    arrow(ax, (7, 9.4), (3.5, 7.9))
    arrow(ax, (9, 9.4), (12.5, 7.9))
    arrow(ax, (12.5, 6.3), (12.5, 4.5))
    ax.text(12.2, 5.4, f"{rank} numbers", ha="right", va="center", fontsize=9)
    arrow(ax, (3.5, 2.9), (7.4, 1.3))
    arrow(ax, (12.5, 2.9), (8.6, 1.3))
    ax.text(11.3, 1.9, "times α / r", ha="left", va="bottom", fontsize=9)
    box(ax, 6, 0.2, 4, 1.1, f"sum, y: {outputs:,}", "white")
    return chart


@style.context(STYLE)
def rounding(weights: torch.Tensor, codes: torch.Tensor, absmax: torch.Tensor, back: torch.Tensor) -> Chart:
    """Blocks of weights, one a row, as they are divided, rounded and multiplied again.

    Args:
        weights: float (blocks, block).
        codes: of the nearest of the values, (blocks, block).
        absmax: of each block, (blocks,).
        back: what codes and absmax stand for, (blocks, block).
    """
    rows, block = weights.shape
    height = rows + 1.5
    largest = weights.abs() == absmax[:, None]
    colors = [[ORANGE if each else SKY for each in row] for row in largest.tolist()]
    error = (back - weights).abs().mean(1)
    chart, ax = canvas(
        block + 3.6,
        4 * height,
        f"{rows} blocks of {block} weights, divided by their absmax, {', '.join(map(_short, absmax.tolist()))}. "
        "Every weight takes the code of the nearest of sixteen values. The largest of a block comes back exactly; "
        f"the mean errors are {', '.join(map(_short, error.tolist()))}: a large weight spoils its own block only.",
    )
    steps = {
        "weights, a block in each row": weights,
        "divided by the absmax of the block": weights / absmax[:, None],
        "code of the nearest of the 16 values": codes,
        "back: value of the code × absmax": back,
    }
    for i, (title, values) in enumerate(steps.items()):
        text = [[_short(value) for value in row] for row in values.tolist()]
        cells(ax, 0.2, i * height + 1, text, colors, title=title)
    for i, title, column, color in ((0, "absmax", absmax, ORANGE), (3, "mean error", error, "white")):
        cells(ax, block + 1.5, i * height + 1, [[_short(value)] for value in column.tolist()], color, title=title)
    return chart


def _short(value: float) -> str:
    """Two digits, as a cell can hold them: .25, −2.3."""
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.2g}".replace("-", "−"))


@style.context(STYLE)
def merging(change: float, between: Sequence[float]) -> Chart:
    """The same small change, added to numbers on a grid of step 1 and to numbers between its points, and rounded."""
    many, gap = len(between), 0.36
    height = many * gap + 2
    chart, ax = canvas(16, 2 * height, "")
    told = []
    for top, title, starts in ((1, "on the grid", [1.0] * many), (1 + height, "between", list(between))):
        moved = [round(start + change) > round(start) for start in starts]
        told.append(f"{title}: {sum(moved)} of {many} move to 2")
        ax.text(8, top - 0.4, told[-1], fontsize=10, ha="center", va="center")
        bottom = top + many * gap
        for at, name in ((0.5, "middle"), (1, "1"), (1.5, "middle"), (2, "2")):
            line = (GREY, ":") if name == "middle" else ("black", "-")
            ax.plot([_place(at)] * 2, [top, bottom], color=line[0], linestyle=line[1], linewidth=1.4)
            ax.text(_place(at), bottom + 0.1, name, ha="center", va="top", fontsize=9, color=line[0])
        for i, (start, far) in enumerate(zip(starts, moved)):
            y, color = top + (i + 0.5) * gap, VERMILLION if far else BLUE
            ax.plot(_place(start), y, "s" if far else "o", color=color, markersize=5)
            arrow(ax, (_place(start), y), (_place(start + change), y), color=color)
    chart.alt = (
        f"A change of {change:g} of a step is added and the sum rounded. {'; '.join(told).capitalize()}. On the grid "
        "the change is lost; between its points it is kept on average."
    )
    return chart


def _place(value: float) -> float:
    return 9 * value - 3.7


@style.context(STYLE)
def training_memory(panels: Sequence[Mapping[str, Bytes]], limits: Sequence[float] = ()) -> Chart:
    """Horizontal bars of bytes, stacked by part, in one panel above the other, each with an axis of its own.

    Args:
        panels: bars by name, each with its parts by name, as `labkit.estimate.training_memory` gives them.
        limits: gigabytes of cards, dashed lines in the last panel.
    """
    counts = [len(bars) for bars in panels]
    chart, axes = subplots(len(panels), squeeze=False, height_ratios=counts)
    chart.set_size_inches(7.5, 1.1 + 0.55 * sum(counts) + 0.5 * (len(panels) - 1))
    told, labels = [], {}
    for ax, bars in zip(axes[:, 0], panels):
        for name, parts in bars.items():
            left = 0.0
            for part, color in COLORS.items():
                if part in parts:
                    width = parts[part].value / 1e9
                    options = {"color": color, "hatch": HATCHES[part], "edgecolor": "black", "linewidth": 0.5}
                    labels[part] = ax.barh(name, width, 0.7, left, **options)
                    left += width
            ax.text(left, name, f" {left:.3g} GB", va="center", fontsize=9)
            plain = name.replace("\n", " ")
            told.append(f"{plain} {left:.3g} GB, the most of it {max(parts, key=lambda p: parts[p].value)}")
        ax.set_xlim(0, 1.15 * ax.dataLim.xmax)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    for limit in limits:
        ax.axvline(limit, color="black", linewidth=1, linestyle="--")
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": 9}
        ax.annotate(f"card: {limit:g} GB", (limit, 1), **place)
    ax.set_xlabel("memory of a training step (GB)")
    chart.legend(labels.values(), labels, loc="outside upper center", ncols=4)
    chart.alt = f"Stacked bars of training memory by part: {'; '.join(told)}."
    return chart


@style.context(STYLE)
def levels(weight: torch.Tensor, absmax: torch.Tensor, formats: Mapping[str, tuple[torch.Tensor, float]]) -> Chart:
    """How weights are distributed in their blocks, and where the values of each format lie.

    Args:
        weight: of any shape.
        absmax: the largest magnitude of each block that is whole, or more.
        formats: name → its values, and its error in % of the weights.
    """
    block = -(-weight.numel() // len(absmax))
    blocks = weight.flatten()[: weight.numel() // block * block].view(-1, block)
    scaled = (blocks / absmax[: len(blocks), None]).flatten().cpu().numpy()
    chart, axes = subplots(len(formats), sharex=True, squeeze=False)
    chart.set_size_inches(7.5, 1.9 * len(formats))
    for ax, (name, (values, error)) in zip(axes[:, 0], formats.items()):
        counts, edges = np.histogram(scaled, 120)
        ax.stairs(counts / counts.max(), edges, fill=True, color=SKY)
        ax.vlines(values, 0, 1, color="black", linewidth=1)
        ax.set(title=f"{name}: relative error {error:.1f} %", yticks=[])
        ax.grid(visible=False)
    ax.set_xlabel("weight, divided by the absmax of its block")
    told = (
        f"{name} has {sum(values.abs() < 0.35)} of {len(values)} values within 0.35 of zero, error {error:.1f} %"
        for name, (values, error) in formats.items()
    )
    chart.alt = f"Most weights lie near zero. {'; '.join(told)}."
    return chart
