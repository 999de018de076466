"""The ledger: what is promised, against what was measured. Verdicts are computed, never typed in."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from labkit.measure.measurement import Measurement
from labkit.record import Record, Table

HOLDS, FAILS, UNDECIDED, MISSING = "holds", "fails", "undecided", "not measured at this scale"


@dataclass(frozen=True)
class Bound:
    """A promise about a number: ">= 4", "<= 0.5" or "0.9 .. 1.1"."""

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Bound:
        """Raises ValueError for text that is none of the three forms, or a range from high to low."""
        number = r"(-?\d+(?:\.\d+)?)"
        if match := re.fullmatch(rf">=\s*{number}", text):
            return cls(float(match[1]), float("inf"))
        if match := re.fullmatch(rf"<=\s*{number}", text):
            return cls(float("-inf"), float(match[1]))
        if match := re.fullmatch(rf"{number}\s*\.\.\s*{number}", text):
            bound = cls(float(match[1]), float(match[2]))
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
    """One metric of a record (a key of its findings) and what is promised of it."""

    metric: str
    promise: str

    def judge(self, findings: dict[str, Measurement]) -> str:
        """Whether the finding keeps the promise, in the words of `Bound.judge`."""
        return Bound.parse(self.promise).judge(findings.get(self.metric))


@dataclass(frozen=True)
class Claim:
    """A claim in our own words, its source (a key into the bibliography), and how it is checked.

    `condition` and `otherwise` belong together: where the claim itself fails, a second metric
    says whether it holds under the condition.
    """

    id: str
    claim: str
    source: str
    check: Check
    condition: str = ""
    otherwise: Check | None = None

    def verdict(self, findings: dict[str, Measurement]) -> str:
        """ "holds", "fails", "undecided", "not measured at this scale", or "holds only if …" with the condition."""
        plain = self.check.judge(findings)
        if plain == FAILS and self.otherwise and self.otherwise.judge(findings) == HOLDS:
            return f"holds only if {self.condition}"
        return plain


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
                "promise": c.check.promise,
                "measured": str(self.findings.get(c.check.metric, "")),
                "condition": c.condition,
                "under_condition": str(self.findings.get(c.otherwise.metric, "")) if c.otherwise else "",
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

    Raises ValueError that names file and claim for a missing or unknown field, a bound that cannot be
    read, a condition without its check, or an id that occurs twice, and for anything but [[claim]] tables.
    """
    claims: list[Claim] = []
    data = tomllib.loads(Path(path).read_text())
    if data.keys() != {"claim"} or not isinstance(data["claim"], list):
        raise ValueError(f"{path}: a ledger is made of [[claim]] tables alone, got {', '.join(data) or 'none'}")
    for entry in data["claim"]:
        where = f"{path}, claim {entry.get('id', len(claims) + 1)!r}"
        try:
            only_if = entry.pop("only_if", None)
            claim = Claim(
                entry.pop("id"),
                entry.pop("claim"),
                entry.pop("source"),
                Check(entry.pop("metric"), entry.pop("promise")),
            )
            if only_if is not None:
                otherwise = Check(only_if.pop("metric"), only_if.pop("promise", claim.check.promise))
                claim = Claim(claim.id, claim.claim, claim.source, claim.check, only_if.pop("condition"), otherwise)
        except KeyError as error:
            raise ValueError(f"{where}: the field {error} is missing") from error
        if entry or only_if:
            raise ValueError(f"{where}: unknown fields {', '.join([*entry, *(only_if or {})])}")
        for check in filter(None, (claim.check, claim.otherwise)):
            try:
                Bound.parse(str(check.promise))
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
        record = json.loads(path.read_text())
        print(f"{record['lab']} ({record['scale']})")
        for row in record["verdicts"]:
            print(f"  {row['claim']}\n    {row['verdict']}")
    return 0
