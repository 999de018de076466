"""Bytes of a file as it is and compressed, and the parameters of a model."""

import gzip
from pathlib import Path

import torch
import zstandard
from torch import nn
from torch.nn.utils import parametrize

from labkit.measure.measurement import Measurement

ZSTD_LEVEL = 12  # 19 makes sparse files about 5 to 20 % smaller and takes ten times as long


def file_sizes(path: str | Path, *only: str) -> dict[str, Measurement]:
    """Bytes of a file raw, and of what gzip (level 6) and zstd (level 12) make of it.

    Args:
        path: the file.
        only: "gzip" or "zstd", where one of them is enough: a large file takes seconds.

    Raises:
        FileNotFoundError: only a file that exists has a size.
    """
    data = Path(path).read_bytes()
    compressors = {
        "gzip": lambda: gzip.compress(data, 6, mtime=0),
        "zstd": lambda: zstandard.compress(data, ZSTD_LEVEL),
    }
    compressed = {name: compressors[name]() for name in only or compressors}
    return {name: Measurement.exact(len(part), "bytes") for name, part in {"raw": data, **compressed}.items()}


def _weights(model: nn.Module) -> list[torch.Tensor]:
    """The numbers that the network computes with: what counts is what a weight stands for, and not what holds it."""
    found: dict[object, torch.Tensor] = {}
    lists = [module for module in model.modules() if isinstance(module, parametrize.ParametrizationList)]
    inside = {module for each in lists for module in each.modules()}
    for module in set(model.modules()) - inside:
        if parametrize.is_parametrized(module):
            found |= {(module, name): getattr(module, name).detach() for name in module.parametrizations}
        for name, weight in module.named_parameters(recurse=False):
            is_masked = name.endswith("_orig")  # by torch.nn.utils.prune
            mask = getattr(module, name.replace("_orig", "_mask"), None) if is_masked else None
            found[weight] = _numbers(weight) if mask is None else weight.detach() * mask
    return [*found.values()]


def _numbers(weight: torch.Tensor) -> torch.Tensor:
    if (state := getattr(weight, "quant_state", None)) is not None:  # four bits of bitsandbytes
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.detach(), state)
    return weight.detach() if type(weight) in (torch.Tensor, nn.Parameter) else weight.detach().dequantize()


def parameters(model: nn.Module) -> Measurement:
    """Number of parameters: BatchNorm's statistics are buffers and not counted, shared weights are counted once.

    A quantized weight counts as the numbers that it stands for.

    >>> parameters(nn.Linear(100, 10)).short
    '1.01 k'
    """
    return Measurement.exact(sum(p.numel() for p in _weights(model)), "")


def nonzeros(model: nn.Module) -> Measurement:
    """Number of parameters that are not zero where the network uses them: what `torch.nn.utils.prune` masks is zero.

    Raises:
        ValueError: the weights are on the device "meta", which keeps none.

    >>> nonzeros(nn.LayerNorm(8)).short  # the weights are 1, the biases 0
    '8.00'
    """
    weights = _weights(model)
    if any(weight.is_meta for weight in weights):
        raise ValueError('weights on the device "meta" have no numbers: load them first')
    return Measurement.exact(sum(weight.count_nonzero().item() for weight in weights), "")


def sparsity(model: nn.Module) -> Measurement:
    """Percentage of parameters that are zero.

    Raises:
        ValueError: as `nonzeros`, or the model has no parameters.

    >>> sparsity(nn.LayerNorm(8)).short
    '50.0%'
    """
    if not (count := parameters(model).value):
        raise ValueError(f"{type(model).__name__} has no parameters, and of none no share is zero")
    return Measurement.exact(100 * (1 - nonzeros(model).value / count), "%")
