"""What a run of a lab leaves in the folder build: its files, and its entry in runs.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from labkit import files


@dataclass(frozen=True)
class Results:
    """The files of one lab: the executed notebook, its page, and the record of its measurements."""

    notebook: Path
    page: Path
    record: Path

    @classmethod
    def of(cls, lab: str, build: Path) -> Results:
        """Where the lab NN_name leaves them, whether they are there or not."""
        return cls(
            build / "notebooks" / f"{lab}.ipynb", build / "html" / f"{lab}.html", build / "records" / f"{lab}.json"
        )

    def delete(self) -> None:
        for path in (self.notebook, self.page, self.record):
            path.unlink(missing_ok=True)


def load_states(build: Path) -> dict[str, dict]:
    """The entries of runs.json by lab; none where the file is missing or damaged."""
    try:
        entries = json.loads((build / "runs.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def save_state(build: Path, lab: str, entry: dict) -> None:
    """Write the lab's entry into runs.json; those of other labs stay."""
    entries = load_states(build) | {lab: entry}
    files.write(build / "runs.json", (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
