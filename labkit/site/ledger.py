"""The chapter that gathers the claims of all labs: its tables, made from the claims and the records of the labs.

They are MyST, as the chapter around them is, so that a source can be cited. Text from a claim or a record is escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from labkit.claims import FAILS, FAILS_BUT, HOLDS, MISSING, UNDECIDED, Claim, Ledger, load_claims, promised
from labkit.measure.measurement import CONFIDENCE, Measurement
from labkit.runs import RecordedRun, largest, load, recorded_runs
from labkit.table import Table

NONE = "—"
WHEN = f"{FAILS_BUT} …"
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # of ASCII: what a backslash makes plain text


@dataclass(frozen=True)
class Lab:
    """A lab's claims, this run of it, and the recorded ones; None for no run.

    `link` leads to the section of the lab that judges the claims; it is empty for a lab that the site leaves out.
    """

    name: str
    claims: list[Claim]
    this: RecordedRun | None
    runs: list[RecordedRun]
    link: str = ""

    @property
    def recorded(self) -> RecordedRun | None:
        """The recorded run at the largest scale; None for no runs."""
        return largest(self.runs)


def read_lab(folder: Path, records: Path, link: str = "") -> Lab:
    """The lab in labs/NN_name, with this run's record from records/NN_name.json where there is one."""
    record = records / f"{folder.name}.json"
    this = load(record) if record.is_file() else None
    return Lab(folder.name, load_claims(folder / "claims.toml"), this, list(recorded_runs(folder).values()), link)


def claims_table(labs: list[Lab]) -> str:
    """A row for each claim, in the order of the labs and of their claims.toml."""
    head = ["lab", "claim", "source", "promised", "measured", "verdict", "measured (recorded)", "verdict (recorded)"]
    rows = [
        [number(lab), escape(claim.claim), f"{{cite:t}}`{claim.source}`", escape(promised(claim.promises))]
        + [cell for record in (lab.this, lab.recorded) for cell in result(claim, record)]
        for lab in labs
        for claim in lab.claims
    ]
    return Table(head, rows).myst(":class: sortable", ":widths: 5 20 13 9 10 17 10 16")


def counts_table(labs: list[Lab]) -> str:
    """How often each verdict was given, in this run and in the recorded ones."""
    this = Counter(kind(verdict(claim, lab.this)) for lab in labs for claim in lab.claims)
    recorded = Counter(kind(verdict(claim, lab.recorded)) for lab in labs for claim in lab.claims)
    kinds = [name for name in (HOLDS, WHEN, FAILS, UNDECIDED, MISSING, NONE) if this[name] + recorded[name]]
    rows = [[name, str(this[name]), str(recorded[name])] for name in kinds]
    total = ["claims", str(this.total()), str(recorded.total())]
    return Table(["verdict", "this run", "recorded run"], [*rows, total]).myst(":class: w-auto", ":align: left")


def runs_table(labs: list[Lab]) -> str:
    """Two rows for each lab: this run and the recorded one, when and on what they ran."""
    head = ["lab", "run", "scale", "date", "device", "commit"]
    runs = [(lab, *run) for lab in labs for run in (("this", lab.this), ("recorded", lab.recorded))]
    rows = [[number(lab), name, *map(escape, origin(record))] for lab, name, record in runs]
    return Table(head, rows).myst(":class: runs", ":widths: 6 12 11 14 41 16")


def origin(run: RecordedRun | None) -> list[str]:
    """Scale, date, device and commit of a run; a dash for what it does not say."""
    if run is None:
        return [NONE] * 4
    return [run.scale, run.date or NONE, run.machine, run.environment["commit"] or NONE]


def chance_line(labs: list[Lab]) -> str:
    """How many verdicts of the recorded runs rest on intervals, and how many of these chance may have turned."""
    decided = sum(
        any(m.kind == CONFIDENCE for m in measured(claim, lab.recorded))
        for lab in labs
        for claim in lab.claims
        if lab.recorded and verdict(claim, lab.recorded) not in (UNDECIDED, MISSING)
    )
    return (
        f"{decided} verdicts of the recorded runs rest on intervals of 95 %. Such an interval misses the true value "
        f"once in twenty times: expect up to {max(1, round(decided / 20))} of them to be wrong by chance alone."
    )


def judged(claim: Claim, run: RecordedRun) -> dict:
    """The claim as it reads today, held against the run's findings."""
    return Ledger([claim], run.record).rows()[0]


def verdict(claim: Claim, run: RecordedRun | None) -> str:
    return judged(claim, run)["verdict"] if run else NONE


def measured(claim: Claim, run: RecordedRun) -> list[Measurement]:
    """The findings of the run that the claim is about."""
    return [run.record.findings[key] for key in claim.promises if key in run.record.findings]


def kind(judgement: str) -> str:
    """A verdict without its condition."""
    return WHEN if judgement.startswith(FAILS_BUT) else judgement


def result(claim: Claim, run: RecordedRun | None) -> tuple[str, str]:
    """Two cells, what was measured and the verdict.

    Interval, reason, condition and what was measured under the condition are small, each on a line of its own; a figure
    that the run read from a recorded one says so.
    """
    if run is None:
        return NONE, NONE
    row = judged(claim, run)
    figures = [
        escape(m.short) + small(m.interval) + small("recorded" if key in run.record.read else "")
        for key in claim.promises  # in the order of the bounds
        if (m := run.record.findings.get(key))
    ]
    plain, when, condition = row["verdict"].partition(FAILS_BUT)
    under = f"then: {row['under_condition']}" if condition else ""
    return (
        ("<br>".join(figures) or NONE) + small(under),
        escape(plain + when) + small(condition.strip() or row["reason"]),
    )


def small(text: str) -> str:
    return f"<br><small>{escape(text)}</small>" if text else ""


def number(lab: Lab) -> str:
    """The lab's number, linked where there is something to link to."""
    # HTML, because MyST knows a section by the number in its heading, which changes when a section is added before it.
    return f'<a href="{lab.link}">{lab.name[:2]}</a>' if lab.link else lab.name[:2]


def escape(text: str) -> str:
    """One line of MyST that shows the text as it is."""
    return PUNCTUATION.sub(r"\\\1", " ".join(text.split()))
