"""Draw the picture of the first page and the README: do effects multiply? From the recorded runs of the labs.

python -m labkit.site.picture
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import style

from labkit import plot
from labkit.measure import Measurement
from labkit.runs import largest, recorded_runs
from labkit.site import source_tree
from labkit.site.source_tree import BOOK, LABS


def shares() -> dict[str, Measurement]:
    """Measured whole over predicted product of each product that a lab has kept, the largest share first.

    They come from each lab's recorded run at the largest scale.
    """
    found = {}
    for lab in sorted(LABS.glob("[0-9][0-9]_*")):
        if run := largest(recorded_runs(lab).values()):
            for kept in run.record.products:
                found[f"{kept.title} ({kept.cost}, Lab {lab.name[:2]})"] = kept.product.share
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def draw(found: dict[str, Measurement]) -> plot.Chart:
    """A point with its interval for each stack, beside the line on which effects multiply."""
    chart, ax = plot.subplots()
    chart.set_size_inches(9, 5)
    with style.context(plot.STYLE):
        for y, m in enumerate(found.values()):
            if m.low <= 1 <= m.high:
                colour, marker = plot.GREY, "D"  # it cannot be told on which side
            else:
                colour, marker = (plot.BLUE, "o") if m.value > 1 else (plot.VERMILLION, "s")
            ax.plot([1, m.value], [y, y], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
            ax.errorbar(m.value, y, xerr=[[m.value - m.low], [m.high - m.value]], fmt=marker, color=colour)
            side, room = ("left", 8) if m.value >= 1 else ("right", -8)
            end = m.high if m.value >= 1 else m.low
            ax.annotate(f"{m.value:.0%}", (end, y), (room, 0), textcoords="offset points", ha=side, va="center")
        ax.axvline(1, color="black", linewidth=1)
        ax.set_yticks(range(len(found)), found)
        ax.set(xlim=(0, 1.75), xlabel="measured whole, as a share of the product of its parts")
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        ax.yaxis.set_inverted(True)
        ax.grid(axis="y", visible=False)
        ax.text(1, 1.01, "effects multiply", ha="center", va="bottom", transform=ax.get_xaxis_transform())
    return chart


def write(path: Path, chart: plot.Chart) -> None:
    """Write an SVG whose bytes depend on nothing but the chart."""
    chart.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    source_tree.require()
    write(BOOK / "multiply.svg", draw(shares()))
