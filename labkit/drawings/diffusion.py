"""Drawings for diffusion: the path from noise to a picture, rows of pictures, and which tokens are merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from labkit.measure.measurement import Measurement
from labkit.plot import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILLION,
    Chart,
    cost_quality,
    curves,
    subplots,
)
from labkit.record import Record

if TYPE_CHECKING:
    from labkit.techniques.diffusion.token_merging import Matching

GROUP_COLORS = (VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY)
NOISE = 3.0  # where the path of `one_leap` begins


def path(start: float, noise: Sequence[float] | np.ndarray) -> np.ndarray:
    """Values of one pixel on the way from noise to a picture, at each of these noise levels, which fall.

    There are two pictures, a black one, -1, and a white one, +1, equally likely. So the mean of what can lie behind a
    noisy value x is known, tanh(x / noise²), and dx / d noise = (x - mean) / noise is the path of least surprise, the
    probability flow (Song et al. 2021, arXiv:2011.13456). Heun's method between the levels.
    """

    def slope(x: float, level: float) -> float:
        return (x - behind(x, level)) / level

    values = [start]
    for now, then in zip(noise, noise[1:]):
        x, first = values[-1], slope(values[-1], now)
        second = slope(x + (then - now) * first, then)
        values.append(x + (then - now) * (first + second) / 2)
    return np.array(values)


def behind(x: float, noise: float) -> float:
    """Mean of the pictures, -1 and +1, that can lie behind a noisy value."""
    return float(np.tanh(x / noise**2))


@style.context(STYLE)
def one_leap(start: float = 2.1, steps: int = 12) -> Chart:
    """The many small steps of a solver along a curved path, and two leaps: to the mean, and to the path's end."""
    chart, ax = subplots()
    chart.set_size_inches(6.3, 3.7)
    fine = np.linspace(NOISE, 1e-3, 3000)
    values = path(start, fine)
    ax.plot(fine, values, color=BLUE, linewidth=2)
    at = np.linspace(0, len(fine) - 1, steps + 1).astype(int)
    ax.plot(fine[at], values[at], "o", color=BLUE, markersize=5)
    mean = behind(start, NOISE)
    for end, color, bend, width in ((mean, VERMILLION, 0.0, 1.4), (values[-1], ORANGE, -0.32, 2.6)):
        style = {"arrowstyle": "-|>", "color": color, "linewidth": width, "shrinkA": 4, "shrinkB": 3}
        style |= {"connectionstyle": f"arc3,rad={bend}", "mutation_scale": 14}
        ax.annotate("", (0, end), (NOISE, start), arrowprops=style)
    ax.text(1.85, 2.7, "consistency model: one leap to the end", color="#9A6A00", ha="center", fontsize=10)
    ax.text(1.95, 0.42, "one plain step:\nto the mean", color=VERMILLION, ha="center", va="center", fontsize=10)
    ax.text(1.05, 1.2, f"{steps} small steps", color=BLUE, ha="left", fontsize=10)
    for value, name in ((1, "white"), (-1, "black"), (mean, "mean")):
        ax.plot(0, value, "s", color="black" if value < 0 else GREY if value < 1 else "white", markeredgecolor="black")
        ax.text(-0.1, value, name, va="center", fontsize=10)
    ax.set(xlim=(NOISE + 0.15, -0.62), ylim=(-1.3, 2.9), xlabel="noise left", ylabel="value of a pixel")
    ax.set_xticks([3, 2, 1, 0])
    ax.grid(visible=False)
    chart.alt = (
        "A curved path leads from noise, at the left, to the white picture, at the right. "
        f"A solver follows it in {steps} small steps. One plain step, straight on, ends at the mean of both pictures, "
        "a grey. A consistency model leads from the same noise to the path's end in one leap."
    )
    return chart


@style.context(STYLE)
def rows_of_pictures(rows: Mapping[str, torch.Tensor], alt: str, columns: Sequence[str] = ()) -> Chart:
    """Pictures in rows under their names.

    Args:
        rows: name → (N, 3, H, W) in [0, 1], as many in each row.
        alt: what the rows say together.
        columns: what stands above the pictures of the first row.
    """
    count = len(next(iter(rows.values())))
    chart, axes = subplots(len(rows), count, squeeze=False)
    side = min(6.3 / count, 1.2)
    height = len(rows) * (side + 0.25) + 0.25 * bool(columns)
    chart.set_size_inches(side * count, height)
    chart.get_layout_engine().set(h_pad=0.1, w_pad=0.02, rect=(0, 0, 1, 1 - 0.12 / height))
    for line, (name, images) in zip(axes, rows.items()):
        for ax, image in zip(line, images):
            ax.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            ax.axis("off")
        # A title would widen the first column to its own width.
        line[0].text(0, 1.06, name, fontsize=10, transform=line[0].transAxes, in_layout=False)
    for ax, text in zip(axes[-1], columns):
        ax.text(0.5, -0.06, text, fontsize=9, ha="center", va="top", transform=ax.transAxes)
    chart.alt = alt
    return chart


def groups(matching: Matching) -> torch.Tensor:
    """For each token of the first image the token whose row it shares after merging, (T,): itself, or another."""
    count = len(matching.destinations) + matching.kept.shape[1] + matching.merged.shape[1]
    leader = torch.arange(count)
    leader[matching.merged[0].cpu()] = matching.destinations[matching.into[0]].cpu()
    return leader


@style.context(STYLE)
def merged_tokens(image: torch.Tensor, matching: Matching, height: int, width: int, largest: int = 6) -> Chart:
    """A picture twice: its merged tokens covered, and its largest groups of merged tokens in one colour each.

    Args:
        image: (3, H, W) in [0, 1].
        matching: of the tokens of this picture.
        height: of the picture, in tokens.
        width: of the picture, in tokens.
        largest: groups to colour, at most as many as `GROUP_COLORS`.
    """
    chart, (left, right) = subplots(1, 2)
    chart.set_size_inches(6.3, 3.5)
    of = groups(matching)
    sizes = of.bincount(minlength=len(of))
    gone = (of != torch.arange(len(of))).view(height, width)
    shown = image.permute(1, 2, 0).numpy()
    for ax, picture in ((left, shown), (right, 0.35 * shown.mean(2, keepdims=True).repeat(3, 2) + 0.65)):
        ax.imshow(picture, interpolation="nearest", extent=(0, width, height, 0))
        ax.axis("off")
    _cover(left, gone, "white", "#BBBBBB")
    order = sizes.argsort(descending=True, stable=True)[:largest]
    for leader, color in zip(order, GROUP_COLORS):
        _cover(right, (of == leader).view(height, width), color, "black")
    left.set_title(f"{int((~gone).sum()):,} of {len(of):,} tokens stay", fontsize=11)
    right.set_title(f"the {largest} largest groups", fontsize=11)
    chart.alt = (
        f"Left, a picture of which {int(gone.sum()):,} of {len(of):,} tokens are covered: they merged into others. "
        f"Right, the {largest} largest groups in one colour each, of {', '.join(str(int(sizes[i])) for i in order)} "
        "tokens: tokens of one colour are one token now."
    )
    return chart


def _cover(ax: Axes, where: torch.Tensor, color: str, edge: str) -> None:
    """Cover the tokens of a picture, (height, width), that are true."""
    cells = [Rectangle((x, y), 1, 1) for y, x in where.nonzero().tolist()]
    ax.add_collection(PatchCollection(cells, facecolor=color, edgecolor=edge, linewidth=0.4))


def bias(distances: Mapping[int, Measurement]) -> Chart:
    """Distance of real pictures from real ones, against how many there are."""
    chart = curves({"real pictures": distances}, "number of pictures, log scale", "distance")
    (ax,) = chart.axes
    ax.set(xscale="log", yscale="log")
    ticks = [0.1, 0.3, 1, 3, 10, 30]
    for axis, values in ((ax.xaxis, [*distances]), (ax.yaxis, ticks)):
        axis.set_ticks(values, [f"{value:g}" for value in values])
        axis.set_ticks([], minor=True)
    chart.set_size_inches(6.3, 3.4)
    chart.alt += " The fewer pictures, the larger the distance, though all of them are real."
    return chart


def above_the_floor(record: Record, rows: Sequence[str], floor: str) -> Chart:
    """Distance to real pictures against latency, better upwards, with the row of a record that none can pass dotted."""
    chart = cost_quality(record, "latency", "distance_2000", rows, lower_is_better=True)
    (ax,) = chart.axes
    best = record.get(floor, "distance_2000").value
    ax.set_ylim(top=best - 0.1)
    ax.axhline(best, linestyle=":", color="black")
    chart.alt += f" The floor, {floor}, lies at {best:.2g}."
    return chart
