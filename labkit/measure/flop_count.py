"""Arithmetic of one forward pass, counted by PyTorch."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labkit import checks
from labkit.measure.measurement import Measurement


@torch.no_grad()
def flops(model: nn.Module, *inputs: torch.Tensor) -> Measurement:
    """Floating-point operations (FLOP) of `model(*inputs)`: a multiplication and its addition count as two.

    Matrix products and convolutions are counted (`torch.utils.flop_counter`), element-wise work is not. A zero weight
    is multiplied like any other, so pruning by mask changes nothing here.

    Raises:
        ValueError: the model is in train mode, or has products that PyTorch does not count: a library has quantized it,
            or it is recurrent.

    >>> print(flops(nn.Linear(100, 10), torch.ones(1, 100)))
    2.00 kFLOP
    """
    checks.evaluating(model)
    for name, weight in model.named_parameters():
        if type(weight) not in (torch.Tensor, nn.Parameter):
            raise ValueError(f"{name} is {type(weight).__name__}, whose products are not counted: count, then quantize")
    for name, module in model.named_modules():
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)):
            raise ValueError(f"{name or 'the model'} is {type(module).__name__}, whose products are not counted")
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one kernel is not counted
    try:
        with FlopCounterMode(display=False) as counter:
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return Measurement.exact(counter.get_total_flops(), "FLOP")
