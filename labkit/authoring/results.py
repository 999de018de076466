"""What a run of a lab leaves in the folder build: its files, and its entry in runs.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from labkit import files


@dataclass(frozen=True)
class Results:
    """The files of one lab: the executed notebook, and the record of its measurements."""

    notebook: Path
    record: Path

    @classmethod
    def of(cls, lab: str, build: Path) -> Results:
        """Where the lab NN_name leaves them, whether they are there or not."""
        return cls(build / "notebooks" / f"{lab}.ipynb", build / "records" / f"{lab}.json")

    def are_there(self) -> bool:
        return all(path.is_file() for path in (self.notebook, self.record))

    def delete(self) -> None:
        for path in (self.notebook, self.record):
            path.unlink(missing_ok=True)


@contextmanager
def held(build: Path) -> Iterator[None]:
    """Keep the folder for one run, and take away what a run that was killed left half done.

    Raises:
        filelock.Timeout: another run has it.
        OSError: it cannot be written.
    """
    build.mkdir(parents=True, exist_ok=True)
    with FileLock(build / ".lock", timeout=0):
        for part in [*build.glob("*.part"), *build.glob("records/*.part"), *build.glob("notebooks/*.part")]:
            part.unlink(missing_ok=True)
        for lab, entry in load_states(build).items():
            if isinstance(entry, dict) and entry.get("state") == "running":
                save_state(build, lab, entry | {"state": "interrupted"})
        yield


def load_states(build: Path) -> dict[str, dict]:
    """The entries of runs.json by lab; none where the file is missing or damaged."""
    try:
        entries = json.loads((build / "runs.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def save_state(build: Path, lab: str, entry: dict) -> None:
    """Write the lab's entry into runs.json; those of other labs stay."""
    entries = load_states(build) | {lab: entry}
    files.write(build / "runs.json", (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())


def done_before(build: Path, lab: str, fingerprint: str) -> dict | None:
    """The entry of a run that this one would only repeat.

    It was done with the same fingerprint, and what it left is there. None for no such run.
    """
    match load_states(build).get(lab):
        case {"state": "done", "fingerprint": same, "seconds": _, "peak_bytes": _, "headline": _} as entry if (
            same == fingerprint
        ):
            return entry if Results.of(lab, build).are_there() else None
    return None
