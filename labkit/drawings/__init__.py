"""Drawings of ideas: cells with numbers, boxes and arrows, in the style of `labkit.plot`; a module for each subject.

A unit of the canvas is a square cell. x runs to the right and y down, as rows and columns of a matrix do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from labkit.plot import GREY, SKY, STYLE, Chart, subplots

CELL = 0.42  # inches


@style.context(STYLE)
def canvas(width: float, height: float, alt: str) -> tuple[Chart, Axes]:
    """An empty drawing, `width` × `height` cells, without ticks, and what it says to those who cannot see it."""
    chart, ax = subplots()
    chart.set_size_inches(CELL * width, CELL * height)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.axis("off")
    chart.alt = alt
    return chart, ax


def cells(
    ax: Axes,
    x: float,
    y: float,
    values: Sequence[Sequence[float | str]] | np.ndarray,
    colors: Sequence[Sequence[str]] | str = SKY,
    form: str = "{}",
    title: str = "",
) -> None:
    """A matrix as cells, its upper left corner at (x, y).

    Args:
        ax: of a canvas.
        x: of the left edge.
        y: of the upper edge.
        values: in rows; a zero has a white cell and a grey figure.
        colors: one for all cells, or one for each.
        form: how a value is written, "{:.1f}".
        title: stands above.
    """
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            zero = not isinstance(value, str) and value == 0
            color = "white" if zero else colors if isinstance(colors, str) else colors[i][j]
            ax.add_patch(Rectangle((x + j, y + i), 1, 1, facecolor=color, edgecolor="black", linewidth=0.8))
            text, ink = form.format(value), GREY if zero else "black"
            ax.text(x + j + 0.5, y + i + 0.5, text, ha="center", va="center", fontsize=9, color=ink)
    ax.text(x + len(values[0]) / 2, y - 0.2, title, ha="center", va="bottom", fontsize=10)


def box(ax: Axes, x: float, y: float, width: float, height: float, text: str, color: str = "white") -> None:
    """A box with text in its middle, its upper left corner at (x, y)."""
    ax.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="black", linewidth=1))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", color: str = "black") -> None:
    """An arrow with its text above the middle."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "shrinkA": 0, "shrinkB": 0})
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 0.15
    ax.text(*middle, text, ha="center", va="bottom", fontsize=9, color=color)
