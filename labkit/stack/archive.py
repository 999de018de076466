"""What a study has recorded: its rows and where they come from, beside the same stacks on this machine."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.estimate.product import Product
from labkit.measure import Measurement, difference, ratio
from labkit.stack.effects import ablate, smallest
from labkit.stack.rows import Rows
from labkit.stack.runner import Recorded, Runner
from labkit.stack.steps import Facts, Refused, Step, orders
from labkit.table import Table

Stack = tuple[str, ...]  # its steps as text
Measured = dict[str, Measurement]
# How far apart the same stack may come out on two machines, without training and with it: the share of its file, and
# its loss by unit. Another processor adds in another order, and training carries that on.
FILE = (1e-5, 0.02)
LOST = {"points": (0.05, 0.5), "nats": (0.002, 0.02)}


def recorded(folder: str | Path, task: str, facts: Facts) -> Runner:
    """A runner that knows what TASK.jsonl in this folder has, and runs nothing.

    Args:
        folder: of the records.
        task: "images" or "text".
        facts: what is known about the model at the start.
    """
    rows = Rows(recorded=[Path(folder, f"{task}.jsonl")])
    return Runner(Recorded(rows, facts), rows)


def latencies(folder: str | Path, task: str) -> Measured:
    """By architecture, the times that were measured for the record: a task that has them times nothing."""
    about = json.loads(Path(folder, f"{task}_about.json").read_text(encoding="utf-8"))
    return {key: Measurement(**measured) for key, measured in about["latency"].items()}


def origin(folder: str | Path, runners: Mapping[str, Runner]) -> Table:
    """How many stacks each task has a record of, what searched for them, and on which machine."""
    lines = []
    for task, runner in runners.items():
        about = json.loads(Path(folder, f"{task}_about.json").read_text(encoding="utf-8"))
        trials = about["search"].get("samplers", {}).items()
        counts = f"{len(runner.rows.all())} runs of {len(runner.rows.averaged())} stacks"
        machine = about["environment"]["gpu"] or about["environment"]["processor"]
        searched = ", ".join(f"{count} by {sampler}" for sampler, count in trials) or "none"
        lines.append([task, runner.task.name, counts, searched, machine])
    return Table(["", "model and data", "recorded", "trials of a search", "on"], lines)


@dataclass(frozen=True)
class Repeat:
    """A stack that was recorded and run again."""

    steps: Stack
    new: Measured
    old: Measured
    same_data: bool  #: whether both losses are those of the same test data
    trained: bool

    @property
    def equal(self) -> bool:
        """Whether the file, and on the same test data the loss, differ by no more than two machines may."""
        apart = abs(self.new["file"].value / self.old["file"].value - 1)
        allowed = LOST[self.new["lost"].unit][self.trained]
        lost = abs(self.new["lost"].value - self.old["lost"].value)
        return apart <= FILE[self.trained] and (lost <= allowed or not self.same_data)

    @property
    def cells(self) -> list[str]:
        """The stack, its loss and file here and as recorded, and whether they are equal."""
        both = [m[metric].short for metric in ("lost", "file") for m in (self.new, self.old)]
        return [" → ".join(self.steps), *both, "yes" if self.equal else "no"]


def repeat(here: Runner, record: Runner, steps: Sequence[Step], seed: int = 0) -> Repeat:
    """Run a recorded stack again, and set both results side by side."""
    new, old = (runner.run(steps, seed, every_step=False)[-1].measurements for runner in (here, record))
    text = tuple(map(str, steps))
    return Repeat(text, new, old, here.task.name == record.task.name, any(step.random for step in steps))


def every_order(runner: Runner, steps: Sequence[Step], seeds: Sequence[int]) -> dict[Stack, Measured]:
    """Names of the steps in order → what that order came to, averaged over the seeds, for every order admitted."""
    return {named(order): runner.averaged(order, seeds) for order in orders(steps, runner.task.facts)}


def gain(found: Mapping[Stack, Measured], steps: Sequence[Step], metric: str = "lost") -> Measurement:
    """What the best of the other orders loses more than this one, with the interval of the best of so many."""
    this = found[named(steps)][metric]
    return smallest([difference(m[metric], this) for order, m in found.items() if order != named(steps)])


def every_pair(
    runner: Runner, first: Iterable[Step], second: Iterable[Step], seeds: Sequence[int]
) -> dict[Stack, Measured | str]:
    """Names of two steps in order → what they came to, or why they are refused; what was not recorded is left out."""
    found: dict[Stack, Measured | str] = {}
    for pair in ((a, b) for a in first for b in second if a != b):
        try:
            found[named(pair)] = runner.averaged(pair, seeds)
        except Refused as error:
            found[named(pair)] = error.short
        except LookupError:
            continue
    return found


def ablation(runner: Runner, whole: Sequence[Step], seeds: Sequence[int]) -> Table:
    """What each step of the whole does alone, and what it adds to the others, in file and loss."""
    head = ["step", "smaller, alone", "in the whole", "lost, alone", "in the whole"]
    effects = ablate(runner, whole, seeds)
    parts = [(str(e.step), e.alone_smaller, e.smaller, e.alone_lost, e.lost) for e in effects]
    return Table(head, [[str(cell or "refused") for cell in row] for row in parts])


def product(runner: Runner, whole: Sequence[Step], seeds: Sequence[int]) -> Product:
    """What the steps would make of the file if their factors multiplied, beside what the whole makes of it."""
    start, together, *alone = (
        runner.averaged(steps, seeds)["file"] for steps in ((), whole, *((step,) for step in whole))
    )
    return Product.of_costs("the start", start, dict(zip(named(whole), alone)), "together", together)


def named(steps: Iterable[Step | str]) -> Stack:
    """The names of steps without their parameters."""
    return tuple(str(step).partition("(")[0] for step in steps)


def candidates(
    runner: Runner, seeds: Collection[int], reference: Measurement | None = None, at_least: int = 3
) -> tuple[dict[Stack, Measured], dict[Stack, Measured]]:
    """What can be chosen, and everything that was run: each with `smaller`, and `lost` against a reference.

    What can be chosen was run with enough of the seeds, or has no random step. `smaller` is the file of the model at
    the start over that of the stack.

    Args:
        runner: has the rows.
        seeds: those that count for what can be chosen.
        reference: the loss that losses are held against; None is the model at the start.
        at_least: how many of the seeds.
    """
    start = runner.rows.averaged()[()]

    def seen(measured: Measured) -> Measured:
        lost = difference(measured["lost"], reference) if reference else measured["lost"]
        return {**measured, "smaller": ratio(start["file"], measured["file"]), "lost": lost}

    can = {steps: seen(measured) for steps, measured in runner.rows.averaged(seeds, at_least).items()}
    once = {steps: seen(measured) for steps, measured in runner.rows.averaged().items()}
    return can, once | can


def smallest_file(stacks: Mapping[Stack, Measured]) -> Stack:
    """The stack with the smallest file.

    Raises:
        ValueError: there is none.
    """
    return min(stacks, key=lambda steps: stacks[steps]["file"].value)
