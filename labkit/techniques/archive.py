"""Weights in a file: safetensors, compressed with zstd when the name ends in .zst.

A file is what a size means in these labs: it can be loaded again and gives the same outputs.
"""

import os
import tempfile
from pathlib import Path

import torch
import zstandard
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict


def save_weights(state: dict[str, torch.Tensor], path: str | Path) -> Path:
    """Write a state dictionary, whole or not at all; torchao's quantized tensors are written as their parts."""
    path = Path(path)
    # torchao splits names at the last dot and fails without one: every name gets a module in front.
    tensors, metadata = flatten_tensor_state_dict({f"model.{name}": tensor for name, tensor in state.items()})
    # Cloned: safetensors refuses tensors that share memory or are strided, as channels-last weights are.
    data = save({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}, metadata)
    if path.suffix == ".zst":
        data = zstandard.compress(data, 19)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    return path


def load_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `save_weights` wrote, ready for `load_state_dict(..., assign=True)`.

    Raises ValueError for a file that was cut or altered so that it cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix != ".zst":
            return _read(path)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, "weights")
            plain.write_bytes(zstandard.decompress(path.read_bytes()))
            return _read(plain)
    except (SafetensorError, zstandard.ZstdError) as error:
        raise ValueError(f"{path} is not a whole weights file: {error}. Write it again with save_weights.") from error


def _read(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        state, _ = unflatten_tensor_state_dict({name: file.get_tensor(name) for name in file.keys()}, file.metadata())
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}
