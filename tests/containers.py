"""Attacks on files of weights: bits that flip, bytes that are cut, doubled or made up."""

import copy
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch

from labkit.techniques.storage import deep_compression
from labkit.techniques.storage.safetensors import load_weights


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Another file: a bit flipped in every third; else a byte made up, a piece cut out, doubled or zero."""
    changed = bytearray(data)
    at = draw.randrange(len(data))
    kind = draw.choice(["bit", "bit", "bit", "byte", "cut", "end", "double", "zeros"])
    length = draw.randrange(1, 9)
    if kind == "bit":
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == "byte":
        changed[at] = draw.randrange(256)
    elif kind == "cut":
        del changed[at : at + length]
    elif kind == "end":
        del changed[at:]
    elif kind == "double":
        changed[at:at] = changed[at : at + length]
    else:
        changed[at : at + length] = bytes(len(changed[at : at + length]))
    return bytes(changed)


def attack(
    data: bytes, read: Callable[[bytes], object], is_right: Callable[[object], bool], draw: random.Random, times: int
) -> tuple[int, list[str]]:
    """How many damaged files were tried, and what was neither a ValueError nor right, one line each."""
    bad = []
    for _ in range(times):
        wrong = damaged(data, draw)
        try:
            if not is_right(read(wrong)):
                bad.append(f"other contents: {wrong!r}"[:400])
        except ValueError:
            pass
        except BaseException as error:
            bad.append(f"{error!r}: {wrong!r}"[:400])
    return times, bad


def attack_weights(path: Path, draw: random.Random, times: int) -> tuple[int, list[str]]:
    """As `attack`, on what `save_weights` wrote.

    Names, types and shapes must be those that were saved; under zstd, which has a checksum, the numbers, too.
    """
    data, expected = path.read_bytes(), load_weights(path)

    def read(wrong: bytes) -> dict[str, torch.Tensor]:
        path.write_bytes(wrong)
        return load_weights(path)

    def is_right(state: object) -> bool:
        assert isinstance(state, dict)
        same = form(state) == form(expected)
        return same and (path.suffix != ".zst" or numbers(state) == numbers(expected))

    tried = attack(data, read, is_right, draw, times)
    path.write_bytes(data)
    return tried


def attack_deep_compression(
    path: Path, model: torch.nn.Module, draw: random.Random, times: int
) -> tuple[int, list[str]]:
    """As `attack`, on what `deep_compression.save` wrote; all of it has a checksum."""
    data, model = path.read_bytes(), copy.deepcopy(model)
    expected = numbers(deep_compression.load_(path, model).state_dict())

    def read(wrong: bytes) -> dict[str, torch.Tensor]:
        path.write_bytes(wrong)
        return deep_compression.load_(path, model).state_dict()

    tried = attack(data, read, lambda state: numbers(state) == expected, draw, times)
    path.write_bytes(data)
    return tried


def form(state: dict[str, torch.Tensor]) -> list[tuple[object, ...]]:
    """What is told of each tensor beside its numbers."""
    notes = ("block_size", "act_quant_kwargs")
    return [
        (name, type(t), t.dtype, t.shape, *(str(getattr(t, note, None)) for note in notes)) for name, t in state.items()
    ]


def numbers(state: dict[str, torch.Tensor]) -> list[bytes]:
    plain = (t if type(t) is torch.Tensor else t.dequantize() for t in state.values())
    return [np.ascontiguousarray(t.numpy()).tobytes() for t in plain]


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """With so many bytes of memory beside what the process has: more of them is a MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
