"""Right answers spoiled in ways that do not depend on the exercise: each is to cost points wherever it shows."""

import math
from collections.abc import Callable

import numpy as np
import torch

# From a right result, and what the function was given, to a wrong result; None where there is nothing to spoil.
Spoiling = Callable[[object, tuple], object]


def spoiled(answer: Callable, spoiling: Spoiling, part: int | None, seen: list[bool]) -> Callable:
    """A function with spoiled results, whole or in one part of a tuple or dict; `seen` gets what calls were spoiled.

    Functions that it returns are spoiled in their results.
    """

    def wrong(*given):
        result = answer(*given)
        if isinstance(result, tuple) and all(map(callable, result)):
            return tuple(
                spoiled(each, spoiling, None, seen) if part in (None, place) else each
                for place, each in enumerate(result)
            )
        found = spoiling(result, given) if part is None else in_part(result, given)
        seen.append(found is not None)
        return found if seen[-1] else result

    def in_part(result, given):
        if not isinstance(result, (tuple, dict)) or part >= len(result):
            return None
        keys = list(result) if isinstance(result, dict) else range(len(result))
        found = spoiling(result[keys[part]], given)
        if found is None:
            return None
        if isinstance(result, dict):
            return result | {keys[part]: found}
        return (*result[:part], found, *result[part + 1 :])

    return wrong


def within(change: Callable) -> Spoiling:
    """Spoil each value in a tuple, list or dict for which `change` gives another."""

    def spoiling(thing, given=()):
        if not isinstance(thing, (tuple, list, dict)):
            return change(thing)
        old = list(thing.values() if isinstance(thing, dict) else thing)
        new = [spoiling(each) for each in old]
        if all(each is None for each in new):
            return None
        both = [each if found is None else found for each, found in zip(old, new)]
        return dict(zip(thing, both)) if isinstance(thing, dict) else type(thing)(both)

    return spoiling


def of_tables(change: Callable) -> Spoiling:
    """Spoil each tensor or array for which `change`, of it and whether it is floating, gives another."""
    return within(lambda thing: change(thing, "float" in str(thing.dtype)) if is_table(thing) else None)


def of_numbers(change: Callable) -> Spoiling:
    """Spoil each number of Python for which `change`, of it and whether it is floating, gives another."""
    return within(lambda thing: change(thing, isinstance(thing, float)) if type(thing) in (int, float) else None)


def is_table(thing: object) -> bool:
    return isinstance(thing, (torch.Tensor, np.ndarray))


def cast(table, name: str):
    return table.to(getattr(torch, name)) if torch.is_tensor(table) else table.astype(name)


def other_bits(table, floating: bool):
    """The same numbers in 32 bits for 64, and in 64 for any other."""
    kind = "float" if floating else "int"
    return cast(table, f"{kind}32" if "64" in str(table.dtype) else f"{kind}64")


def another(table):
    """Other numbers of the same dtype."""
    return table == 0 if "bool" in str(table.dtype) else table + 1


def in_reverse(thing, given):
    return type(thing)(reversed(thing)) if isinstance(thing, (list, tuple)) and len(thing) > 1 else None


def without_the_last(thing, given):
    return thing[:-1] if isinstance(thing, (list, tuple)) and thing else None


def lists_for_tuples(thing, given):
    if isinstance(thing, list) and thing and isinstance(thing[0], tuple):
        return [list(each) for each in thing]
    return list(thing) if isinstance(thing, tuple) else None


def always_the_first() -> Spoiling:
    kept: list = []

    def spoiling(thing, given):
        kept.append(thing)
        return kept[0]

    return spoiling


def over_what_was_given(result, given):
    """Tables stand in the memory of an argument of their shape and dtype."""

    def over(table, _):
        for each in given:
            if type(each) is type(table) and (each.shape, each.dtype) == (table.shape, table.dtype):
                each[...] = table
                return each

    return of_tables(over)(result)


def changing_argument(place: int) -> Spoiling:
    """The result stays right, and the argument at this place changes."""

    def spoiling(result, given):
        thing = given[place] if place < len(given) else None
        if isinstance(thing, torch.nn.Module):
            thing = next(thing.parameters()).data
        if is_table(thing):
            thing[...] = another(thing)
        elif isinstance(thing, list):
            thing.append(thing[-1] if thing else 0)
        elif isinstance(thing, dict):
            thing["spoiled"] = 0
        else:
            return None
        return result

    return spoiling


SPOILINGS: dict[str, Callable[[], Spoiling]] = {
    "tensors of floats for integers": lambda: of_tables(lambda x, floating: None if floating else cast(x, "float32")),
    "tensors of integers for floats": lambda: of_tables(lambda x, floating: cast(x, "int64") if floating else None),
    "tensors in other bits": lambda: of_tables(other_bits),
    "tensors one larger": lambda: of_tables(lambda x, _: another(x)),
    "tensors of NaN": lambda: of_tables(lambda x, floating: x * math.nan if floating else None),
    "tensors with a dimension more": lambda: of_tables(lambda x, _: x[None]),
    "tensors with a dimension more at the end": lambda: of_tables(lambda x, _: x[..., None]),
    "flat tensors": lambda: of_tables(lambda x, _: x.reshape(-1) if x.ndim > 1 else None),
    "transposed tensors": lambda: of_tables(lambda x, _: x.T if x.ndim == 2 else None),
    "lists for tensors": lambda: of_tables(lambda x, _: x.tolist()),
    "floats for integers": lambda: of_numbers(lambda x, floating: None if floating else float(x)),
    "integers for floats": lambda: of_numbers(lambda x, floating: int(x) if floating else None),
    "numbers one larger": lambda: of_numbers(lambda x, _: x + 1),
    "numbers slightly off": lambda: of_numbers(lambda x, _: x + 0.02),
    "NaN": lambda: of_numbers(lambda x, _: math.nan),
    "tensors for numbers": lambda: of_numbers(lambda x, _: torch.tensor([x])),
    "texts for numbers": lambda: of_numbers(lambda x, _: str(x)),
    "other words": lambda: within(lambda x: f"{x} " if isinstance(x, str) else None),
    "in reverse order": lambda: in_reverse,
    "without the last": lambda: without_the_last,
    "lists for tuples": lambda: lists_for_tuples,
    "nothing": lambda: lambda result, given: () if result is not None else None,
    "always the first answer": always_the_first,
    "over what was given": lambda: over_what_was_given,
    **{f"changing argument {place + 1}": lambda place=place: changing_argument(place) for place in range(6)},
}
