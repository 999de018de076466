"""Weights ship with 16 bits and compute with 32."""

from collections.abc import Mapping

import torch
from torch import nn


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dictionary with float16 for what is floating point; counters stay integers."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def widened(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dictionary with float32 for what is floating point; counters stay integers."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


@torch.no_grad()
def refill_(model: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Fill, at random, the digits of the weights that were cut off when they were rounded to 16 bits; in place.

    A file of 32-bit weights must not profit from there being few different ones. Random numbers are drawn in the order
    in which a weight lies in memory: by another memory format it is filled otherwise.

    Args:
        model: of float32 weights, on the device of the generator.
        generator: of the random numbers; None is PyTorch's own.

    Returns:
        The same model.
    """
    for weight in model.parameters():
        noise = torch.empty_like(weight).uniform_(generator=generator)
        weight.mul_(1 + (noise - 0.5) / 2**11)
    return model
