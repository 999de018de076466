"""Run stacks of steps, and keep what was computed: a stack that begins like another starts where they part."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from labkit import files
from labkit.measure import Measurement, averaged
from labkit.stack.steps import Facts, Step, admit


class Task(Protocol):
    """A model, what it is for, and how both are measured."""

    name: str  #: says what was measured on what; rows of tasks with one name can stand side by side
    facts: Facts  #: what is known about the model at the start

    def start(self) -> nn.Module:
        """A fresh copy of the model, as it was trained."""

    def measure(self, model: nn.Module, facts: Facts) -> dict[str, Measurement]:
        """What the model costs and is worth."""


@dataclass(frozen=True)
class Row:
    """What a stack of steps came to. The seed is None where no step is random."""

    task: str
    steps: tuple[str, ...]
    seed: int | None
    measurements: dict[str, Measurement]

    def as_json(self) -> str:
        """One line, numbers with six significant digits."""
        short = lambda m: [*(float(f"{v:.6g}") for v in (m.value, m.low, m.high)), m.unit, m.n]  # noqa: E731
        measured = {metric: short(m) for metric, m in self.measurements.items()}
        return json.dumps({"task": self.task, "steps": self.steps, "seed": self.seed, "measured": measured})

    @classmethod
    def from_json(cls, line: str) -> Row:
        """The row that `as_json` wrote."""
        data = json.loads(line)
        measured = {metric: Measurement(*values) for metric, values in data["measured"].items()}
        return cls(data["task"], tuple(data["steps"]), data["seed"], measured)


class Rows:
    """Rows by task, steps and seed; in a folder, where there is one, one small file each.

    A file is written whole or not at all, so that any number of processes may share the folder, and one that is
    stopped leaves what it had finished. `recorded` are files with a row a line, as `write` makes them; raises
    ValueError for a damaged line.
    """

    def __init__(self, folder: str | Path | None = None, recorded: Iterable[str | Path] = ()):
        self.folder = Path(folder) if folder else None
        self._rows: dict[tuple, Row] = {}
        for path in recorded:
            for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
                try:
                    self._keep(Row.from_json(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise ValueError(f"{path}, line {number} is not a row ({error}): fetch the file anew") from error

    def _keep(self, row: Row) -> Row:
        self._rows[row.task, row.steps, row.seed] = row
        return row

    def get(self, task: str, steps: tuple[str, ...], seed: int | None) -> Row | None:
        """The row of these steps with this seed, or None."""
        if (row := self._rows.get((task, steps, seed))) is None and self.folder:
            try:
                row = self._keep(Row.from_json(self._path(task, steps, seed).read_text(encoding="utf-8")))
            except FileNotFoundError:
                return None
        return row

    def put(self, row: Row) -> Row:
        """Keep the row, and give it as it will be found: with six significant digits."""
        line = row.as_json()
        if self.folder:
            files.write(self._path(row.task, row.steps, row.seed), line.encode())
        return self._keep(Row.from_json(line))

    def _path(self, *key: object) -> Path:
        return self.folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.json"

    def all(self) -> list[Row]:
        """Every row, also those that other processes put into the folder; in the order of their text."""
        for path in self.folder.glob("*.json") if self.folder else ():
            self._keep(Row.from_json(path.read_text(encoding="utf-8")))
        return sorted(self._rows.values(), key=Row.as_json)

    def averaged(self) -> dict[tuple[str, ...], dict[str, Measurement]]:
        """Every stack, averaged over the seeds with which it was run; a stack that is not random stays as it is.

        Raises ValueError for rows of several tasks.
        """
        rows = self.all()
        if len(tasks := {row.task for row in rows}) > 1:
            raise ValueError(f"rows of one task are needed, these are of {', '.join(sorted(tasks))}")
        runs: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            runs.setdefault(row.steps, []).append(row)
        return {steps: _averaged([row.measurements for row in found]) for steps, found in runs.items()}

    def write(self, path: str | Path) -> Path:
        """All rows in one file, a row a line."""
        files.write(Path(path), "".join(row.as_json() + "\n" for row in self.all()).encode())
        return Path(path)


def _averaged(runs: list[dict[str, Measurement]]) -> dict[str, Measurement]:
    return runs[0] if len(runs) == 1 else {metric: averaged([run[metric] for run in runs]) for metric in runs[0]}


class Recorded:
    """A task of which there are only recorded rows; what they lack cannot be had from it.

    Raises ValueError unless the rows are those of one task.
    """

    def __init__(self, rows: Rows, facts: Facts):
        names = {row.task for row in rows.all()}
        if len(names) != 1:
            raise ValueError(f"rows of one task are needed, these are of {', '.join(sorted(names)) or 'none'}")
        self.name, self.facts = names.pop(), facts

    def start(self) -> nn.Module:
        """Raises LookupError: the record has rows, and no model."""
        raise LookupError("this stack is not in the record; run it with a task that has the model")

    def measure(self, model: nn.Module, facts: Facts) -> dict[str, Measurement]:
        """Raises LookupError, as `start` does."""
        raise LookupError("a record measures nothing")


class Runner:
    """Runs stacks of a task. Rows are kept in `rows`, the models of the last beginnings in memory.

    `kept_models` bounds the latter. A step that is not random gives the same model for every seed, and is run once.
    """

    def __init__(self, task: Task, rows: Rows | None = None, kept_models: int = 6):
        self.task, self.rows, self.kept_models = task, rows or Rows(), kept_models
        self._models: OrderedDict[tuple, nn.Module] = OrderedDict()
        self.applied = 0  #: steps that were run, and not found

    def run(self, steps: Sequence[Step], seed: int = 0, every: bool = True) -> list[Row]:
        """A row for the model at the start and one after every step, or for the last alone; raises Refused."""
        known = [self.task.facts, *admit(steps, self.task.facts)]
        lengths = range(len(steps) + 1) if every else [len(steps)]
        return [self._row(tuple(steps[:n]), known[n], seed) for n in lengths]

    def run_all(self, stacks: Iterable[Sequence[Step]], seeds: Iterable[int] = (0,), every: bool = True) -> None:
        """Run many stacks with many seeds, those that begin alike in turn; raises Refused before any runs."""
        seeds = list(seeds)
        wanted = [(tuple(steps), seed) for steps in stacks for seed in seeds]
        for steps, _ in wanted:
            admit(steps, self.task.facts)
        for steps, seed in sorted(wanted, key=lambda each: [str(key) for key in self._keys(*each)]):
            self.run(steps, seed, every)

    def averaged(self, steps: Sequence[Step], seeds: Iterable[int] = (0,)) -> dict[str, Measurement]:
        """What a stack came to, averaged over seeds; the interval holds the spread of the seeds and of each run."""
        runs = [self.run(steps, seed, every=False)[-1].measurements for seed in seeds]
        return _averaged(runs if any(each.random for each in steps) else runs[:1])

    def _keys(self, steps: tuple[Step, ...], seed: int) -> list[tuple]:
        """For every beginning of the stack: its steps as text, and the seed if one of them is random."""
        keys, text, is_random = [((), None)], [], False
        for each in steps:
            text.append(str(each))
            is_random = is_random or each.random
            keys.append((tuple(text), seed if is_random else None))
        return keys

    def _row(self, steps: tuple[Step, ...], facts: Facts, seed: int) -> Row:
        text, of_seed = self._keys(steps, seed)[-1]
        if row := self.rows.get(self.task.name, text, of_seed):
            return row
        model = self.model(steps, seed)
        return self.rows.put(Row(self.task.name, text, of_seed, self.task.measure(model, facts)))

    def model(self, steps: Sequence[Step], seed: int = 0) -> nn.Module:
        """The model after these steps, from the longest beginning that is still in memory. It is not to be changed."""
        admit(steps, self.task.facts)
        steps = tuple(steps)
        keys = self._keys(steps, seed)
        done = max((n for n, key in enumerate(keys) if key in self._models), default=-1)
        model = self._keep(keys[0], self.task.start()) if done < 0 else self._keep(keys[done], self._models[keys[done]])
        for n in range(max(done, 0), len(steps)):
            # Every step has its own stream of random numbers, the same wherever it stands in the stack.
            own = f"{steps[n]} {seed if steps[n].random else None}"
            own_seed = int(hashlib.sha256(own.encode()).hexdigest()[:8], 16)
            model = copy.deepcopy(model)
            with torch.random.fork_rng():
                torch.manual_seed(own_seed)
                model = steps[n].apply(model, self.task, own_seed)
            self.applied += 1
            self._keep(keys[n + 1], model)
        return model

    def _keep(self, key: tuple, model: nn.Module) -> nn.Module:
        self._models[key] = model
        self._models.move_to_end(key)
        while len(self._models) > self.kept_models:
            self._models.popitem(last=False)
        return model
