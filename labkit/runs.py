"""Runs of labs as files: what was found, where it ran, and what it took.

The only module that knows the JSON of a run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit import files
from labkit.environment import environment
from labkit.measure.measurement import QUARTILES, RANGE, Measurement, averaged, mean_with_interval
from labkit.record import Record
from labkit.scale import SCALES
from labkit.table import Table

RECORDED = "recorded"  # the folder of a lab's recorded runs
MEASUREMENT = Measurement.exact(0, "").as_dict().keys()
REHEARSAL = "t4_rehearsal.json"  # beside the run on a GPU, and no record


@dataclass(frozen=True)
class RecordedRun:
    """One run of a lab, as its file says it.

    Args:
        record: what was found.
        environment: what `labkit.environment.environment` said where it ran.
        command: what makes it again.
        seconds: from a clean kernel to the last cell; None where `labkit run` did not measure it, as the next two.
        peak_bytes: most memory that the kernel and its children held.
        date: in ISO form.
    """

    record: Record
    environment: dict[str, Any]
    command: str
    seconds: float | None = None
    peak_bytes: int | None = None
    date: str | None = None

    @property
    def scale(self) -> str:
        return self.record.scale

    @property
    def machine(self) -> str:
        """The CPU or, for a run on one, the GPU; the cores; and Colab, if it was there."""
        on_gpu = self.environment["device"].startswith("cuda")
        machine = f"{self.environment['gpu' if on_gpu else 'processor']}, {self.environment['cores']} cores"
        return f"{machine}, Colab" if self.environment.get("colab") else machine

    @property
    def time(self) -> str:
        """What it took, in minutes; "" where that was not measured."""
        return "" if self.seconds is None else f"{self.seconds / 60:.1f} min"

    @property
    def memory(self) -> str:
        """What it took at its peak, in gigabytes; "" where that was not measured."""
        return "" if self.peak_bytes is None else f"{self.peak_bytes / 1e9:.1f} GB"

    def write(self, path: str | Path) -> Path:
        """Write the run as JSON, whole or not at all, and return where."""
        files.write(Path(path), (json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n").encode())
        return Path(path)

    def as_dict(self) -> dict[str, Any]:
        """What `write` writes."""
        return {
            **self.record.as_dict(),
            "command": self.command,
            "environment": self.environment,
            "run": {"seconds": self.seconds, "peak_bytes": self.peak_bytes, "date": self.date},
        }

    def took(self, seconds: float, peak_bytes: int, date: str) -> RecordedRun:
        """The same run with what it took."""
        return replace(self, seconds=seconds, peak_bytes=peak_bytes, date=date)


def load(path: str | Path) -> RecordedRun:
    """The run that a file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not the JSON of a run.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        record, took = Record.from_dict(data), data["run"]
        return RecordedRun(
            record, data["environment"], data["command"], took["seconds"], took["peak_bytes"], took["date"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not the record of a run ({error!r}): fetch it anew, or run the lab") from error


def save(record: Record, path: str | Path | None = None, command: str | None = None) -> Path:
    """Write a record with the command that makes it again and this environment.

    Args:
        record: what was found.
        path: None is `$LABKIT_RECORDS/<lab>.json`, or `records/<lab>.json` in the working directory.
        command: None is that of `labkit run`.

    Returns:
        The path of the file.
    """
    path = path or Path(os.environ.get("LABKIT_RECORDS") or "records") / f"{record.lab}.json"
    command = command or f"labkit run {record.lab} --scale {record.scale}"
    return RecordedRun(record, environment(record.device), command).write(path)


def across_processes(found: Sequence[RecordedRun]) -> RecordedRun:
    """One run from those of several processes on one machine: each process counts once.

    A figure that all share stays as it is. A latency has the interval of Student's t over processes; any other figure
    that differs has that and its own, as `labkit.measure.averaged` joins them, and a range stays a range. The verdicts
    are those of the first: judge the claims anew.

    Args:
        found: the same lab, at the same scale.

    Raises:
        ValueError: the processes did not measure the same things.
    """
    first, *rest = found
    if not rest:
        return first
    record = Record.from_dict(_joined([run.record.as_dict() for run in found], "record"))
    peak = max((run.peak_bytes for run in found if run.peak_bytes is not None), default=None)
    seconds = [run.seconds for run in found if run.seconds is not None]
    return replace(
        first,
        record=record,
        command=f"{first.command} --keep",
        seconds=round(sum(seconds) / len(seconds), 1) if seconds else None,
        peak_bytes=peak,
    )


def _joined(parts: list[Any], where: str) -> Any:
    """What several records have at one place: their own if they agree, and measurements joined."""
    first = parts[0]
    if all(isinstance(part, dict) and part.keys() == MEASUREMENT for part in parts):
        return _of_processes([Measurement(**part) for part in parts]).as_dict()
    if where.endswith("verdicts") or all(part == first for part in parts):
        return first
    if all(isinstance(part, dict) and part.keys() == first.keys() for part in parts):
        return {key: _joined([part[key] for part in parts], f"{where}, {key}") for key in first}
    if all(isinstance(part, list) and len(part) == len(first) for part in parts):
        return [_joined(list(each), f"{where}, {number}") for number, each in enumerate(zip(*parts))]
    raise ValueError(f"the processes differ in {where}: {' and '.join(map(str, parts))}"[:500])


def _of_processes(measured: list[Measurement]) -> Measurement:
    if all(m == measured[0] for m in measured):
        return measured[0]
    values, first = [m.value for m in measured], measured[0]
    if all(m.kind == RANGE for m in measured):  # what decides nothing, such as one training, decides nothing thrice
        low, high = min(m.low for m in measured), max(m.high for m in measured)
        return replace(first, value=sum(values) / len(values), low=low, high=high)
    if all(m.kind == QUARTILES for m in measured):
        return mean_with_interval(values, first.unit, "processes")
    return averaged(measured, "processes")


def recorded_runs(lab: str | Path = ".") -> dict[str, RecordedRun]:
    """The recorded runs in a lab's folder by file name without its ending, from the smallest scale to the largest."""
    runs = {path.stem: load(path) for path in Path(lab, RECORDED).glob("*.json")}
    return dict(sorted(runs.items(), key=lambda item: SCALES.index(item[1].scale)))


def gpu_run(lab: str | Path = ".", name: str = "*") -> RecordedRun:
    """A run on a GPU that ships with a lab, from its folder recorded/gpu.

    Args:
        lab: its folder.
        name: of the file, without its ending, where there are several.

    Raises:
        FileNotFoundError: there is no such run.
    """
    folder = Path(lab, RECORDED, "gpu")
    found = [path for path in sorted(folder.glob(f"{name}.json")) if path.name != REHEARSAL]
    if not found:
        raise FileNotFoundError(f"{folder} has no run called {name}")
    return load(found[0])


def t4_rehearsal(lab: str | Path = ".") -> dict[str, Any] | None:
    """What tests/rehearsals/t4.py found of a lab at scale full; None where it was not rehearsed."""
    try:
        return json.loads(Path(lab, RECORDED, "gpu", REHEARSAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def t4_estimate(lab: str | Path = ".") -> str:
    """Between how many minutes the lab at scale full is estimated to take on a T4; "—" where it was not rehearsed."""
    rehearsed = t4_rehearsal(lab)
    if rehearsed is None or rehearsed["state"] != "done" or rehearsed["t4_seconds"] is None:
        return "—"
    return " to ".join(dict.fromkeys(f"{seconds / 60:.0f}" for seconds in rehearsed["t4_seconds"])) + " min"


def largest(runs: Iterable[RecordedRun]) -> RecordedRun | None:
    """The run at the largest scale; None for no runs."""
    return max(runs, key=lambda run: SCALES.index(run.scale), default=None)


def needs(lab: str | Path = ".") -> Table:
    """Time and memory of a lab's recorded runs, and the machine that they ran on."""
    rows = []
    for run in recorded_runs(lab).values():
        machine = run.environment
        peak = Measurement.exact(run.peak_bytes or 0, "bytes")
        rows.append(
            [run.scale, run.time, str(peak), f"{machine['cores']} cores, {machine['gpu'] or machine['processor']}"]
        )
    return Table(["scale", "time", "peak memory", "recorded on"], rows)


def beside(record: Record, keys: Sequence[str], lab: str | Path = ".") -> Table:
    """Findings of this run beside those of the recorded runs."""
    runs = recorded_runs(lab)
    columns = [record.findings, *(run.record.findings for run in runs.values())]
    rows = [[key.replace("_", " "), *(str(column.get(key, "")) for column in columns)] for key in keys]
    return Table(["finding", f"this run ({record.scale})", *runs], rows)
