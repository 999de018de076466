"""A lab's results: rows of measurements, findings, and the environment they come from."""

from __future__ import annotations

import html
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from labkit import files
from labkit.measure.measurement import Measurement, ratio

PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "torch-pruning",
    "transformers",
    "peft",
    "bitsandbytes",
    "diffusers",
    "tomesd",
    "timm",
    "numpy",
)


@dataclass
class Row:
    """One configuration: its name, the techniques applied in order, and what was measured."""

    name: str
    techniques: tuple[str, ...]
    measurements: dict[str, Measurement]


@dataclass(frozen=True)
class Stack:
    """What independent effects would multiply to, and what the whole measured."""

    base: str
    whole: str
    factors: dict[str, Measurement]  #: name of a part → how many times smaller or faster it is alone
    measured: Measurement

    @property
    def predicted(self) -> Measurement:
        """Product of the factors; its interval is the widest that theirs allow."""
        parts = self.factors.values()
        return Measurement(
            math.prod(p.value for p in parts),
            math.prod(p.low for p in parts),
            math.prod(p.high for p in parts),
            "×",
            min(p.n for p in parts),
        )

    @property
    def share(self) -> Measurement:
        """Measured whole over predicted product; 1 when the effects multiply, below 1 when they overlap."""
        return ratio(self.measured, self.predicted)


@dataclass
class Record:
    """The results of one run of a lab.

    `add` makes a row, or adds measurements to it; `find` keeps a single figure that a claim refers to; `save` writes
    JSON. In a notebook a record displays its rows as a table. What it has kept are `rows` by name, `findings` by key
    and `verdicts`, one dictionary a claim.
    """

    lab: str
    scale: str
    seed: int
    device: str = "cpu"
    headline: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    findings: dict[str, Measurement] = field(default_factory=dict)
    verdicts: list[dict] = field(default_factory=list)

    def add(self, name: str, techniques: tuple[str, ...] = (), **measurements: Measurement) -> Row:
        """Add a row, or measurements to the row of that name (running a cell again replaces them).

        Raises TypeError for a bare number: a result without its interval and unit is not a result.
        """
        for metric, value in measurements.items():
            _check(metric, value)
        row = self.rows.setdefault(name, Row(name, tuple(techniques), {}))
        row.techniques = tuple(techniques) or row.techniques
        row.measurements.update(measurements)
        return row

    def find(self, key: str, measurement: Measurement) -> Measurement:
        """Keep a figure under a key, for the claims, and return it."""
        _check(key, measurement)
        self.findings[key] = measurement
        return measurement

    def get(self, name: str, metric: str) -> Measurement:
        """One measurement. Raises KeyError that names what is there."""
        if name not in self.rows:
            raise KeyError(f"no row {name!r}; there are {', '.join(self.rows) or 'none'}")
        measurements = self.rows[name].measurements
        if metric not in measurements:
            raise KeyError(f"row {name!r} has no {metric!r}; it has {', '.join(measurements)}")
        return measurements[metric]

    def ratio(self, metric: str, of: str, to: str) -> Measurement:
        """How many times row `to` is smaller or faster than row `of` in one metric."""
        return ratio(self.get(of, metric), self.get(to, metric))

    def stack(self, metric: str, base: str, parts: list[str], whole: str) -> Stack:
        """Set the product that the parts, each alone, would predict against the measured whole."""
        factors = {part: self.ratio(metric, base, part) for part in parts}
        return Stack(base, whole, factors, self.ratio(metric, base, whole))

    def as_dict(self) -> dict:
        """What `save` writes: the record, the command that makes it again, and the environment."""
        return {
            "lab": self.lab,
            "scale": self.scale,
            "seed": self.seed,
            "headline": self.headline,
            "command": f"labkit run {self.lab} --scale {self.scale}",
            "environment": environment(self.device),
            "rows": [
                {
                    "name": r.name,
                    "techniques": list(r.techniques),
                    "measurements": {k: m.as_dict() for k, m in r.measurements.items()},
                }
                for r in self.rows.values()
            ],
            "findings": {key: m.as_dict() for key, m in self.findings.items()},
            "verdicts": self.verdicts,
        }

    def save(self, path: str | Path | None = None) -> Path:
        """Write the record as JSON, whole or not at all, and return where.

        Without a path: `$LABKIT_RECORDS/<lab>.json`, or `records/<lab>.json` in the working directory.
        """
        path = Path(path or Path(os.environ.get("LABKIT_RECORDS") or "records") / f"{self.lab}.json")
        files.write(path, (json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n").encode())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read a record that `save` wrote; the environment it came from stays in the file."""
        data = json.loads(Path(path).read_text())
        rows = {
            row["name"]: Row(row["name"], tuple(row["techniques"]), _measurements(row["measurements"]))
            for row in data["rows"]
        }
        return cls(
            data["lab"],
            data["scale"],
            data["seed"],
            data["environment"]["device"],
            data["headline"],
            rows,
            _measurements(data["findings"]),
            data["verdicts"],
        )

    def table(self, *metrics: str) -> Table:
        """Rows down, metrics across: all of them, or those that are named, for the rows that have them."""
        rows = [r for r in self.rows.values() if set(metrics) <= r.measurements.keys()]
        metrics = metrics or tuple(dict.fromkeys(m for row in rows for m in row.measurements))
        cells = [[row.name, *(str(row.measurements.get(m, "")) for m in metrics)] for row in rows]
        return Table(["", *(m.replace("_", " ") for m in metrics)], cells)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@dataclass(frozen=True)
class Table:
    """Text in rows and columns, for a terminal and for a notebook."""

    head: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows)]
        return "\n".join(
            "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths)))
            for line in [self.head, *self.rows]
        )

    def _repr_html_(self) -> str:
        """Text is escaped; the interval of a measurement is set small."""

        def cell(tag: str, text: str) -> str:
            wrap = "nowrap" if len(text) <= 40 and text[:1].isdigit() else "normal"  # a value keeps its unit
            text = html.escape(text)
            if text.endswith("]") and " [" in text:
                value, interval = text.rsplit(" [", 1)
                text = f"{value}<br><small>{interval[:-1].replace(', ', ' – ')}</small>"
            return f"<{tag} style='text-align: left; padding-right: 1.2em; white-space: {wrap}'>{text}</{tag}>"

        body = "".join("<tr>" + "".join(cell("td", c) for c in row) + "</tr>" for row in self.rows)
        head = "".join(cell("th", h) for h in self.head)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def recorded_runs(folder: str | Path) -> dict[str, dict]:
    """The recorded runs of a lab, as their JSON says, by file name without its ending; the shortest run first."""
    runs = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
    return dict(sorted(runs.items(), key=lambda item: item[1]["run"]["seconds"]))


def needs(folder: str | Path) -> Table:
    """Time and memory of a lab's recorded runs, and the machine that they ran on."""
    rows = []
    for run in recorded_runs(folder).values():
        machine = run["environment"]
        device = machine["gpu"] or machine["processor"]
        peak = Measurement.exact(run["run"]["peak_bytes"], "bytes")
        rows.append(
            [run["scale"], f"{run['run']['seconds'] / 60:.1f} min", str(peak), f"{machine['cores']} cores, {device}"]
        )
    return Table(["scale", "time", "peak memory", "recorded on"], rows)


def beside(record: Record, folder: str | Path, keys: list[str]) -> Table:
    """Findings of this run beside those of the recorded runs."""
    runs = recorded_runs(folder)
    columns = [record.findings, *(_measurements(run["findings"]) for run in runs.values())]
    rows = [[key.replace("_", " "), *(str(column.get(key, "")) for column in columns)] for key in keys]
    return Table(["finding", f"this run ({record.scale})", *runs], rows)


def _check(name: str, value: object) -> None:
    if not isinstance(value, Measurement):
        raise TypeError(f"{name} is {value!r}; results are Measurements, with interval, unit and n")


def _measurements(data: dict) -> dict[str, Measurement]:
    return {key: Measurement(**value) for key, value in data.items()}


def environment(device: str = "cpu") -> dict:
    """What a number depends on besides the code: versions, processor, device and commit."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str | None:
    """Commit of the source tree, with "+" when files were changed since; None outside a repository."""
    here = Path(__file__).parent
    try:
        git = lambda *args: subprocess.run(  # noqa: E731
            ["git", *args], cwd=here, check=True, capture_output=True, text=True
        ).stdout.strip()
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
