"""Text in rows and columns: for a terminal, for a notebook, and for a page of the book."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

INTERVAL = re.compile(r" (\[[^\[\]]+, [^\[\]]+\]|\([^()]+ – [^()]+\))$")  # of a measurement, at the end of its text


@dataclass(frozen=True)
class Table:
    """Cells of text under a head; `bold` are columns that stand out where there is bold type.

    >>> print(Table(["file", "MB"], [["FP32", "8"], ["INT8", "2"]]))
    file  MB
    FP32   8
    INT8   2
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: Collection[int] = ()

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows)]
        return "\n".join(
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
            for line in [self.head, *self.rows]
        )

    def _repr_html_(self) -> str:
        """Text is escaped; the interval of a measurement is set small."""
        head = _html_row(self.head, "th", self.bold)
        body = "".join(_html_row(row, "td", self.bold) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"

    def myst(self, *options: str) -> str:
        """The table as MyST, in which each cell is one line of MyST already; `options` are those of list-table."""
        lines = [
            f"{'  -' if column else '* -'} {cell}" for row in [self.head, *self.rows] for column, cell in enumerate(row)
        ]
        return "\n".join(["```{list-table}", ":header-rows: 1", *options, "", *lines, "```"])


def _html_row(cells: Sequence[str], tag: str, bold: Collection[int]) -> str:
    return "<tr>" + "".join(_html_cell(tag, text, i in bold) for i, text in enumerate(cells)) + "</tr>"


def _html_cell(tag: str, text: str, bold: bool) -> str:
    wrap = "nowrap" if len(text) <= 40 and text[:1].isdigit() else "normal"  # a value keeps its unit
    text = html.escape(text)
    text = INTERVAL.sub(r"<br><small>\1</small>", text)
    if bold:
        text = f"<b>{text}</b>"
    return f"<{tag} style='text-align: left; padding-right: 1.2em; white-space: {wrap}'>{text}</{tag}>"
