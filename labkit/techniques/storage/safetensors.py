"""A safetensors file, compressed with zstd where its name ends in .zst.

A file is what a size means in these labs: it can be loaded again and gives the same
outputs.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import zstandard
from safetensors.torch import load, save
from torchao.prototype.safetensors.safetensors_support import (
    flatten_tensor_state_dict,
    unflatten_tensor_state_dict,
)

from labkit import files
from labkit.measure.size import ZSTD_LEVEL

LARGEST = 2**30  # bytes that a .zst may unpack to, unless the caller allows more
LARGEST_HEADER = 2**24  # bytes of names, types and shapes
PREFIX = "model."  # of every name: torchao splits at the last dot and fails without one


def save_weights(state: dict[str, torch.Tensor], path: str | Path) -> Path:
    """Write a state dictionary, whole or not at all.

    Args:
        state: tensors by name; torchao's quantized ones are written as their parts. A
            tensor that has two names, as tied weights have, is written once.
        path: the file; missing folders are made.

    Returns:
        The path.

    Raises:
        ValueError: something in it is no tensor of numbers in memory, or could not be
            read again.
    """
    path, first, tied = Path(path), {}, {}
    for name, tensor in state.items():
        _check_tensor(name, tensor)
        if (other := first.setdefault(_place(name, tensor), name)) != name:
            tied[PREFIX + name] = PREFIX + other
    tensors, metadata = flatten_tensor_state_dict(
        {PREFIX + name: state[name].detach() for name in first.values()}
    )
    if tied:
        metadata["tied"] = json.dumps(tied)
        metadata["order"] = json.dumps([PREFIX + name for name in state])
    try:
        _state(tensors, metadata)
    except (KeyError, ValueError) as error:
        raise ValueError("parts of two tensors have one name: rename one") from error
    # Cloned: safetensors refuses tensors that share memory or are strided, as
    # channels-last weights are.
    tensors = {
        k: v.detach().clone(memory_format=torch.contiguous_format)
        for k, v in tensors.items()
    }
    # One entry: safetensors writes several in random order, a new file every time.
    data = save(tensors, {"torchao": json.dumps(metadata)})
    if path.suffix == ".zst":
        data = zstandard.ZstdCompressor(ZSTD_LEVEL, write_checksum=True).compress(data)
    files.write(path, data)
    return path


def load_weights(path: str | Path, largest: int = LARGEST) -> dict[str, torch.Tensor]:
    """Read what `save_weights` wrote. It takes twice the memory of the tensors.

    Args:
        path: the file.
        largest: bytes that a .zst may unpack to: a small file may hold many zeros.

    Returns:
        Tensors by name, ready for `load_state_dict(..., assign=True)`; what was tied is
        one tensor.

    Raises:
        ValueError: the file was cut, altered so that it cannot be read, or written by
            something else; or it unpacks to more than `largest`. In a .zst altered
            numbers show, too: it has a checksum.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        plain = _unpacked(data, largest) if path.suffix == ".zst" else data
        metadata = json.loads(_header(plain)["__metadata__"]["torchao"])
        return _state(load(plain), metadata)
    # Whatever three libraries raise on bytes that they should not have been given.
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): write it again"
        ) from error


def _check_tensor(name: str, tensor: object) -> None:
    is_tensor = isinstance(tensor, torch.Tensor)
    if not is_tensor or tensor.layout is not torch.strided or tensor.is_meta:
        raise ValueError(
            f"{name!r} is no tensor of numbers in memory: a file holds those alone"
        )


def _place(name: str, tensor: torch.Tensor) -> object:
    """Equal for two names of one tensor, and for no others."""
    if type(tensor.detach()) is not torch.Tensor or not tensor.numel():
        return name
    where = tensor.device, tensor.data_ptr(), tensor.dtype
    return where, tuple(tensor.shape), tensor.stride()


def _state(
    tensors: dict[str, torch.Tensor], metadata: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """The tensors by name; ValueError unless all that the metadata names are there, and
    no others.
    """
    metadata = dict(metadata)
    tied = json.loads(metadata.pop("tied", "{}"))
    names = json.loads(metadata["tensor_names"])
    order = json.loads(metadata.pop("order", "null")) or names
    for name in names:
        _check_parts(notes := json.loads(metadata[name]))
        if json.dumps(notes) != metadata[name]:
            raise ValueError(f"the notes of {name!r} were written by something else")
    # torchao passes over what is not complete.
    found, left = unflatten_tensor_state_dict(tensors, metadata)
    for tensor in found.values():
        if type(tensor).__name__ == "Int8Tensor":
            _check_blocks(tensor)
    found |= {name: found[other] for name, other in tied.items()}
    is_ours = all(name.startswith(PREFIX) for name in order)
    if left or not is_ours or sorted(order) != sorted([*names, *tied]):
        raise ValueError("its names do not fit its tensors")
    return {name.removeprefix(PREFIX): found[name] for name in order}


def _check_parts(notes: dict[str, Any]) -> None:
    """ValueError unless every object in what torchao notes of a tensor has a type: it
    would take one without for a dictionary.
    """
    data = notes.get("_data")
    for part in data.values() if isinstance(data, dict) else ():
        if isinstance(part, dict):
            if part.keys() != {"_type", "_data"}:
                raise ValueError(f"{list(part)} are no parts of an object")
            _check_parts(part)


def _check_blocks(tensor: Any) -> None:
    """ValueError if the blocks that torchao notes do not fit the scales."""
    blocks = [n / size for n, size in zip(tensor.shape, tensor.block_size, strict=True)]
    kwargs = tensor.act_quant_kwargs
    dim = getattr(kwargs.granularity, "dim", -1) if kwargs else -1
    fits = math.prod(blocks) == tensor.scale.numel()
    if not fits or not -tensor.dim() <= dim < tensor.dim():
        raise ValueError(f"blocks of {tensor.block_size} do not fit the scales")


def _unpacked(data: bytes, largest: int) -> bytes:
    """The bytes that were compressed, if their header says as many as zstd's does."""
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= largest:
        raise ValueError(f"it unpacks to {size:,} bytes, and {largest:,} are allowed")
    with zstandard.ZstdDecompressor().stream_reader(data) as stream:
        start = stream.read(8)
        start += stream.read(min(int.from_bytes(start, "little"), LARGEST_HEADER))
    tensors = [t for name, t in _header(start).items() if name != "__metadata__"]
    end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    if size != len(start) + end:
        raise ValueError(f"{size:,} bytes are not {len(start) + end:,}")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


def _header(data: bytes) -> dict[str, Any]:
    """What a safetensors file says of its tensors, in front of them."""
    length = int.from_bytes(data[:8], "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header has {length:,} bytes")
    return json.loads(data[8 : 8 + length])
