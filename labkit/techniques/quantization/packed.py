"""Weights that are held as few bits and unpacked when they are used.

Each is a parametrization of PyTorch: `module.weight` is what the forward pass sees, and
the state dictionary has the parts that a file stores.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from labkit import checks
from labkit.techniques.quantization import nf4, rounding


class Int8(nn.Module):
    """One scale for every output channel or row, 8 bits per weight."""

    def forward(self, q: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return rounding.dequantize(q, scale)

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return rounding.quantize_tensor(weight, axis=0)


class NF4(nn.Module):
    """Sixteen values, blocks of 64 with a constant each, the constants in 8 bits.

    A byte holds two codes.
    """

    def __init__(self, shape: torch.Size):
        super().__init__()
        self.shape = shape

    def forward(self, codes, absmax, outer, mean) -> torch.Tensor:
        codes = nf4.unpack_nibbles(codes, self.shape)
        return nf4.dequantize_blocks(
            codes, nf4.double_dequantize(absmax, outer, mean), nf4.nf4_values()
        )

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        codes, absmax = nf4.quantize_blocks(weight, nf4.nf4_values())
        return nf4.pack_nibbles(codes), *nf4.double_quantize(absmax)


class LowRank(nn.Module):
    """W + (2 / r) M ∘ (B A): LoRA with alpha = 2 under a mask M (out, in).

    So what was pruned stays zero.
    """

    def __init__(
        self, weight: torch.Tensor, rank: int, mask: torch.Tensor | None = None
    ):
        if rank < 1 or weight.dim() != 2:
            raise ValueError(
                f"rank {rank} beside a weight of shape {tuple(weight.shape)}: a low "
                "rank is one or more, beside a matrix"
            )
        super().__init__()
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.lora_B = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        change = 2 / len(self.lora_A) * self.lora_B @ self.lora_A
        return weight + (change if self.mask is None else change * self.mask)


@torch.no_grad()
def hold_packed_(module: nn.Module, grid: nn.Module) -> None:
    """Hold the weight of a module on a grid, in place.

    Raises:
        ValueError: it is held so already, by this or a library; it is masked by
            `torch.nn.utils.prune`; or it is not finite.
    """
    if parametrize.is_parametrized(module, "weight"):
        raise ValueError(f"the weight of {type(module).__name__} is held already")
    checks.unmasked(module)
    checks.finite(checks.plain(module.weight), "weights")
    module.weight.requires_grad_(False)  # integers have no gradient
    parametrize.register_parametrization(module, "weight", grid, unsafe=True)


@torch.no_grad()
def unpack_module_(module: nn.Module) -> None:
    """Give a module a plain weight, of the values that its forward pass sees.

    Raises:
        ValueError: it has a plain weight.
    """
    if not parametrize.is_parametrized(module, "weight"):
        raise ValueError(f"the weight of {type(module).__name__} is not packed")
    # Not by PyTorch's own function: that changes the class, which a deep copy shares
    # with its original.
    weight, plain = module.weight.detach(), type(module).__bases__[0]
    del module.parametrizations
    module.__class__ = plain
    module.weight = nn.Parameter(weight)


def unpack_(model: nn.Module) -> nn.Module:
    """The model with plain weights of the same values, in place."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            unpack_module_(module)
    return model


class TiedHead(nn.Module):
    """The last layer of a language model whose weight is the embedding's."""

    def __init__(self, embedding: nn.Module):
        super().__init__()
        self._embedding = [embedding]  # in a list: it is not a part of this module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._embedding[0].weight)
