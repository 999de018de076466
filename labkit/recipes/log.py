"""The log of a training run: one row of CSV for each line that is printed."""

import csv
from collections.abc import Iterable
from pathlib import Path


def write_rows(file: Path, rows: Iterable[dict]) -> None:
    """Write the whole log, under the names of the first row."""
    rows = list(rows)
    with open(file, "w", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
