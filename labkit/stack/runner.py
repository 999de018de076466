"""Run stacks of steps, and keep what was computed: stacks with a common prefix share it."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import nn

from labkit.measure import Measurement
from labkit.stack.rows import Rows, StackResult, over_seeds
from labkit.stack.steps import Facts, Step, admit


class Task(Protocol):
    """A model, what it is for, and how both are measured."""

    name: str  #: says what was measured on what; rows of tasks with one name can stand side by side
    facts: Facts  #: what is known about the model at the start

    def start(self) -> nn.Module:
        """A fresh copy of the model, as it was trained."""

    def measure(self, model: nn.Module, facts: Facts) -> dict[str, Measurement]:
        """What the model costs and is worth."""


class TimedTask(Task, Protocol):
    """A task that times each architecture once, and keeps it."""

    latencies: dict[str, Measurement]  #: by what tells architectures apart

    def latency(self, model: nn.Module) -> Measurement:
        """How many times the time of the model at the start this one takes."""


class Recorded:
    """A task of which there are only recorded rows; what they lack cannot be had from it.

    Raises:
        ValueError: the rows are not those of one task.
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
    """Runs stacks of a task. `rows` keeps what they came to, a cache in memory the models of the latest prefixes.

    `kept_models` bounds the cache. A step that is not random gives the same model for every seed, and is run once.
    """

    def __init__(self, task: Task, rows: Rows | None = None, kept_models: int = 6):
        self.task = task
        self.rows = rows or Rows()
        self.kept_models = kept_models
        self._models: OrderedDict[tuple, nn.Module] = OrderedDict()
        self.applied = 0  #: steps that were run, and not found

    def run(self, steps: Sequence[Step], seed: int = 0, every_step: bool = True) -> list[StackResult]:
        """Run one stack.

        Args:
            steps: in order.
            seed: of the steps that are random.
            every_step: whether the model is measured after every step, or after the last alone.

        Returns:
            A row for the model at the start and one after every step, or that of the last.

        Raises:
            Refused: a step cannot come where it was put.
        """
        known = [self.task.facts, *admit(steps, self.task.facts)]
        lengths = range(len(steps) + 1) if every_step else [len(steps)]
        return [self._row(tuple(steps[:n]), known[n], seed) for n in lengths]

    def run_all(self, stacks: Iterable[Sequence[Step]], seeds: Iterable[int] = (0,), every_step: bool = True) -> None:
        """Run many stacks with many seeds, those with a common prefix in turn.

        Raises:
            Refused: a step cannot come where it was put; nothing was run then.
        """
        seeds = list(seeds)
        wanted = [(tuple(steps), seed) for steps in stacks for seed in seeds]
        for steps, _ in wanted:
            admit(steps, self.task.facts)
        for steps, seed in sorted(wanted, key=lambda each: [str(key) for key in self._keys(*each)]):
            self.run(steps, seed, every_step)

    def averaged(self, steps: Sequence[Step], seeds: Iterable[int] = (0,)) -> dict[str, Measurement]:
        """What a stack came to, averaged over seeds; the interval holds the spread of the seeds and of each run."""
        runs = [self.run(steps, seed, every_step=False)[-1].measurements for seed in seeds]
        return over_seeds(runs) if any(each.random for each in steps) else runs[0]

    def _keys(self, steps: tuple[Step, ...], seed: int) -> list[tuple[tuple[str, ...], int | None]]:
        """For every prefix of the stack: its steps as text, and the seed if one of them is random."""
        keys: list[tuple[tuple[str, ...], int | None]] = [((), None)]
        text: list[str] = []
        is_random = False
        for each in steps:
            text.append(str(each))
            is_random = is_random or each.random
            keys.append((tuple(text), seed if is_random else None))
        return keys

    def _row(self, steps: tuple[Step, ...], facts: Facts, seed: int) -> StackResult:
        text, of_seed = self._keys(steps, seed)[-1]
        if row := self.rows.get(self.task.name, text, of_seed):
            return row
        model = self.model(steps, seed)
        return self.rows.put(StackResult(self.task.name, text, of_seed, self.task.measure(model, facts)))

    def model(self, steps: Sequence[Step], seed: int = 0) -> nn.Module:
        """The model after these steps, from the longest prefix that is still in memory. It is not to be changed."""
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
