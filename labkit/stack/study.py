"""A study: the stacks of one task that are run and recorded, and the space that is searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from types import ModuleType
from typing import TYPE_CHECKING

from labkit.stack.runner import TimedTask
from labkit.stack.steps import Facts, Step, is_admissible, orders

if TYPE_CHECKING:
    import optuna

SEEDS = (0, 1, 2, 3, 4)
FRESH = SEEDS[1:]  #: the search looked at the first: what it chose is reported of the others
Stack = tuple[Step, ...]


@dataclass(frozen=True)
class Study:
    """What is asked of one task.

    Args:
        task: makes the task; takes `device` and `latencies`.
        vocabulary: the module that has the steps, for `labkit.stack.read`.
        facts: what is known about the model at the start.
        steps: put into every admissible order.
        pairs: taken two by two, in both orders, for their interactions.
        whole: the stack that is taken apart by ablation.
        others: stacks that are run beside these.
        space: makes a stack of what a trial of the search suggests.
        architectures: one stack for each architecture that the study meets, to be timed.
        worth_repeating: stacks of the search's front that lose more are not run with every seed; points or nats.
    """

    task: Callable[..., TimedTask]
    vocabulary: ModuleType
    facts: Facts
    steps: Stack
    pairs: Stack
    whole: Stack
    others: Sequence[Stack]
    space: Callable[[optuna.Trial], list[Step]]
    architectures: Sequence[Stack]
    worth_repeating: float

    def stacks(self) -> list[Stack]:
        """Every order, pair, ablation and other stack that is admissible."""
        wanted: Iterable[Stack] = [
            *orders(self.steps, self.facts),
            (),
            self.whole,
            *((each,) for each in (*self.pairs, *self.whole)),
            *permutations(self.pairs, 2),
            *(tuple(other for other in self.whole if other is not each) for each in self.whole),
            *self.others,
        ]
        return [stack for stack in wanted if is_admissible(stack, self.facts)]
