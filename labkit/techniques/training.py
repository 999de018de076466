"""The training loop that the techniques share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]  #: of inputs and targets
Loss = Callable[..., torch.Tensor]  #: of the model's output and the targets
Progress = Callable[[int, float], None]  #: of the step, from 1 on, and its loss


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

    Args:
        model: left in eval mode.
        batches: of inputs and targets.
        steps: batches to take.
        optimizer: of the model's parameters.
        loss: of the model's output and the targets, a scalar.
        before_update: called when the gradients are ready.
        after_update: called with the step when the parameters are changed.
        progress: called with the step and its loss.

    Returns:
        The same model.

    Raises:
        ValueError: `batches` ends too soon, or the loss is no longer finite.

    >>> model, data = nn.Linear(2, 2), (torch.eye(2), torch.tensor([1, 0]))
    >>> adam = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> train_(model, [data] * 50, 50, adam)(data[0]).argmax(1)
    tensor([1, 0])
    """
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    step = 0
    for step, (inputs, targets) in zip(range(1, steps + 1), batches):
        value = loss(model(inputs), targets)
        if not value.isfinite():
            lr = optimizer.param_groups[0]["initial_lr"]
            raise ValueError(
                f"the loss is {value.item()} at step {step}: try a smaller lr than {lr}"
            )
        model.zero_grad()
        value.backward()
        before_update()
        optimizer.step()
        schedule.step()
        after_update(step)
        progress(step, value.item())
        # Free the autograd graph before the next forward pass.
        del value
    if step < steps:
        raise ValueError(
            f"{steps} steps were asked for, and the batches ended after {step}"
        )
    model.zero_grad()
    return model.eval()
