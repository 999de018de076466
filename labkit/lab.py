"""The beginning and the end that all labs share."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from labkit import runs, scale
from labkit.claims import load_claims
from labkit.environment import cores
from labkit.record import Guess, Record
from labkit.sources import Sources, read_bibliography
from labkit.table import Table

SEED = 0


class Start(NamedTuple):
    """What a lab works with."""

    record: Record
    settings: scale.Settings
    device: str  #: "cuda" where there is a GPU, else "cpu"
    files: Path  #: a folder for what the lab writes, removed when its kernel ends


_scratch: list[tempfile.TemporaryDirectory] = []  # kept alive as long as the kernel
_records: list[Record] = []


def start(name: str, device: str | None = None, **settings: tuple) -> Start:
    """Begin a lab: seed PyTorch, choose settings and device, and show what the lab needs.

    Args:
        name: the lab's folder, NN_name; its recorded runs are looked for in the working directory.
        device: "cpu" for a lab that uses no GPU; None takes one where there is one.
        settings: what depends on the scale, each a tuple in the order (quick, standard, full).

    Raises:
        ValueError: a setting has not one value for each scale.
    """
    import torch
    from IPython.display import display

    chosen = scale.settings(**settings)
    torch.manual_seed(SEED)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    record = Record(name, scale.current(), SEED, device, settings=chosen.as_dict())
    _scratch.append(tempfile.TemporaryDirectory(prefix=f"{name}-"))
    _records.append(record)
    print(f"scale {record.scale}, on {device}, {torch.get_num_threads()} CPU threads of {cores()}")
    display(chosen, runs.needs())
    return Start(record, chosen, device, Path(_scratch[-1].name))


def guess(name: str, question: str, unit: str, value: float | None) -> None:
    """Ask the reader what a finding will be, before it is measured: `Record.find` prints both side by side.

    Args:
        name: the key of the finding.
        question: what to guess.
        unit: of the finding, "×" or "points".
        value: the reader's number, written in place of None; None is no guess, and the lab runs all the same.

    Raises:
        RuntimeError: no lab was started.
        TypeError: the value is no number.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"a guess is a number, got {value!r}: write 4, not '4×'")
    _started().guesses[name] = Guess(question, unit, value)
    if value is None:
        print(f"{name}: no guess yet. Write your number, in {unit}, in place of None, and run this cell again.")


def finish(headline: str, *endings: str) -> Table:
    """End the lab that was started: save its record under this headline, and set it beside the recorded runs.

    Args:
        headline: the lab's result in a line, with {keys} of findings for its figures.
        endings: of the findings to show; all of them if there are none.

    Raises:
        RuntimeError: no lab was started.
        KeyError: the headline names a finding that is not there.
    """
    record = _started()
    record.headline = headline
    print(record.summary)
    runs.save(record)
    keys = [key for key in record.findings if key.endswith(endings or "")]
    return runs.beside(record, keys)


def sources(bibliography: str | Path = "../../book/references.bib") -> Sources:
    """What the lab that was started cites in its text and claims, from the book's bibliography.

    Raises:
        RuntimeError: no lab was started.
        KeyError: the bibliography lacks a key.
    """
    record = _started()
    text = Path(f"{record.lab[3:]}.py").read_text(encoding="utf-8")
    cited = {key.strip() for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in keys.split(",")}
    cited |= {claim.source for claim in load_claims("claims.toml")}
    entries = read_bibliography(bibliography)
    return Sources({key: entries[key] for key in sorted(cited)})


def _started() -> Record:
    if not _records:
        raise RuntimeError("no lab was started: run the cell with lab.start first")
    return _records[-1]
