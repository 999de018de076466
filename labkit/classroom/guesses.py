"""What a class guessed before it measured, from the records that students hand in beside their notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

BINS = 8
LARGEST = 1e300  # a wider range has no width that is a number


@dataclass
class Guessed:
    """The guesses of one finding by a class, and what their own runs measured."""

    question: str
    unit: str
    values: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)

    @property
    def distribution(self) -> list[tuple[str, int]]:
        """How many guesses lie in each of eight ranges of equal width; the range of the measured median is marked."""
        found = median(self.measured)
        low, high = min(*self.values, found), max(*self.values, found)
        width = (high - low) / BINS or 1.0

        def bin_of(value: float) -> int:
            return min(BINS - 1, int((value - low) / width))

        counts = [sum(bin_of(value) == i for value in self.values) for i in range(BINS)]
        ranges = [f"{low + i * width:.3g} – {low + (i + 1) * width:.3g}" for i in range(BINS)]
        return [(text + " ← measured" * (i == bin_of(found)), n) for i, (text, n) in enumerate(zip(ranges, counts))]


def collect(paths: Iterable[Path], read: Callable[[Path], bytes]) -> tuple[dict[str, dict[str, Guessed]], list[str]]:
    """The guesses of a class and the files that are no record of a lab, each with the reason.

    Args:
        paths: of files that may be records.
        read: gives the bytes of one; raises ValueError, with the reason, for what is not to be opened.

    Returns:
        {lab: {finding: its guesses}} of findings that somebody guessed, and a line for each file that was left out.
    """
    found: dict[str, dict[str, Guessed]] = {}
    left_out = []
    for path in paths:
        try:
            lab, guesses = _of_record(read(path))
        except ValueError as error:
            left_out.append(f"{path.name}: {error}")
            continue
        for key, (question, unit, value, measured) in guesses.items():
            guessed = found.setdefault(lab, {}).setdefault(key, Guessed(question, unit))
            guessed.values.append(value)
            guessed.measured.append(measured)
    return found, left_out


def _of_record(data: bytes) -> tuple[str, dict[str, tuple[str, str, float, float]]]:
    """The lab, and {finding: (question, unit, guess, measured)}. Raises ValueError for what is no record."""
    try:
        record = json.loads(data)
        guesses = {
            str(key): (str(guess["question"]), str(guess["unit"]), guess["value"], record["findings"][key]["value"])
            for key, guess in record["guesses"].items()
            if guess["value"] is not None and key in record["findings"]
        }
        lab = str(record["lab"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no record of a lab that can be read: hand in records/NN_name.json as it was saved") from error
    for key, (_, _, *numbers) in guesses.items():
        if not all(type(n) in (int, float) and abs(n) < LARGEST for n in numbers):  # NaN is not
            raise ValueError(f"the guess of {key}, or what was measured, is no number")
    return lab, guesses
