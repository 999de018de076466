"""Arithmetic of one forward pass, counted by PyTorch."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.measure.measurement import Measurement


@torch.no_grad()
def flops(model: nn.Module, *inputs: torch.Tensor) -> Measurement:
    """Floating-point operations (FLOP) of `model(*inputs)`: a multiplication and its addition count as two.

    Matrix products and convolutions are counted (`torch.utils.flop_counter`), element-wise work is not. A zero weight
    is multiplied like any other, so pruning by mask changes nothing here.

    >>> print(flops(nn.Linear(100, 10), torch.ones(1, 100)))
    2.00 kFLOP
    """
    with FlopCounterMode(display=False) as counter:
        model(*inputs)
    return Measurement.exact(counter.get_total_flops(), "FLOP")
