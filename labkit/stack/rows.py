"""What stacks came to: rows by task, steps and seed, in memory and in small files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import files
from labkit.measure import Measurement, averaged


@dataclass(frozen=True)
class StackResult:
    """What a stack of steps came to. The seed is None where no step is random."""

    task: str
    steps: tuple[str, ...]
    seed: int | None
    measurements: dict[str, Measurement]

    def as_json(self) -> str:
        """One line, numbers with six significant digits."""
        measured = {metric: _short(m) for metric, m in self.measurements.items()}
        return json.dumps({"task": self.task, "steps": self.steps, "seed": self.seed, "measured": measured})

    @classmethod
    def from_json(cls, line: str) -> StackResult:
        """The row that `as_json` wrote."""
        data = json.loads(line)
        measured = {metric: Measurement(*values) for metric, values in data["measured"].items()}
        return cls(data["task"], tuple(data["steps"]), data["seed"], measured)


class Rows:
    """Rows by task, steps and seed; in a folder, where there is one, one small file each.

    A file is written whole or not at all, so that any number of processes may share the folder, and one that is stopped
    leaves what it had finished. `recorded` are files with one row per line, as `write` makes them.

    Raises:
        ValueError: a line is damaged.
    """

    def __init__(self, folder: str | Path | None = None, recorded: Iterable[str | Path] = ()):
        self.folder = Path(folder) if folder else None
        self._rows: dict[tuple, StackResult] = {}
        for path in recorded:
            for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
                try:
                    self._keep(StackResult.from_json(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ValueError(f"{path}, line {number} is not a row ({error}): fetch the file anew") from error

    def _keep(self, row: StackResult) -> StackResult:
        self._rows[row.task, row.steps, row.seed] = row
        return row

    def get(self, task: str, steps: tuple[str, ...], seed: int | None) -> StackResult | None:
        """The row of these steps with this seed, or None."""
        if (row := self._rows.get((task, steps, seed))) is None and self.folder:
            try:
                row = self._keep(
                    StackResult.from_json(self._path(self.folder, task, steps, seed).read_text(encoding="utf-8"))
                )
            except FileNotFoundError:
                return None
        return row

    def put(self, row: StackResult) -> StackResult:
        """Keep the row, and give it as it will be found: with six significant digits."""
        line = row.as_json()
        if self.folder:
            files.write(self._path(self.folder, row.task, row.steps, row.seed), line.encode())
        return self._keep(StackResult.from_json(line))

    def _path(self, folder: Path, *key: object) -> Path:
        return folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.json"

    def all(self) -> list[StackResult]:
        """Every row, also those that other processes put into the folder; in the order of their text."""
        for path in self.folder.glob("*.json") if self.folder else ():
            self._keep(StackResult.from_json(path.read_text(encoding="utf-8")))
        return sorted(self._rows.values(), key=StackResult.as_json)

    def averaged(
        self, seeds: Container[int] | None = None, at_least: int = 1
    ) -> dict[tuple[str, ...], dict[str, Measurement]]:
        """Every stack, averaged over the seeds with which it was run; a stack that is not random stays as it is.

        Args:
            seeds: those that count; None for all.
            at_least: stacks with fewer of them are left out.

        Raises:
            ValueError: the rows are of several tasks.
        """
        rows = self.all()
        if len(tasks := {row.task for row in rows}) > 1:
            raise ValueError(f"rows of one task are needed, these are of {', '.join(sorted(tasks))}")
        runs: dict[tuple[str, ...], list[StackResult]] = {}
        for row in rows:
            if row.seed is None or seeds is None or row.seed in seeds:
                runs.setdefault(row.steps, []).append(row)
        return {
            steps: found[0].measurements if found[0].seed is None else over_seeds([row.measurements for row in found])
            for steps, found in runs.items()
            if len(found) >= at_least or found[0].seed is None
        }

    def write(self, path: str | Path) -> Path:
        """All rows in one file, one row per line."""
        files.write(Path(path), "".join(row.as_json() + "\n" for row in self.all()).encode())
        return Path(path)


def _short(m: Measurement) -> list[float | str | int]:
    return [*(float(f"{v:.6g}") for v in (m.value, m.low, m.high)), m.unit, m.n, m.kind, m.method]


def over_seeds(runs: Sequence[dict[str, Measurement]]) -> dict[str, Measurement]:
    """The mean of each metric over runs with different seeds; of a single one, no interval decides anything."""
    return {metric: averaged([run[metric] for run in runs]) for metric in runs[0]}
