"""Bytes of a file as it is and compressed, and the parameters of a model."""

import gzip
from pathlib import Path

import torch
import zstandard
from torch import nn

from labkit.measure.measurement import Measurement

ZSTD_LEVEL = 12  # 19 makes sparse files about 5 to 20 % smaller and takes ten times as long


def file_sizes(path: str | Path) -> dict[str, Measurement]:
    """Bytes of a file raw, and of what gzip (level 6) and zstd (level 12) make of it.

    Raises:
        FileNotFoundError: only a file that exists has a size.
    """
    data = Path(path).read_bytes()
    return {
        "raw": Measurement.exact(len(data), "bytes"),
        "gzip": Measurement.exact(len(gzip.compress(data, 6, mtime=0)), "bytes"),
        "zstd": Measurement.exact(len(zstandard.compress(data, ZSTD_LEVEL)), "bytes"),
    }


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
