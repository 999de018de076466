"""Weights ship with 16 bits and compute with 32."""

from collections.abc import Mapping

import torch


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dictionary with float16 for what is floating point; counters stay integers."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def widened(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dictionary with float32 for what is floating point; counters stay integers."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
