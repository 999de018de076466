"""Bytes of a file as it is and compressed, and the parameters of a model."""

import gzip
from pathlib import Path

import torch
import zstandard
from torch import nn

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
    # A quantized weight is a tensor subclass: what counts is the numbers that it stands for.
    return [
        p.detach() if type(p) in (torch.Tensor, nn.Parameter) else p.detach().dequantize() for p in model.parameters()
    ]


def parameters(model: nn.Module) -> Measurement:
    """Number of parameters (BatchNorm statistics are buffers and not counted).

    >>> parameters(nn.Linear(100, 10)).short
    '1.01 k'
    """
    return Measurement.exact(sum(p.numel() for p in _weights(model)), "")


def nonzeros(model: nn.Module) -> Measurement:
    """Number of parameters that are not zero.

    >>> nonzeros(nn.LayerNorm(8)).short  # the weights are 1, the biases 0
    '8.00'
    """
    return Measurement.exact(sum(p.count_nonzero().item() for p in _weights(model)), "")


def sparsity(model: nn.Module) -> Measurement:
    """Percentage of parameters that are zero.

    >>> sparsity(nn.LayerNorm(8)).short
    '50.0%'
    """
    return Measurement.exact(100 * (1 - nonzeros(model).value / parameters(model).value), "%")
