"""What a Deep Compression file holds: distances with fillers, codes with a codebook, and the account of its bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import style

from labkit.drawings import arrow, canvas, cells
from labkit.plot import GREEN, GREY, ORANGE, SKY, STYLE, Chart, subplots
from labkit.techniques.quantization.codebook import Codebook
from labkit.techniques.storage.deep_compression import absolute_index, relative_index

INKS = ("#A6D8F0", "#F6CFA0", "#BFE3B4", "#E3C3DC", "#F2E68C", "#D0D0D0", "#F4B6A6")  #: pale, to read black on


@style.context(STYLE)
def gap_coding(row: np.ndarray, index_bits: int) -> Chart:
    """A row of weights with the distances between what is stored, a filler where one does not fit, and the bits.

    Args:
        row: weights, zero where pruned, (n,), at most 14 of them.
        index_bits: of a distance.
    """
    index, is_weight = relative_index(np.flatnonzero(row), index_bits)
    places = absolute_index(index)
    fillers = sorted({*range(len(index))} - {*is_weight.tolist()})
    left = 2.9
    alt = f"Weights {row.tolist()}: distances {(index + 1).tolist()} from one stored entry to the next, "
    alt += f"in {index_bits} bits each; fillers at places {places[fillers].tolist()}."
    chart, ax = canvas(left + len(row) + 0.2, 6.2, alt)
    for place in range(len(row)):
        ax.text(left + place + 0.5, 0.65, place, ha="center", va="center", fontsize=9, color=GREY)
    cells(ax, left, 1, [[f"{w:g}" if w else 0 for w in row]])
    for i, (place, symbol) in enumerate(zip(places.tolist(), index.tolist())):
        color, value = (ORANGE, "0") if i in fillers else (SKY, f"{row[place]:g}")
        arrow(ax, (left + place - symbol - 0.5, 2.9), (left + place + 0.5, 2.9), f"+{symbol + 1}")
        cells(ax, left + place, 3.4, [[f"{symbol:0{index_bits}b}"], [value]], color)
        if i in fillers:
            cells(ax, left + place, 1, [["0"]], ORANGE)
            ax.text(left + place + 0.5, 5.85, "filler", ha="center", va="center", fontsize=9)
    for y, name in ((0.65, "place"), (1.5, "weights"), (2.7, "distance"), (3.9, "its bits"), (4.9, "value")):
        ax.text(left - 0.65, y, name, ha="right", va="center", fontsize=9)
    return chart


@style.context(STYLE)
def codebook(weight: torch.Tensor, book: Codebook, bits: int) -> Chart:
    """A matrix, the codes of its weights, and the table of centroids: a colour for each code.

    Code 0 is the value zero, which pruned weights have.

    Args:
        weight: before it was shared, (rows, columns).
        book: what it was shared by.
        bits: of a code.
    """
    codes = torch.zeros(weight.numel(), dtype=torch.int64)
    codes[book.kept] = book.codes + 1
    grid = codes.view(weight.shape).tolist()
    colors = [["white" if code == 0 else INKS[(code - 1) % len(INKS)] for code in row] for row in grid]
    values = [0.0, *book.centroids.tolist()]
    table = [[f"{code:0{bits}b}", f"{value:.2f}" if value else "0"] for code, value in enumerate(values)]
    names = "; ".join(f"{code} is {value}" for code, value in table)
    (rows, columns), alt = weight.shape, f"A matrix of weights becomes a matrix of codes of {bits} bits: {names}."
    chart, ax = canvas(2 * columns + 6.6, max(rows, len(table)) + 1.6, alt)
    cells(
        ax, 0.2, 1.2, [[f"{w:.1f}" if w else 0 for w in row] for row in weight.tolist()], colors, title="32-bit weights"
    )
    words = [[f"{code:0{bits}b}" if code else "0" * bits for code in row] for row in grid]
    at = columns + 2.1
    arrow(ax, (columns + 0.4, 1.2 + rows / 2), (at - 0.2, 1.2 + rows / 2))
    cells(ax, at, 1.2, words, colors, title=f"{bits}-bit codes")
    at += columns + 1.7
    inks = [["white"] * 2, *([INKS[i % len(INKS)]] * 2 for i in range(len(table) - 1))]
    cells(ax, at, 1.2, table, inks, title="codebook")
    return chart


@style.context(STYLE)
def account(title: str, dense: int, steps: Mapping[str, Mapping[str, int]]) -> Chart:
    """A file after each step, a bar in its parts, and beside each bar what the step saved.

    The bar of the dense file is cut at the edge, which its label says.

    Args:
        title: of the network.
        dense: bytes of its float32 parameters.
        steps: {step: {"weights": …, "index": …, other parts: …} in bytes}, each step done to what the one above left.
    """
    chart, ax = subplots()
    chart.set_size_inches(6.2, 3.4)
    looks = {"values": (SKY, ""), "positions": (ORANGE, "//"), "the rest": (GREEN, "")}
    bars = []
    for parts in steps.values():
        rest = sum(parts.values()) - parts["weights"] - parts["index"]
        bars.append({"values": parts["weights"], "positions": parts["index"], "the rest": rest})
    edge = 1.45 * max(sum(bar.values()) for bar in bars) / 1e3
    ax.barh(0, edge, 0.62, color="#DDDDDD", edgecolor="black", linewidth=0.8)
    ax.text(edge / 2, 0, f"{dense / 1e3:,.0f} kB: goes on far beyond the edge", ha="center", va="center", fontsize=10)
    told, before = [], None
    for y, (step, bar) in enumerate(zip(steps, bars), start=1):
        start = 0.0
        for part, (color, hatch) in looks.items():
            width = bar[part] / 1e3
            ax.barh(y, width, 0.62, start, color=color, hatch=hatch, edgecolor="black", linewidth=0.8)
            start += width
        if before is None:
            saved = f"{start:,.0f} kB"
        else:
            less = [f"{part} {(bar[part] - before[part]) / 1e3:+,.0f}" for part in ("values", "positions")]
            saved = f"{start:,.0f} kB\n{', '.join(less)}"
        ax.text(start + edge / 60, y, saved.replace("-", "−"), va="center", fontsize=10)
        told.append(f"{step}: values {bar['values'] / 1e3:,.0f}, positions {bar['positions'] / 1e3:,.0f} kB")
        before = bar
    handles = [ax.barh([0], [0], color=c, hatch=h, edgecolor="black", label=p) for p, (c, h) in looks.items()]
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    ax.set_yticks(range(len(steps) + 1), ["float32", *steps])
    ax.set(xlim=(0, edge), ylim=(len(steps) + 0.5, -0.5), xlabel="file (kB)")
    ax.set_title(title, loc="left", fontsize=10)
    ax.grid(axis="y", visible=False)
    chart.alt = f"The file of {title}, {dense / 1e3:,.0f} kB as float32, after each step. {'; '.join(told)}."
    return chart
