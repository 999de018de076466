"""A safetensors file, compressed with zstd where its name ends in .zst.

A file is what a size means in these labs: it can be loaded again and gives the same
outputs.
"""

import json
import tempfile
from pathlib import Path

import torch
import zstandard
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torchao.prototype.safetensors.safetensors_support import (
    flatten_tensor_state_dict,
    unflatten_tensor_state_dict,
)

from labkit import files
from labkit.measure.size import ZSTD_LEVEL

# What reading a damaged file raises; the last four come from torchao, which trusts its
# metadata.
DAMAGE = (
    SafetensorError,
    zstandard.ZstdError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
)


def save_weights(state: dict[str, torch.Tensor], path: str | Path) -> Path:
    """Write a state dictionary, whole or not at all.

    Args:
        state: tensors by name; torchao's quantized ones are written as their parts.
        path: the file; missing folders are made.

    Returns:
        The path.
    """
    path = Path(path)
    # torchao splits names at the last dot and fails without one: every name gets a
    # module in front.
    tensors, metadata = flatten_tensor_state_dict(
        {f"model.{name}": tensor for name, tensor in state.items()}
    )
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


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `save_weights` wrote.

    Args:
        path: the file.

    Returns:
        Tensors by name, ready for `load_state_dict(..., assign=True)`.

    Raises:
        ValueError: the file was cut, altered so that it cannot be read, or written by
            something else. In a .zst altered numbers show, too: it has a checksum.
    """
    path = Path(path)
    try:
        if path.suffix != ".zst":
            return _read(path)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, "weights")
            plain.write_bytes(zstandard.decompress(path.read_bytes()))
            return _read(plain)
    except DAMAGE as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}): write it again"
        ) from error


def _read(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = json.loads(file.metadata()["torchao"])
    state, _ = unflatten_tensor_state_dict(tensors, metadata)
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}
