"""The pictures that every lab uses, in one style.

The colours are those of Okabe and Ito (2008), which the colour-blind can tell apart; markers, line styles and
hatches say the same again, for print without colour. Every function returns its figure, which a notebook shows
where it ends a cell, with a description for those who cannot see it. Axes to draw into come from `subplots`.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise

import numpy as np
from matplotlib import patheffects, style, ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL.Image import Image

from labkit.estimate.product import Product
from labkit.measure.latency import Timings
from labkit.measure.measurement import Measurement, mean_with_interval
from labkit.measure.pareto import pareto_front
from labkit.measure.roofline import Ceilings
from labkit.record import Record

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
GREY = "#666666"
LOOKS = list(zip((BLUE, VERMILLION, GREEN, ORANGE, PURPLE, "black"), "os^DvP", ("-", "--", "-.", ":", "-", "--")))
# All of matplotlib's own settings first: the reader's, such as a dark theme or LaTeX, do not mix with ours.
STYLE = [
    "default",
    {
        "figure.dpi": 110,
        "savefig.dpi": "figure",
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "axes.facecolor": "white",
        "text.color": "black",
        "axes.labelcolor": "black",
        "axes.edgecolor": "black",
        "xtick.color": "black",
        "ytick.color": "black",
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "font.size": 10,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "lines.linewidth": 1.6,
        "errorbar.capsize": 2.5,
        "hatch.linewidth": 0.8,
        "figure.constrained_layout.use": True,
        "svg.hashsalt": "efficiency-stack",  # an SVG is the same each time
    },
]


class Chart(Figure):
    """A figure that a notebook shows together with its description, `alt`."""

    alt = ""
    savefig = style.context(STYLE)(Figure.savefig)  # parts of the style are looked up only when it is drawn

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        png = io.BytesIO()
        self.savefig(png, format="png")
        data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}


@style.context(STYLE)
def subplots(rows: int = 1, columns: int = 1, **options) -> tuple[Chart, Axes | np.ndarray]:
    """A figure in the style of these pictures and its axes, with the options of `Figure.subplots`."""
    chart = Chart(figsize=(7.5, 4.2 * rows))
    return chart, chart.subplots(rows, columns, **options)


def _described(ax: Axes, sentence: str) -> Figure:
    ax.figure.alt = f"{getattr(ax.figure, 'alt', '')} {sentence}".strip()
    return ax.figure


def _one_unit(measurements: Iterable[Measurement]) -> str:
    units = {m.unit for m in measurements}
    if len(units) != 1:
        raise ValueError(f"an axis needs measurements of one unit, got {', '.join(map(repr, sorted(units))) or 'none'}")
    return units.pop()


def _errors(*measurements: Measurement) -> np.ndarray:
    """Distances from the values to the ends of their intervals, (2, N)."""
    return np.array([[m.value - m.low, m.high - m.value] for m in measurements]).T


def _named(metric: str, unit: str) -> str:
    name = metric.replace("_", " ")
    return f"{name} ({unit})" if unit else name


def _log_axis(axis: Axis, name: str, unit: str) -> None:
    """Logarithmic, ticks as plain numbers or with SI prefixes, enough of them also within one decade."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    locator = ticker.LogLocator(subs=(1, 2, 5)) if high > 4 * low else ticker.MaxNLocator(6, steps=(1, 2, 5, 10))
    axis.set_major_locator(locator)
    axis.set_minor_locator(ticker.NullLocator())
    large = unit in ("bytes", "FLOP", "")
    axis.set_major_formatter(ticker.EngFormatter(unit.replace("bytes", "B")) if large else "{x:g}")
    axis.set_label_text(textwrap.fill(f"{name.replace('_', ' ')} ({unit or 'count'}, log scale)", 50))


@style.context(STYLE)
def cost_quality(
    record: Record,
    cost: str = "file",
    quality: str = "accuracy",
    rows: Sequence[str] = (),
    lower_is_better: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Quality against cost, with intervals.

    Filled points are on the Pareto front; below and right of its staircase, something else is cheaper and no worse.

    Args:
        record: has the rows.
        cost: a metric, better when lower.
        quality: a metric.
        rows: names; none takes all rows that have both metrics.
        lower_is_better: as with perplexity; the axis of quality then runs downwards, so that better is up, still.
        ax: where to draw.

    Raises:
        KeyError: a row lacks one of the two.
        ValueError: no row has both.
    """
    rows = rows or [name for name, row in record.rows.items() if {cost, quality} <= row.measurements.keys()]
    costs, qualities = [record.get(r, cost) for r in rows], [record.get(r, quality) for r in rows]
    cost_unit, quality_unit = _one_unit(costs), _one_unit(qualities)
    x, y = np.array([m.value for m in costs]), np.array([m.value for m in qualities])
    ax, front = ax or subplots()[1], pareto_front(x, -y if lower_is_better else y)
    ax.errorbar(x, y, _errors(*qualities), _errors(*costs), fmt="none", ecolor=GREY, elinewidth=1)
    ax.plot(x, y, "o", color=BLUE, markerfacecolor="white", label="dominated")
    ax.plot(x[front], y[front], "o", color=BLUE, label="on the Pareto front")
    ax.margins(0.12, 0.15)
    _log_axis(ax.xaxis, cost, cost_unit)
    ax.set(ylabel=_named(quality, quality_unit), xlim=ax.get_xlim(), ylim=ax.get_ylim())
    ax.yaxis.set_inverted(lower_is_better)
    stairs = [*x[front], ax.get_xlim()[1]]
    ax.step(stairs, [*y[front], y[front[-1]]], where="post", color=BLUE, linewidth=1, zorder=1)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    treads = [((a, y[i]), (b, y[i])) for i, a, b in zip(front, stairs, stairs[1:])]
    bars = [((c.low, q.value), (c.high, q.value)) for c, q in zip(costs, qualities)]
    bars += [((c.value, q.low), (c.value, q.high)) for c, q in zip(costs, qualities)]
    _place_labels(ax, np.column_stack([x, y]), rows, np.array(treads + bars))
    return _described(ax, f"{quality} against {cost}. Pareto front: {', '.join(rows[i] for i in front)}.")


@style.context(STYLE)
def front(
    points: Sequence[tuple[Measurement, Measurement]],
    trusted: Sequence[int],
    named: Mapping[str, int],
    cost: str,
    loss: str,
    ax: Axes | None = None,
) -> Figure:
    """Many points (cost, loss), both better when lower: dominated ones grey, the front a staircase, a few by name.

    The axis of the loss runs downwards.

    Args:
        points: cost and loss of each.
        trusted: indices of the points that make the front; the others, which were run once, are hollow.
        named: names to indices of points; these have their intervals.
        cost: name of the horizontal axis.
        loss: name of the vertical axis.
        ax: where to draw.
    """
    x, y = (np.array([m.value for m in column]) for column in zip(*points))
    trusted, ax = list(trusted), ax or subplots()[1]
    on_front, others = [trusted[i] for i in pareto_front(x[trusted], -y[trusted])], {*range(len(points))} - {*trusted}
    grey = {"color": GREY, "markersize": 4, "linewidth": 0}
    ax.plot(x[trusted], y[trusted], "o", alpha=0.6, label=f"{len(trusted)} stacks", **grey)
    ax.plot(x[[*others]], y[[*others]], "o", alpha=0.6, fillstyle="none", label=f"{len(others)} run once", **grey)
    stairs = {"drawstyle": "steps-post", "linewidth": 1, "markersize": 4}
    ax.plot(x[on_front], y[on_front], "o-", color=BLUE, label="front", **stairs)
    chosen = [points[i] for i in named.values()]
    xs, ys = ([m.value for m in column] for column in zip(*chosen))
    errors = [_errors(*column) for column in zip(*chosen)]
    ax.errorbar(xs, ys, errors[1], errors[0], "D", color=VERMILLION, markersize=6, label="named")
    _log_axis(ax.xaxis, cost, points[0][0].unit)
    ax.set(ylabel=_named(loss, points[0][1].unit))
    ax.yaxis.set_inverted(True)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    edges = np.column_stack([x[on_front][:-1], y[on_front][:-1], x[on_front][1:], y[on_front][:-1]]).reshape(-1, 2, 2)
    bars = np.array([((c.value, q.low), (c.value, q.high)) for c, q in chosen])
    dots = np.repeat(np.column_stack([x, y])[:, None], 2, axis=1)  # labels keep off the intervals and points, too
    _place_labels(ax, np.column_stack([xs, ys]), list(named), np.concatenate([edges, bars, dots]))
    told = "; ".join(f"{name}: {points[i][0]}, {points[i][1]}" for name, i in named.items())
    return _described(ax, f"{loss} against {cost} of {len(points)} stacks, {len(on_front)} on the front. {told}.")


@style.context(STYLE)
def heat_map(
    cells: Mapping[tuple[str, str], Measurement], title: str, neutral: float = 0, ax: Axes | None = None
) -> Figure:
    """One number for each pair of names (row, column), coloured by how far it is from `neutral`, with its interval.

    Colour is proportional to the square root of the distance. A number whose interval holds `neutral` stands in
    brackets and has no colour. Columns come in the order of the rows.
    """
    ax = ax or subplots()[1]
    rows, columns = (list(dict.fromkeys(pair[i] for pair in cells)) for i in (0, 1))
    columns.sort(key=[*rows, *columns].index)
    grid = np.full((len(rows), len(columns)), np.nan)
    for (row, column), m in cells.items():
        told = m.low == m.high or not m.low <= neutral <= m.high
        far = m.value - neutral
        grid[rows.index(row), columns.index(column)] = np.sign(far) * abs(far) ** 0.5 if told else 0
        text = m.short.removesuffix(m.unit).strip()
        if m.low < m.high:
            text += f"\n{m.low:.2g} – {m.high:.2g}"
        text = text if told else f"({text})"
        ax.text(columns.index(column), rows.index(row), text, ha="center", va="center", fontsize=8)
    limit = 1.6 * np.nanmax(np.abs(grid)) or 1.0  # pale enough to read black text on
    ax.imshow(grid, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set_xticks(range(len(columns)), [textwrap.fill(name, 14) for name in columns])
    ax.set_yticks(range(len(rows)), rows)
    ax.set_title(title, fontsize=10)
    ax.grid(visible=False)
    return _described(ax, f"{title}: {'; '.join(f'{a} with {b} {m}' for (a, b), m in cells.items())}.")


def _place_labels(ax: Axes, points: np.ndarray, names: Sequence[str], lines: np.ndarray) -> None:
    """Put each name near its point (N, 2), where it covers fewest of the lines (M, 2, 2) and of the names before."""
    ax.figure.draw_without_rendering()  # settles the layout, on which positions in pixels depend
    pixels = ax.transData.transform(lines.reshape(-1, 2)).reshape(-1, 2, 2)
    placed, drawn = [], [Bbox(line).padded(6) for line in pixels]
    sides = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)])
    halo = [patheffects.withStroke(linewidth=2, foreground="white")]  # readable on a line, too
    leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
    for name, point, centre in zip(names, points, ax.transData.transform(points)):
        label = ax.annotate(
            name,
            point,
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            arrowprops=leader,
            path_effects=halo,
            in_layout=False,
        )
        size = np.array(label.get_window_extent().size)
        offsets = [side * (size / 2 + gap) for gap in (9, 23, 42) for side in sides]
        places = [Bbox([centre + offset - size / 2, centre + offset + size / 2]) for offset in offsets]
        inside = [ax.bbox.contains(*place.min) and ax.bbox.contains(*place.max) for place in places]
        cover = [p.count_overlaps(drawn) + 9 * p.count_overlaps(placed) - 9 * i for p, i in zip(places, inside)]
        placed.append(places[np.argmin(cover)])
        label.set_position(offsets[np.argmin(cover)] * 72 / ax.figure.dpi)


@style.context(STYLE)
def waterfall(product: Product, gain: str = "better", ax: Axes | None = None) -> Figure:
    """The factors of a stack, each bar starting where the one before ends, up to the product that they predict.

    Beside it the measured whole with its interval, and what share of the product it is. `gain` completes
    "times …": smaller, faster. A factor below 1 is a hatched bar that leads down.
    """
    ax = ax or subplots()[1]
    last = len(product.factors)
    factors = list(product.factors.values())
    bars = {**product.factors, "predicted product": product.predicted, f"measured: {product.whole}": product.measured}
    running = np.cumprod([1, *(m.value for m in factors)])
    looks = [("white", "xx") if m.value < 1 else (SKY, "") for m in factors] + [("white", "//"), (GREEN, "")]
    for i, (start, m, (color, hatch)) in enumerate(zip([*running[:-1], 1, 1], bars.values(), looks)):
        ax.bar(i, start * (m.value - 1), 0.6, start, color=color, hatch=hatch, edgecolor="black")
        ax.errorbar(i, start * m.value, start * _errors(m), color="black", linewidth=1)
        top = (i, start * max(m.high, 1))
        ax.annotate(str(Measurement.exact(m.value, "×")), top, (0, 4), textcoords="offset points", ha="center")
    for i, end in enumerate(running[1:]):
        ax.plot([i, i + 1 if i < last - 1 else last + 1.5], [end, end], color=GREY, linewidth=0.8, zorder=0)
    whole, arrow = product.measured.value, {"arrowstyle": "<->", "color": "black", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (last + 1.4, whole), (last + 1.4, running[-1]), arrowprops=arrow)
    gap = f"the whole is {product.share.short}\nof the product\n{product.share.interval}".strip()
    ax.text(last + 1.55, (whole * running[-1]) ** 0.5, gap, va="center")
    narrow = 16 if len(bars) < 6 else 12  # letters, so that neighbours do not touch
    ax.set_xticks(range(len(bars)), [textwrap.fill(name, narrow) for name in bars])
    ax.set(xlim=(-0.5, last + 2.9), ymargin=0.12)
    ax.grid(axis="x", visible=False)
    _log_axis(ax.yaxis, f"times {gain} than {product.base}", "×")
    return _described(ax, f"Times {gain} than {product.base}: {'; '.join(f'{n} {m}' for n, m in bars.items())}.")


@style.context(STYLE)
def latencies(timings: Timings, names: Sequence[str] = (), baseline: str = "", ax: Axes | None = None) -> Figure:
    """Latency by function: every round a dot, from top to bottom, the quartiles a box, the median a line.

    Args:
        timings: of the functions.
        names: those to draw; none takes all.
        baseline: a name; the labels then give the speed-up over it, paired round by round.
        ax: where to draw.
    """
    ax = ax or subplots()[1]
    names = list(names or timings)
    labels = []
    for i, (name, (color, marker, _)) in enumerate(zip(names, cycle(LOOKS))):
        m, dots = timings.latency(name), 1e3 * timings[name]
        ax.plot(dots, i + np.linspace(-0.3, 0.3, len(dots)), marker, color=color, markersize=3.5, alpha=0.6)
        ax.barh(i, m.high - m.low, 0.7, m.low, color="none", edgecolor="black")
        ax.plot([m.value, m.value], [i - 0.35, i + 0.35], color="black", linewidth=2)
        speed = "baseline" if name == baseline else f"speed-up {timings.ratio(baseline, name)}" if baseline else ""
        labels.append(f"{name}\n{m}\n{speed}".strip())
    ax.set_yticks(range(len(names)), labels)
    ax.invert_yaxis()
    _log_axis(ax.xaxis, "latency", "ms")
    return _described(ax, f"Latency, median with quartiles: {'; '.join(labels)}.".replace("\n", ", "))


@style.context(STYLE)
def curves(series: Mapping[str, Mapping[float, Measurement]], x: str, y: str, ax: Axes | None = None) -> Figure:
    """A metric against something varied, a line with intervals for each name.

    Args:
        series: {name: {x: measurement}}.
        x: the horizontal axis with its unit, "sparsity (%)".
        y: the metric, whose unit the measurements know.
        ax: where to draw.

    Raises:
        ValueError: the measurements have several units.
    """
    unit, ax = _one_unit(m for points in series.values() for m in points.values()), ax or subplots()[1]
    for (name, points), (color, marker, line) in zip(series.items(), cycle(LOOKS)):
        values, errors = [m.value for m in points.values()], _errors(*points.values())
        ax.errorbar(list(points), values, errors, label=name, color=color, marker=marker, ms=5, linestyle=line)
    measured = sorted({position for points in series.values() for position in points})
    ax.set(xlabel=x, ylabel=_named(y, unit))
    if len(measured) <= 10:
        ax.set_xticks(measured, [f"{position:g}" for position in measured])
    ax.legend()
    ends = "; ".join(f"{name}, last {[*points.values()][-1]}" for name, points in series.items())
    return _described(ax, f"{y} against {x}: {ends}.")


@style.context(STYLE)
def intervals(
    series: Mapping[str, Mapping[str, Measurement]], metric: str, neutral: float = 0, ax: Axes | None = None
) -> Figure:
    """A metric of several things, a row each, first on top: a point with its interval for each series that has it.

    Args:
        series: {series: {thing: measurement}}.
        metric: name of the axis.
        neutral: where a thing makes no difference: a grey line.
        ax: where to draw.

    Raises:
        ValueError: the measurements have several units.
    """
    unit, ax = _one_unit(m for points in series.values() for m in points.values()), ax or subplots()[1]
    rows = list(dict.fromkeys(name for points in series.values() for name in points))
    for i, ((name, points), (color, marker, _)) in enumerate(zip(series.items(), cycle(LOOKS))):
        y = [rows.index(row) + 0.2 * (i - (len(series) - 1) / 2) for row in points]
        x, errors = [m.value for m in points.values()], _errors(*points.values())
        ax.errorbar(x, y, xerr=errors, label=name, color=color, marker=marker, ms=5, linestyle="")
    ax.axvline(neutral, color=GREY, linewidth=1, zorder=0)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel=_named(metric, unit), ylim=(len(rows) - 0.5, -0.5))
    if len(series) > 1:
        ax.legend()
    told = "; ".join(f"{name} {row} {m}".strip() for name, points in series.items() for row, m in points.items())
    return _described(ax, f"{metric}: {told}.")


@style.context(STYLE)
def roofline(ceilings: Ceilings, points: Mapping[str, tuple[float, Measurement]], ax: Axes | None = None) -> Figure:
    """FLOP per second against FLOP per byte: the two limits of a machine, and what was measured below them.

    Args:
        ceilings: the limits; the bands are their quartiles.
        points: {name: (FLOP/byte, GFLOP/s)}.
        ax: where to draw.

    Raises:
        ValueError: a point has another unit than the limit of arithmetic.
    """
    x, rates = [intensity for intensity, _ in points.values()], [m for _, m in points.values()]
    unit = _one_unit([ceilings.arithmetic, *rates])
    ridge = ceilings.ridge
    ax = ax or subplots()[1]
    y, corner = [m.value for m in rates], (ridge.value, ceilings.arithmetic.value)
    # Many short pieces: the ends of a band have corners elsewhere, and labels avoid each piece.
    slope = np.geomspace(min([ridge.value, *x]) / 2, ridge.value, 40)
    flat = np.geomspace(ridge.value, 2 * max([ridge.value, *x]), 40)
    limits = {f"memory: {ceilings.bandwidth}": slope, f"arithmetic: {ceilings.arithmetic}": flat}
    lines = [[(i, m.low), (i, m.high)] for i, m in zip(x, rates)]
    for (label, at), (color, _, line) in zip(limits.items(), LOOKS):
        low, height, high = np.transpose([(m.low, m.value, m.high) for m in map(ceilings.attainable, at)])
        ax.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        ax.plot(at, height, color=color, linestyle=line, label=label)
        lines += pairwise(zip(at, height))
    ax.errorbar(x, y, _errors(*rates), fmt="o", color="black", ecolor=GREY, markersize=5, elinewidth=1)
    _log_axis(ax.xaxis, "FLOP per byte", "FLOP/byte")
    _log_axis(ax.yaxis, "performance", unit)
    ax.vlines(ridge.value, ax.set_ylim(ax.get_ylim())[0], corner[1], GREY, ":", linewidth=1)
    ax.plot(*corner, "D", color=GREEN)
    ax.legend(loc="lower right")
    names = [*points, f"ridge: {ridge}"]
    _place_labels(ax, np.array([*zip(x, y), corner]), names, np.array(lines))
    told = [*limits, names[-1], *(f"{name} at {i:.3g} FLOP/byte: {m}" for name, (i, m) in points.items())]
    return _described(ax, f"Performance by FLOP per byte. {'; '.join(told)}.")


@style.context(STYLE)
def pictures(images: Mapping[str, Image], said: Mapping[str, Sequence[str]], columns: int = 2) -> Figure:
    """Images, each under its name and what every model says of it.

    Args:
        images: by name.
        said: name of an image → a line for each model.
        columns: images side by side.
    """
    rows = -(-len(images) // columns)
    chart, axes = subplots(rows, columns, squeeze=False)
    chart.set_size_inches(7.5, 3.3 * rows)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (name, image) in zip(axes.flat, images.items()):
        ax.imshow(image)
        ax.set_title("\n".join([name, *said[name]]), fontsize=9, loc="left")
    told = [f"{name}: {', '.join(said[name])}" for name in images]
    chart.alt = f"Pictures, and what is said of each: {'; '.join(told)}."
    return chart


@style.context(STYLE)
def training_losses(histories: Mapping[str, Sequence[Sequence[float]]], ax: Axes | None = None) -> Figure:
    """Training loss by step, a line with intervals over seeds for each name.

    Args:
        histories: {name: the losses of every step, in nats per token, for each seed}.
        ax: where to draw.
    """
    series = {
        name: {step: mean_with_interval(losses, "nats per token") for step, losses in enumerate(zip(*seeds), 1)}
        for name, seeds in histories.items()
    }
    return curves(series, "step", "training loss", ax)


@style.context(STYLE)
def front_of(
    stacks: Mapping[Sequence[str], Mapping[str, Measurement]],
    can: Iterable[Sequence[str]],
    chosen: Mapping[str, Sequence[str]],
    allowed: float,
    worst: float,
) -> Figure:
    """`front` of stacks by their measurements `file`, `lost` and `smaller`, with a dashed line at what may be lost.

    Args:
        stacks: all of them; those that lose more than `worst` are left out.
        can: those that can be chosen, and make the front.
        chosen: what each was chosen for, and the stack; a stack with several needs carries all their names.
        allowed: the loss at the line.
        worst: the largest loss that is shown.
    """
    shown, can = [stack for stack, m in stacks.items() if m["lost"].value < worst], set(can)
    names: dict[int, list[str]] = {}
    for need, stack in chosen.items():
        names.setdefault(shown.index(stack), []).append(need)
    points = [(stacks[stack]["file"], stacks[stack]["lost"]) for stack in shown]
    trusted = [i for i, stack in enumerate(shown) if stack in can]
    labels = {f"{', '.join(needs)}: {stacks[shown[i]]['smaller'].short}": i for i, needs in names.items()}
    ax = subplots()[1]
    ax.axhline(allowed, color=VERMILLION, linewidth=1, linestyle="--", zorder=0)
    right_end = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "top", "fontsize": 9}
    ax.text(1, allowed, "allowed", color=VERMILLION, **right_end)
    return front(points, trusted, labels, "file", "lost", ax)
