"""Steps of a stack: a technique with its parameters, what it needs, and what it leaves behind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from torch import nn

Facts = frozenset[str]  #: what is known about a model, such as "sparse", "integers", …
CONSTANTS = {"True": True, "False": False, "None": None}  # parameters that `read` takes for what they say


class Refused(ValueError):
    """A step that cannot come where it was put; the message says after what, and why, `short` only what is amiss."""

    def __init__(self, message: str, short: str):
        super().__init__(message)
        self.short = short


@dataclass(frozen=True)
class Step:
    """A technique with its parameters chosen. Two steps with the same text are the same step."""

    text: str  #: as it is written, "prune(0.8)"
    apply: Callable[..., nn.Module] = field(compare=False, repr=False)  #: (model, task, seed) → model
    needs: Mapping[str, str] = field(compare=False, repr=False)  #: a fact, and why without it nothing can be done
    refuses: Mapping[str, str] = field(compare=False, repr=False)  #: a fact, and why with it nothing can be done
    gives: Facts = field(compare=False, repr=False)
    takes: Facts = field(compare=False, repr=False)  #: facts that are no longer true afterwards
    random: bool = field(compare=False, repr=False)  #: whether the seed makes a difference

    def __str__(self) -> str:
        return self.text

    def after(self, facts: Facts) -> Facts:
        """What is known when the step is done.

        Raises:
            Refused: the step cannot come after these facts.
        """
        for fact, why in self.refuses.items():
            if fact in facts:
                raise Refused(f"{self} does not work on a model with {fact}: {why}", f"not after {fact}")
        for fact, why in self.needs.items():
            if fact not in facts:
                raise Refused(f"{self} needs a model with {fact}: {why}", f"needs {fact}")
        return facts - self.takes | self.gives


def step(
    gives: Iterable[str] = (),
    takes: Iterable[str] = (),
    needs: Mapping[str, str] | None = None,
    refuses: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., nn.Module]], Callable[..., Step]]:
    """Make a step of a function `(model, task, …parameters) → model`; it may change the model that it gets.

    The result takes the parameters alone and gives a Step. A function that has a parameter `seed` is taken to be
    random, and gets the seed of the run.

    Args:
        gives: facts that hold when the step is done.
        takes: facts that no longer hold then.
        needs: facts that must hold before, each with the reason that a reader will see if it does not.
        refuses: facts that must not hold before, each with the reason that a reader will see if it does.

    >>> @step(gives=["noise"], refuses={"integers": "they have no room for it"})
    ... def blur(model, task, seed, spread: float = 0.01):
    ...     torch.manual_seed(seed)
    ...     for weight in model.parameters():
    ...         weight.data += spread * torch.randn_like(weight)
    ...     return model
    >>> print(blur(0.1))
    blur(0.1)
    """

    def decorate(function: Callable[..., nn.Module]) -> Callable[..., Step]:
        _, _, *parameters = inspect.signature(function).parameters.values()
        random = any(p.name == "seed" for p in parameters)
        signature = inspect.Signature([p for p in parameters if p.name != "seed"])

        @functools.wraps(function)
        def make(*args: object, **options: object) -> Step:
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            chosen = dict(bound.arguments)

            def apply(model: nn.Module, task: object, seed: int) -> nn.Module:
                return function(model, task, **({"seed": seed} if random else {}), **chosen)

            written = ", ".join(str(value) for value in chosen.values())
            return Step(
                f"{function.__name__}({written})",
                apply,
                needs or {},
                refuses or {},
                frozenset(gives),
                frozenset(takes),
                random,
            )

        return make

    return decorate


def admit(steps: Sequence[Step], facts: Facts) -> list[Facts]:
    """What is known after each step, one by one.

    Raises:
        Refused: a step cannot follow those before it.
    """
    known = []
    for number, each in enumerate(steps):
        try:
            facts = each.after(facts)
        except Refused as error:
            before = f"after {', '.join(map(str, steps[:number]))}" if number else "at the start"
            raise Refused(f"{error} ({before})", error.short) from None
        known.append(facts)
    return known


def is_admissible(steps: Sequence[Step], facts: Facts) -> bool:
    """Whether every step can follow those before it.

    >>> sow = step(gives=["corn"])(lambda model, task: model)()
    >>> reap = step(needs={"corn": "nothing grows"})(lambda model, task: model)()
    >>> is_admissible([sow, reap], frozenset()), is_admissible([reap, sow], frozenset())
    (True, False)
    """
    try:
        admit(steps, facts)
    except Refused:
        return False
    return True


def orders(steps: Sequence[Step], facts: Facts) -> list[tuple[Step, ...]]:
    """All admissible orders of the steps, each a tuple."""
    return [order for order in permutations(steps) if is_admissible(order, facts)]


def read(text: str, vocabulary: object) -> Step:
    """The step that was written as "prune(0.8, global)".

    Args:
        text: name and parameters.
        vocabulary: the module that has the steps.

    Raises:
        ValueError: there is no such step in it.
    """
    name, _, arguments = text.partition("(")
    make = getattr(vocabulary, name, None)
    try:
        found = make and make(*(_value(each) for each in arguments.removesuffix(")").split(", ") if each))
    except TypeError:
        found = None
    if not isinstance(found, Step) or str(found) != text:
        raise ValueError(f"{getattr(vocabulary, '__name__', vocabulary)} has no step {text!r}")
    return found


def _value(text: str) -> int | float | str | bool | None:
    if text in CONSTANTS:
        return CONSTANTS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
