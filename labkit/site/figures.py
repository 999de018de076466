"""Figures in the pages' text: each comes from a lab's recorded run, and none is typed in."""

from __future__ import annotations

import re
from pathlib import Path

from labkit import runs
from labkit.measure import Measurement
from labkit.runs import RecordedRun
from labkit.site.ledger import Lab, escape
from labkit.site.source_tree import LABS
from labkit.table import Table

PLACEHOLDER = re.compile(r"\{\{ (\d\d) ([^{}]+?) \}\}")
LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)?labs/(\w+)\.ipynb[^)]*\)")


class UnknownFigure(LookupError):
    """A page asks for a figure that no recorded run has."""


def fill(text: str, labs: list[Lab]) -> str:
    """The text with figures in place of its placeholders, from each lab's recorded run at the largest scale.

    `{{ 05 key }}` is a finding of Lab 05, `{{ 05 row : metric }}` a measurement of a row. Links to labs that the site
    leaves out become plain text. Raises UnknownFigure.
    """
    by_number = {lab.name[:2]: lab for lab in labs}
    text = PLACEHOLDER.sub(lambda found: escape(str(figure(by_number.get(found[1]), found[2]))), text)
    shown = {lab.name for lab in labs if lab.link}
    return LINK.sub(lambda link: link[0] if link[2] in shown else link[1], text)


def figure(lab: Lab | None, key: str) -> Measurement:
    """A finding, or a row's measurement, of the lab's recorded run."""
    if lab is None or lab.recorded is None:
        raise UnknownFigure(f"there is no recorded run of the lab to take {key!r} from")
    record = lab.recorded.record
    row, colon, metric = key.partition(" : ")
    found = record.findings
    if colon:
        row, found = metric, record.rows[row].measurements if row in record.rows else {}
    if row not in found:
        raise UnknownFigure(
            f"the recorded run of {lab.name} has no {key!r}; it has {', '.join(found) or 'no such row'}"
        )
    return found[row]


def labs_table(labs: list[Lab]) -> str:
    """Question, time and memory of each lab that the site shows."""
    rows = []
    for lab in labs:
        if lab.link:
            title, question = heading(LABS / lab.name / f"{lab.name[3:]}.py")
            rows.append([f"[{title}](labs/{lab.name}.ipynb)", question, usual(lab.runs).time, usual(lab.runs).memory])
    return Table(["lab", "question", "time", "memory"], rows).myst(":widths: 26 46 13 15")


def exercises_table(labs: list[Lab]) -> str:
    """What the assignment of each lab asks for, as its assignment.py says."""
    head = ["lab", "exercise", "difficulty", "minutes", "points"]
    rows = [[lab.name[:2], *row] for lab in labs for row in exercises(LABS / lab.name / "assignment.py")]
    if not rows:  # as where a teacher has removed them
        return "The exercises are handed out by the teacher of this course."
    return Table(head, rows).myst(":widths: 8 50 16 13 13")


def exercises(script: Path) -> list[list[str]]:
    """Title, difficulty, minutes and points of each exercise of an assignment; none where there is no assignment."""
    text = script.read_text(encoding="utf-8") if script.is_file() else ""
    return [
        list(found)
        for found in re.findall(r"^# ## \d+ · (.+)\n#\n# \*(\w+), (\d+) minutes, (\d+) points\*", text, re.MULTILINE)
    ]


def heading(script: Path) -> tuple[str, str]:
    """Title and question of a lab: the first heading of its source, and the first line in bold."""
    text = script.read_text(encoding="utf-8")
    return re.search(r"^# # (.+)$", text, re.MULTILINE)[1], re.search(r"^# \*\*(.+)\*\*$", text, re.MULTILINE)[1]


def usual(runs: list[RecordedRun]) -> RecordedRun:
    """The run at the scale that a reader without a GPU gets, else the smallest."""
    return next((run for run in runs if run.scale == "standard"), runs[0])


def timings_table(labs: list[Lab]) -> str:
    """Time and peak memory of each lab: its recorded runs, then this one."""
    head = ["lab", "run", "scale", "time", "peak memory", "device"]
    rows = [
        [f"[{lab.name[:2]}](labs/{lab.name}.ipynb)" if lab.link else lab.name[:2], name, *needs(run)]
        for lab in labs
        for name, run in [*(("recorded", run) for run in lab.runs), ("this", lab.this)]
        if run and run.time
    ]
    return Table(head, rows).myst(":class: runs", ":widths: 6 12 12 12 14 44")


def t4_table(labs: list[Lab]) -> str:
    """What each lab took in the rehearsal of a T4, and what a T4 is estimated to take."""
    head = ["lab", "ran on", "time there", "GPU memory", "memory", "too large for a T4", "a T4 (estimated)"]
    rows = []
    for lab in labs:
        if found := runs.t4_rehearsal(LABS / lab.name):
            too_large = dict.fromkeys(cell["part"] for cell in found["cells"] if cell["too_large"])
            rows.append(
                [
                    lab.name[:2],
                    escape(found["environment"]["gpu"] or "two cores alone"),
                    f"{found['seconds'] / 60:.1f} min",
                    f"{found['gpu_reserved'] / 1e9:.1f} GB",
                    f"{found['ram_bytes'] / 1e9:.1f} GB",
                    "; ".join(map(escape, too_large)) or "nothing",
                    runs.t4_estimate(LABS / lab.name),
                ]
            )
    return Table(head, rows).myst(":class: runs", ":widths: 6 22 12 12 12 22 14")


def needs(run: RecordedRun) -> list[str]:
    """Scale, time, peak memory and device of a run, as text."""
    return [run.scale, run.time, run.memory, escape(run.machine)]
