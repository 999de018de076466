"""The training loop that the techniques share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]  #: of inputs and targets
Loss = Callable[..., torch.Tensor]  #: of the model's output and the targets
Progress = Callable[[int, float], None]  #: of the step, from 1 on, and its loss


def compute_dtype(device: str) -> torch.dtype:
    """What "cuda" or "cpu" trains in: bfloat16 where the device multiplies it; else a
    GPU in float16, and a CPU in float32.
    """
    if device == "cpu":
        native = torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    # PyTorch also imitates bfloat16, slowly, and then calls it supported.
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def train_(
    model: nn.Module,
    batches: Batches,
    steps: int,
    optimizer: torch.optim.Optimizer,
    loss: Loss = F.cross_entropy,
    before_update: Callable[[], None] = lambda: None,
    after_update: Callable[[int], None] = lambda step: None,
    progress: Progress = lambda step, loss: None,
) -> nn.Module:
    """Train, in place; the learning rate falls to zero along a cosine (Loshchilov and
    Hutter 2017, arXiv:1608.03983).

    Where the model computes in float16, the loss is scaled, so that small gradients do
    not vanish, and a step whose gradients are not finite is left out (Micikevicius et
    al. 2018, arXiv:1710.03740). A warning says how many were.

    Args:
        model: left in eval mode. What is trained of it is float32.
        batches: of inputs and targets.
        steps: batches to take.
        optimizer: of the model's parameters.
        loss: of the model's output and the targets, a scalar.
        before_update: called when the gradients are ready.
        after_update: called with the step, also where its update was left out.
        progress: called with the step and its loss.

    Returns:
        The same model.

    Raises:
        ValueError: `batches` ends too soon, the loss is no longer finite, or it
            depends on nothing that can be trained.

    >>> model, data = nn.Linear(2, 2), (torch.eye(2), torch.tensor([1, 0]))
    >>> adam = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> train_(model, [data] * 50, 50, adam)(data[0]).argmax(1)
    tensor([1, 0])
    """
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    scaler = _scaler(model)
    model.train()
    step = left_out = 0
    for step, (inputs, targets) in zip(range(1, steps + 1), batches):
        value = loss(model(inputs), targets)
        if not value.isfinite():
            lr = optimizer.param_groups[0]["initial_lr"]
            raise ValueError(
                f"the loss is {value.item()} at step {step}: try a smaller lr than {lr}"
            )
        if not value.requires_grad:
            raise ValueError(
                "the loss depends on nothing that can be trained: every parameter is "
                "frozen, or gradients are off"
            )
        model.zero_grad()
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        before_update()
        scaler.step(optimizer)
        scale = scaler.get_scale()
        scaler.update()
        left_out += scaler.get_scale() < scale
        schedule.step()
        after_update(step)
        progress(step, value.item())
        # Free the autograd graph before the next forward pass.
        del value
    if step < steps:
        raise ValueError(
            f"{steps} steps were asked for, and the batches ended after {step}"
        )
    if left_out:
        warnings.warn(
            f"float16: {left_out} of {steps} updates left out, gradients not finite",
            stacklevel=2,
        )
    model.zero_grad()
    return model.eval()


def _scaler(model: nn.Module) -> torch.amp.GradScaler:
    """Scales where the model has weights in float16 or is cast to it; else it does
    nothing.
    """
    dtypes = {weight.dtype for weight in model.parameters()}
    device = next(model.parameters()).device.type
    if torch.is_autocast_enabled(device):
        dtypes.add(torch.get_autocast_dtype(device))
    return torch.amp.GradScaler(
        device, init_scale=2.0**10, enabled=torch.float16 in dtypes
    )


def dtype_name(dtype: torch.dtype) -> str:
    """Its short name, as in "bf16".

    >>> dtype_name(torch.float32)
    'fp32'
    """
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]
