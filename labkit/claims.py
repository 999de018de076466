"""The ledger: what is promised, against what was measured. Verdicts are computed, never typed in."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from labkit import runs
from labkit.measure.measurement import Measurement
from labkit.record import Record
from labkit.table import Table

HOLDS, FAILS, UNDECIDED, MISSING = "holds", "fails", "undecided", "not measured at this scale"
FAILS_BUT = "fails; holds when"  # and the condition


@dataclass(frozen=True)
class Bound:
    """A promise about a number: ">= 4", "<= 0.5" or "0.9 .. 1.1"."""

    low: float
    high: float
    text: str = ""  #: as it was written

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Bound:
        """Read a promise.

        Args:
            text: ">= 4", "<= 0.5" or "0.9 .. 1.1".

        Raises:
            ValueError: the text has none of the three forms, or is a range from high to low.

        >>> Bound.parse("0.9 .. 1.1").judge(Measurement.exact(1.05, "×"))
        'holds'
        """
        number = r"(-?\d+(?:\.\d+)?)"
        if match := re.fullmatch(rf">=\s*{number}", text):
            return cls(float(match[1]), float("inf"), text)
        if match := re.fullmatch(rf"<=\s*{number}", text):
            return cls(float("-inf"), float(match[1]), text)
        if match := re.fullmatch(rf"{number}\s*\.\.\s*{number}", text):
            bound = cls(float(match[1]), float(match[2]), text)
            if bound.low <= bound.high:
                return bound
        raise ValueError(f"a promise reads '>= 4', '<= 0.5' or '0.9 .. 1.1', not {text!r}")

    def judge(self, measured: Measurement | None) -> str:
        """The promise holds when the whole interval keeps it, fails when the whole interval breaks it.

        Only what is exact and an interval of 95 % confidence decide.
        """
        if measured is None:
            return MISSING
        if not measured.decides:
            return UNDECIDED
        if self.low <= measured.low and measured.high <= self.high:
            return HOLDS
        if measured.high < self.low or measured.low > self.high:
            return FAILS
        return UNDECIDED


def judge_all(promises: Mapping[str, Bound], findings: Mapping[str, Measurement]) -> str:
    """The verdict on promises that belong together: one that fails breaks them, and all have to hold."""
    verdicts = [bound.judge(findings.get(key)) for key, bound in promises.items()]
    return next((verdict for verdict in (MISSING, FAILS, UNDECIDED) if verdict in verdicts), HOLDS)


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, who makes it, and how it is checked.

    Args:
        id: a name that no other claim of the lab has.
        claim: the claim.
        source: who makes it, a key into the bibliography.
        makes_claim: where the source does so, as it was read: abstract, table, text, code.
        promises: key of a finding → its bound. A cost and a quality that belong together are judged together.
        condition: under which it holds where the claim itself fails; "" for none.
        otherwise: what is promised under the condition.
    """

    id: str
    claim: str
    source: str
    makes_claim: str
    promises: Mapping[str, Bound]
    condition: str = ""
    otherwise: Mapping[str, Bound] = field(default_factory=dict)

    FIELDS: ClassVar = {"id", "claim", "source", "makes_claim", "promises"}  #: of an entry, beside `holds_when`
    CONDITION: ClassVar = {"condition", "promises"}  #: of `holds_when`
    PLACES: ClassVar = ("abstract", "table", "text", "code")  #: with which `makes_claim` begins

    @classmethod
    def from_toml(cls, entry: Mapping[str, Any]) -> Claim:
        """The claim of a [[claim]] table.

        Raises:
            ValueError: a field is missing or unknown, a bound cannot be read, nothing is promised, or the source was
                not read or does not make the claim.
        """
        _same_fields(entry.keys() - {"holds_when"}, cls.FIELDS)
        if not str(entry["makes_claim"]).startswith(cls.PLACES):
            raise ValueError(
                f"makes_claim says where {entry['source']} makes the claim, and begins with {', '.join(cls.PLACES)}; "
                f"got {entry['makes_claim']!r}: cite who makes it"
            )
        when = entry.get("holds_when")
        if when is not None:
            _same_fields(when.keys(), cls.CONDITION)
        return cls(
            entry["id"],
            entry["claim"],
            entry["source"],
            entry["makes_claim"],
            _promises(entry["promises"]),
            when["condition"] if when else "",
            _promises(when["promises"]) if when else {},
        )

    def verdict(self, findings: Mapping[str, Measurement]) -> str:
        """ "holds", "fails", "undecided", "not measured at this scale", or "fails; holds when …" with the condition."""
        plain = judge_all(self.promises, findings)
        if plain == FAILS and self.otherwise and judge_all(self.otherwise, findings) == HOLDS:
            return f"{FAILS_BUT} {self.condition}"
        return plain

    def reason(self, findings: Mapping[str, Measurement]) -> str:
        """Why the verdict is *undecided*; "" for another one."""
        if self.verdict(findings) != UNDECIDED:
            return ""
        open_ = [findings[key] for key, bound in self.promises.items() if bound.judge(findings[key]) == UNDECIDED]
        weak = next((m for m in open_ if not m.decides), None)
        if weak:
            return f"{weak.kind} of {weak.n}" + (f", {weak.method}" if weak.method else "") + ": no 95 % confidence"
        return "the bound lies inside the interval"


def _promises(entry: object) -> dict[str, Bound]:
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f"promises are a table of findings and bounds, got {entry!r}")
    return {finding: Bound.parse(str(bound)) for finding, bound in entry.items()}


def _same_fields(given: Set[str], known: Set[str]) -> None:
    if missing := known - given:
        raise ValueError(f"the field {', '.join(map(repr, sorted(missing)))} is missing")
    if unknown := given - known:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class Ledger:
    """The verdicts on a lab's claims; a notebook shows them as a table.

    A rehearsal at scale quick measures too little for a verdict: every claim is "not measured at this scale".
    """

    claims: list[Claim]
    record: Record

    def rows(self) -> list[dict]:
        """One dictionary a claim, ready for JSON, as text.

        It has id, claim, source, promise, measured, condition, what was measured under it, verdict and reason.
        """
        findings = {} if self.record.scale == "quick" else self.record.findings
        return [
            {
                "id": c.id,
                "claim": c.claim,
                "source": c.source,
                "promise": promised(c.promises),
                "measured": self._measured(c.promises),
                "condition": c.condition,
                "under_condition": self._measured(c.otherwise),
                "verdict": c.verdict(findings),
                "reason": c.reason(findings),
            }
            for c in self.claims
        ]

    def _measured(self, promises: Mapping[str, Bound]) -> str:
        """Each finding, and from which recorded run it was read, if it was."""
        found = [(key, self.record.findings[key]) for key in promises if key in self.record.findings]
        return "; ".join(
            f"{m} (recorded: {self.record.read[key]})" if key in self.record.read else str(m) for key, m in found
        )

    def _repr_html_(self) -> str:
        head = ["claim", "verdict", "promised", "measured", "under a condition"]
        rows = [
            [
                row["claim"],
                row["verdict"] + (f" ({row['reason']})" if row["reason"] else ""),
                row["promise"],
                row["measured"],
                f"If {row['condition']}: {row['under_condition']}" if row["under_condition"] else "",
            ]
            for row in self.rows()
        ]
        return Table(head, rows)._repr_html_()

    def __str__(self) -> str:
        return "\n".join(
            f"{r['verdict']}{f' ({reason})' if (reason := r['reason']) else ''}: {r['claim']} "
            f"Promised {r['promise']}, measured {r['measured'] or 'nothing'}"
            + (f"; if {r['condition']}: {r['under_condition']}" if r["under_condition"] else "")
            for r in self.rows()
        )


def promised(promises: Mapping[str, Bound]) -> str:
    """The bounds as a page shows them, "≥ 40 and ≤ 0.3"."""
    return " and ".join(str(bound).replace(">=", "≥").replace("<=", "≤") for bound in promises.values())


def load_claims(path: str | Path) -> list[Claim]:
    """Read a lab's claims.toml.

    Raises:
        ValueError: the file is no TOML; as `Claim.from_toml`; an id occurs twice; or there is anything but [[claim]]
            tables. It names file and claim.
    """
    claims: list[Claim] = []
    try:
        # Editors on Windows may put a byte order mark in front, which TOML does not know.
        data = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of TOML or UTF-8
        raise ValueError(f"{path} is not TOML in UTF-8: {error}") from error
    if data.keys() != {"claim"} or not isinstance(data["claim"], list):
        raise ValueError(f"{path}: a ledger is made of [[claim]] tables alone, got {', '.join(data) or 'none'}")
    for entry in data["claim"]:
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: a ledger is made of [[claim]] tables alone, got {entry!r}")
        where = f"{path}, claim {entry.get('id', len(claims) + 1)!r}"
        try:
            claim = Claim.from_toml(entry)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if claim.id in {c.id for c in claims}:
            raise ValueError(f"{where}: this id occurs twice")
        claims.append(claim)
    return claims


def judge(path: str | Path, record: Record) -> Ledger:
    """Hold the claims of a claims.toml against a record, and keep the verdicts in it."""
    ledger = Ledger(load_claims(path), record)
    record.verdicts = ledger.rows()
    return ledger


def main(build: Path) -> int:
    """Print the verdicts of every lab that has been run: the command `labkit claims`."""
    records = sorted(Path(build, "records").glob("*.json"))
    if not records:
        print(f"no records in {Path(build, 'records')}: run the labs first, with labkit run", file=sys.stderr)
        return 1
    for path in records:
        record = runs.load(path).record
        print(f"{record.lab} ({record.scale})")
        for row in record.verdicts:
            print(f"  {row['claim']}\n    {row['verdict']}")
    return 0
