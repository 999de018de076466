"""The ledger: what is promised, against what was measured. Verdicts are computed, never typed in."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from labkit import runs
from labkit.measure.measurement import Measurement
from labkit.record import Record
from labkit.table import Table

HOLDS, FAILS, UNDECIDED, MISSING = "holds", "fails", "undecided", "not measured at this scale"


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

        >>> Bound.parse("0.9 .. 1.1").judge(Measurement(1.05, 1.0, 1.2, "×", 5))
        'undecided'
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
        """The promise holds when the whole interval keeps it, fails when the whole interval breaks it."""
        if measured is None:
            return MISSING
        if self.low <= measured.low and measured.high <= self.high:
            return HOLDS
        if measured.high < self.low or measured.low > self.high:
            return FAILS
        return UNDECIDED


@dataclass(frozen=True)
class Check:
    """One finding of a record, by its key, and what is promised of it."""

    finding: str
    bound: Bound

    def judge(self, findings: Mapping[str, Measurement]) -> str:
        """Whether the finding keeps the promise, in the words of `Bound.judge`."""
        return self.bound.judge(findings.get(self.finding))


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, its source (a key into the bibliography), and how it is checked.

    `condition` and `otherwise` belong together: where the claim itself fails, a second finding
    says whether it holds under the condition.
    """

    id: str
    claim: str
    source: str
    check: Check
    condition: str = ""
    otherwise: Check | None = None

    FIELDS: ClassVar = {"id", "claim", "source", "finding", "promise"}  #: of an entry, beside `only_if`
    CONDITION: ClassVar = {"condition", "finding", "promise"}  #: of `only_if`; without a promise it is the claim's

    @classmethod
    def from_toml(cls, entry: Mapping[str, Any]) -> Claim:
        """The claim of a [[claim]] table.

        Raises:
            ValueError: a field is missing or unknown, or a bound cannot be read.
        """
        only_if = entry.get("only_if", {"condition": "", "finding": "", "promise": entry.get("promise")})
        only_if = {"promise": entry.get("promise"), **only_if}
        _same_fields(entry.keys() - {"only_if"}, cls.FIELDS)
        _same_fields(only_if.keys(), cls.CONDITION)
        check = Check(entry["finding"], Bound.parse(str(entry["promise"])))
        otherwise = Check(only_if["finding"], Bound.parse(str(only_if["promise"]))) if "only_if" in entry else None
        return cls(entry["id"], entry["claim"], entry["source"], check, only_if["condition"], otherwise)

    def verdict(self, findings: Mapping[str, Measurement]) -> str:
        """ "holds", "fails", "undecided", "not measured at this scale", or "holds only if …" with the condition."""
        plain = self.check.judge(findings)
        if plain == FAILS and self.otherwise and self.otherwise.judge(findings) == HOLDS:
            return f"holds only if {self.condition}"
        return plain


def _same_fields(given: Set[str], known: Set[str]) -> None:
    if missing := known - given:
        raise ValueError(f"the field {', '.join(map(repr, sorted(missing)))} is missing")
    if unknown := given - known:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class Ledger:
    """The verdicts on a lab's claims; a notebook shows them as a table."""

    claims: list[Claim]
    findings: dict[str, Measurement]

    def rows(self) -> list[dict]:
        """One dictionary a claim, ready for JSON: id, claim, promise, measured and verdict as text."""
        return [
            {
                "id": c.id,
                "claim": c.claim,
                "source": c.source,
                "promise": str(c.check.bound),
                "measured": str(self.findings.get(c.check.finding, "")),
                "condition": c.condition,
                "under_condition": str(self.findings.get(c.otherwise.finding, "")) if c.otherwise else "",
                "verdict": c.verdict(self.findings),
            }
            for c in self.claims
        ]

    def _repr_html_(self) -> str:
        head = ["claim", "verdict", "promised", "measured", "under the condition"]
        keys = ("claim", "verdict", "promise", "measured", "under_condition")
        rows = [[row[key].replace(">=", "≥").replace("<=", "≤") for key in keys] for row in self.rows()]
        return Table(head, rows)._repr_html_()

    def __str__(self) -> str:
        return "\n".join(
            f"{r['verdict']}: {r['claim']} Promised {r['promise']}, measured {r['measured'] or 'nothing'}"
            + (f", under the condition {r['under_condition']}" if r["under_condition"] else "")
            for r in self.rows()
        )


def load_claims(path: str | Path) -> list[Claim]:
    """Read a lab's claims.toml.

    Raises:
        ValueError: a field is missing or unknown, a bound cannot be read, a condition has no check, an id occurs twice,
            or there is anything but [[claim]] tables; it names file and claim.
    """
    claims: list[Claim] = []
    data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    if data.keys() != {"claim"} or not isinstance(data["claim"], list):
        raise ValueError(f"{path}: a ledger is made of [[claim]] tables alone, got {', '.join(data) or 'none'}")
    for entry in data["claim"]:
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
    ledger = Ledger(load_claims(path), record.findings)
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
