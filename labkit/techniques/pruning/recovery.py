"""Recovery: BatchNorm measured again, fine-tuning under masks, gradual pruning.

Source of the schedule: Zhu and Gupta 2017 (arXiv:1710.01878).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from labkit.techniques.pruning.magnitude import (
    Masks,
    apply_masks_,
    check_sparsity,
    lamp_masks,
)
from labkit.techniques.training import Batches, Loss, Progress, train_


@torch.no_grad()
def reestimate_batchnorm_(
    model: nn.Module, batches: Iterable[torch.Tensor]
) -> nn.Module:
    """Measure BatchNorm's means and variances again, in place, without training a
    weight.

    Pruning shifts what every layer puts out, while BatchNorm still subtracts the old
    mean. `batches` are inputs (N, C, H, W); no labels are needed. Everything but
    BatchNorm stays in eval mode. Raises ValueError if there are none: then the old
    statistics are gone and no new ones came.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        # None is the plain average over all batches, not a decaying one.
        norm.momentum = None
        norm.train()
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    if any(norm.num_batches_tracked == 0 for norm in norms):
        raise ValueError(
            "BatchNorm got no batches to measure: was the iterator used up before?"
        )
    return model.eval()


def finetune_(
    model: nn.Module,
    batches: Batches,
    steps: int,
    masks: Masks | None = None,
    lr: float = 0.01,
    weight_decay: float = 1e-4,
    loss: Loss = F.cross_entropy,
    progress: Progress = lambda step, loss: None,
) -> nn.Module:
    """Train on, in place, for `steps` batches of (inputs, targets), with the dropped
    weights held at zero.

    `loss` takes the logits and the targets that `batches` gives: labels, or what a
    teacher adds to them (`labkit.techniques.distillation.soft_targets`).
    `progress(step, loss)` is called after every step. Raises ValueError if `batches`
    ends too soon or the loss is no longer finite.
    """

    def drop(step: int) -> None:
        # Momentum and weight decay would bring dropped weights back.
        apply_masks_(model, masks or {})

    optimizer = _sgd(model, lr, weight_decay)
    return train_(
        model, batches, steps, optimizer, loss, after_update=drop, progress=progress
    )


def prune_gradually_(
    model: nn.Module,
    batches: Batches,
    steps: int,
    sparsity: float,
    lr: float = 0.1,
    weight_decay: float = 5e-4,
    choose: Callable[[nn.Module, float], Masks] = lamp_masks,
    loss: Loss = F.cross_entropy,
    progress: Progress = lambda step, loss: None,
) -> nn.Module:
    """Train on, in place, while ever more weights are dropped: all of `sparsity` by
    half of the `steps`.

    The masks are chosen again every 20 steps, under the cubic schedule of Zhu and Gupta
    2017 (arXiv:1710.01878): fast at first, when many weights can go, and slowly at the
    end. Until then a dropped weight may come back, if the last step made it large.
    `loss` takes the logits and the targets that `batches` gives. Raises ValueError as
    `finetune_` does.
    """
    check_sparsity(sparsity)
    ramp, masks = max(1, steps // 2), {}

    def drop(step: int) -> None:
        if step <= ramp and (step % 20 == 0 or step == ramp):
            masks.update(choose(model, sparsity * (1 - (1 - step / ramp) ** 3)))
        apply_masks_(model, masks)

    optimizer = _sgd(model, lr, weight_decay)
    return train_(
        model, batches, steps, optimizer, loss, after_update=drop, progress=progress
    )


def _sgd(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
