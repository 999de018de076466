"""What each step of a stack does: left out, added alone, and together with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from labkit.estimate.product import Product
from labkit.measure import Measurement, difference, ratio
from labkit.measure.measurement import CONFIDENCE, rests_on
from labkit.stack.runner import Runner
from labkit.stack.steps import Refused, Step, admit


@dataclass(frozen=True)
class Effect:
    """A step's part in a stack, in one cost (how many times smaller) and one quality (what was lost).

    Of a step without which the stack is not admissible, `needed` says why, and what leaving it out gives is None.
    """

    step: Step
    alone_smaller: Measurement | None  #: file of the start over file with this step alone
    alone_lost: Measurement | None
    smaller: Measurement | None  #: file without this step over file of the whole
    lost: Measurement | None  #: loss of the whole minus loss without this step; negative where the step repairs
    needed: str = ""


@dataclass(frozen=True)
class _Outcome:
    """What a stack came to, or why it was refused."""

    measured: dict[str, Measurement] | None
    refused: str = ""


def _outcome(runner: Runner, steps: Sequence[Step], seeds: Sequence[int]) -> _Outcome:
    try:
        admit(steps, runner.task.facts)
    except Refused as error:
        return _Outcome(None, str(error))
    return _Outcome(runner.averaged(steps, seeds))


def ablate(
    runner: Runner, steps: Sequence[Step], seeds: Sequence[int] = (0,), cost: str = "file", metric: str = "lost"
) -> list[Effect]:
    """Leave each step out of the stack, and put each alone on the model at the start."""
    start, whole = runner.averaged((), seeds), runner.averaged(steps, seeds)
    effects = []
    for number, each in enumerate(steps):
        alone = _outcome(runner, [each], seeds).measured
        rest = _outcome(runner, [*steps[:number], *steps[number + 1 :]], seeds)
        effects.append(
            Effect(
                each,
                alone_smaller=ratio(start[cost], alone[cost]) if alone else None,
                alone_lost=alone[metric] if alone else None,
                smaller=ratio(rest.measured[cost], whole[cost]) if rest.measured else None,
                lost=difference(whole[metric], rest.measured[metric]) if rest.measured else None,
                needed=rest.refused,
            )
        )
    return effects


@dataclass(frozen=True)
class Interaction:
    """Two steps together against the two apart."""

    pair: tuple[Step, Step]  #: in the order in which they were done
    loss: Measurement  #: loss together minus the sum of the losses apart; 0 where the losses add up
    product: Product  #: times smaller: each step alone, and both together

    @property
    def share(self) -> Measurement:
        """Times smaller together over the product of both apart; 1 where the effects multiply."""
        return self.product.share


def interactions(
    runner: Runner, steps: Sequence[Step], seeds: Sequence[int] = (0,), cost: str = "file", metric: str = "lost"
) -> list[Interaction]:
    """Every pair in each of its admissible orders, if both steps are admissible alone.

    The losses apart are those on the model at the start, so that an order which takes from a step what made it harmless
    shows as an interaction.
    """
    start = runner.averaged((), seeds)
    found = []
    for pair in permutations(steps, 2):
        together, first, second = (_outcome(runner, stack, seeds).measured for stack in (pair, pair[:1], pair[1:]))
        if not (together and first and second):
            continue
        alone = {str(step): apart[cost] for step, apart in zip(pair, (first, second))}
        whole = " → ".join(map(str, pair))
        product = Product.of_costs("the start", start[cost], alone, whole, together[cost])
        found.append(Interaction(pair, difference(together[metric], first[metric], second[metric]), product))
    return found


def largest(found: Sequence[Measurement]) -> Measurement:
    """The largest of several, with an interval for the largest of what they estimate.

    Of many noisy values the largest is large by chance, too, and its own interval does not know it. So each interval is
    widened after Bonferroni: with k of them, to miss once in 20 k times. Then all hold together 95 times in a hundred,
    whether or not they depend on each other, and the largest lies between the largest of both ends.

    Raises:
        ValueError: there are none, or their units differ.

    >>> pairs = [Measurement(v, v - 1, v + 1, "points", 1000, "95 % confidence", "paired") for v in (0.2, 0.3, 0.1)]
    >>> print(largest(pairs))
    0.30 points [-0.92, 1.52]
    """
    if len({m.unit for m in found}) != 1:
        raise ValueError(f"the largest is one of several in one unit, got {', '.join(m.unit for m in found) or 'none'}")
    wide = [_widened(m, len(found)) for m in found]
    n, kind, method = rests_on(found)
    best = max(found, key=lambda m: m.value)
    method = f"the largest of {len(found)}, after Bonferroni: {method}" if kind == CONFIDENCE else method
    low, high = (max(getattr(m, end) for m in wide) for end in ("low", "high"))
    return Measurement(best.value, low, high, best.unit, n, kind, method)


def smallest(found: Sequence[Measurement]) -> Measurement:
    """The smallest of several, with the interval that `largest` has."""
    turned = largest([_turned(m) for m in found])
    return replace(_turned(turned), method=turned.method.replace("the largest", "the smallest", 1))


def _turned(m: Measurement) -> Measurement:
    return m.through(lambda value: -value, m.unit)


def _widened(m: Measurement, count: int) -> Measurement:
    """With the interval that misses `count` times less often; what is no confidence interval stays as it is."""
    from scipy.special import stdtrit  # slow to import

    if m.kind != CONFIDENCE:
        return m
    usual, rarer = (float(stdtrit(max(1, m.n - 1), 1 - share)) for share in (0.025, 0.025 / count))
    low, high = (m.value + (end - m.value) * rarer / usual for end in (m.low, m.high))
    return replace(m, low=low, high=high)
