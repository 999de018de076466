"""Drawings of stacks: two ways through the same steps, the tree of orders, and pairing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from matplotlib import style

from labkit import drawings
from labkit.measure.measurement import Measurement
from labkit.plot import GREY, ORANGE, SKY, STYLE, Chart

GOOD, BAD = "#CFE8F7", "#F8D9A8"  # pale enough to read black text on
Measured = Mapping[str, Measurement]
Change = Callable[[torch.Tensor], torch.Tensor]


def two_orders(start: torch.Tensor, one: Change, other: Change) -> Chart:
    """The same numbers through two steps in both orders; where the ends differ, cells are orange.

    Args:
        start: the numbers before, (N,).
        one: a step, whose name up to its first _ is shown.
        other: the other step.
    """
    wide, gap, ways = len(start), 2.6, []
    for pair in ((one, other), (other, one)):
        middle = pair[0](start)
        ways.append([(step.__name__.partition("_")[0], x) for step, x in zip(pair, (middle, pair[1](middle)))])
    differs = ways[0][-1][1] != ways[1][-1][1]
    told = [" → ".join(f"{name} {_row(numbers)}" for name, numbers in way) for way in ways]
    chart, ax = drawings.canvas(3 * wide + 2 * gap + 0.2, 4, f"{_row(start)} in both orders. {'; '.join(told)}.")
    for i, way in enumerate(ways):
        x, y = 0.1, 2 * i + 0.6
        drawings.cells(ax, x, y, [start.tolist()], SKY, "{:.2f}")
        for (name, numbers), is_end in zip(way, (False, True)):
            drawings.arrow(ax, (x + wide + 0.1, y + 0.5), (x + wide + gap - 0.1, y + 0.5), name)
            x += wide + gap
            colors = [[ORANGE if is_end and each else SKY for each in differs]]
            drawings.cells(ax, x, y, [numbers.tolist()], colors, "{:.2f}")
    return chart


def _row(numbers: torch.Tensor) -> str:
    return " ".join(f"{number:.3g}" for number in numbers.tolist())


@style.context(STYLE)
def tree(results: Mapping[tuple[str, ...], Measured | str], much: float, *metrics: str) -> Chart:
    """The orders of some steps as a tree that grows to the right, each order with what came of it.

    Orders that begin alike share their beginning. A result above `much` is orange, any other blue; an order that is
    refused is grey, with its reason.

    Args:
        results: order → what was measured, or why it is refused.
        much: of the first metric, from which on a result is orange.
        metrics: those that are shown, the first of them with its interval.
    """
    names = list(dict.fromkeys(name for order in results for name in order))
    rows = sorted(results, key=lambda order: [names.index(name) for name in order])
    prefixes = list(dict.fromkeys(order[:n] for order in rows for n in range(1, len(order) + 1)))
    deep, wide, gap, high = max(map(len, rows)), 2.9, 0.7, 1.25
    head = ", ".join(metrics)
    told = "; ".join(f"{', '.join(order)}: {_told(results[order], metrics, ', ')}" for order in rows)
    chart, ax = drawings.canvas(deep * (wide + gap) + 5.6, high * len(rows) + 0.8, f"{head}. {told}.")
    ax.text(deep * (wide + gap) - gap + 0.35, 0.35, head, va="center", fontsize=9, fontweight="bold")

    def height(prefix: tuple[str, ...]) -> float:
        below = [i for i, order in enumerate(rows) if order[: len(prefix)] == prefix]
        return 0.8 + high * (below[0] + below[-1] + 1) / 2

    for prefix in prefixes:
        x, y = 0.1 + (len(prefix) - 1) * (wide + gap), height(prefix)
        if len(prefix) > 1:
            ax.plot([x - gap, x], [height(prefix[:-1]), y], color=GREY, linewidth=1)
        color, ink = "white", "black"
        if prefix in results:
            result = results[prefix]
            color, ink = ("#EEEEEE", GREY) if isinstance(result, str) else (GOOD, "black")
            if not isinstance(result, str) and result[metrics[0]].value > much:
                color = BAD
            ax.text(x + wide + 0.25, y, _told(result, metrics, "\n"), va="center", fontsize=9, color=ink)
        drawings.box(ax, x, y - 0.42, wide, 0.84, prefix[-1], color)
    return chart


def _told(result: Measured | str, metrics: Sequence[str], between: str) -> str:
    if isinstance(result, str):
        return f"refused: {result}"
    return between.join([str(result[metrics[0]]), *(result[metric].short for metric in metrics[1:])])


def right_and_wrong(first: torch.Tensor, second: torch.Tensor, names: tuple[str, str]) -> Chart:
    """How many inputs both models tell right, only one, and neither: only where they differ do they tell apart.

    Args:
        first: whether the first model is right, (N,).
        second: whether the second one is.
        names: of the models.
    """
    counts = [[(a & b).sum().item() for b in (second, ~second)] for a in (first, ~first)]
    (both, only_first), (only_second, neither) = counts
    alt = f"Of {len(first):,} images both are right on {both:,} and both wrong on {neither:,}: these say nothing. "
    alt += f"Only {names[0]} is right on {only_first}, only {names[1]} on {only_second}: these alone compare the two."
    chart, ax = drawings.canvas(17, 4.4, alt)
    for j, text in enumerate(("right", "wrong")):
        ax.text(8.5 + 5 * j, 0.9, text, ha="center", fontsize=9)
        ax.text(5.7, 1.9 + 1.5 * j, text, ha="right", va="center", fontsize=9)
    ax.text(11, 0.25, names[1], ha="center", va="center", fontsize=9)
    ax.text(4, 2.65, names[0].replace(", ", ",\n"), ha="right", va="center", fontsize=9)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            same = i == j
            drawings.box(ax, 6 + 5 * j, 1.15 + 1.5 * i, 5, 1.5, f"{count:,}", "#EEEEEE" if same else GOOD)
    return chart
