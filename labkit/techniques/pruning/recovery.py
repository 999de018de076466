"""Recovery: BatchNorm measured again, fine-tuning under masks, gradual pruning.

Source of the schedule: Zhu and Gupta 2017 (arXiv:1710.01878).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from labkit import checks
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
    mean. Everything but BatchNorm stays in eval mode.

    Args:
        model: without BatchNorm that keeps statistics, it stays as it is.
        batches: inputs, such as (N, C, H, W); no labels are needed.

    Returns:
        The same model, in eval mode.

    Raises:
        ValueError: there are no batches, or what BatchNorm saw is not finite. After
            this or any other error the model is as it was.
    """
    modules = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    norms = [norm for norm in modules if norm.track_running_stats]
    with _as_before_after_an_error(model, norms):
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            # None is the plain average over all batches, not a decaying one.
            norm.momentum = None
            norm.train()
        for x in batches:
            model(x)
        if any(norm.num_batches_tracked == 0 for norm in norms):
            raise ValueError(
                "BatchNorm got no batches to measure: was the iterator used up before?"
            )
        for norm in norms:
            checks.finite(torch.stack([norm.running_mean, norm.running_var]), "moments")
    return model.eval()


@contextmanager
def _as_before_after_an_error(
    model: nn.Module, norms: list[_BatchNorm]
) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    states = [{k: t.clone() for k, t in n.state_dict().items()} for n in norms]
    try:
        yield
    except BaseException:
        for norm, state in zip(norms, states):
            norm.load_state_dict(state)
        for module, training in modes.items():
            module.training = training
        raise
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


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
    """Train on, in place, with the dropped weights held at zero.

    Args:
        model: left in eval mode.
        batches: of inputs and targets.
        steps: batches to take.
        masks: of the weights to keep; None keeps all.
        lr: learning rate at the start.
        weight_decay: of SGD.
        loss: takes the logits and the targets that `batches` gives: labels, or what a
            teacher adds to them (`labkit.techniques.distillation.soft_targets`).
        progress: called with the step and its loss.

    Returns:
        The same model.

    Raises:
        ValueError: `batches` ends too soon, or the loss is no longer finite.
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

    Args:
        model: left in eval mode.
        batches: of inputs and targets.
        steps: batches to take.
        sparsity: fraction of the weights to drop, in [0, 1).
        lr: learning rate at the start.
        weight_decay: of SGD.
        choose: makes masks of a model and a sparsity.
        loss: takes the logits and the targets that `batches` gives.
        progress: called with the step and its loss.

    Returns:
        The same model.

    Raises:
        ValueError: as `finetune_`.
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


def prune_in_rounds_(
    model: nn.Module,
    batches: Batches,
    steps: int,
    sparsity: float,
    rounds: int,
    lr: float = 0.02,
    weight_decay: float = 5e-4,
    choose: Callable[[nn.Module, float], Masks] = lamp_masks,
) -> nn.Module:
    """Prune and train on, in place, in rounds that each drop the same share of what is
    left (Han et al. 2015, arXiv:1506.02626). One round is one shot.

    Args:
        model: left in eval mode.
        batches: of inputs and targets.
        steps: batches to take in all; each round takes as many.
        sparsity: fraction of the weights to drop in the end, in [0, 1).
        rounds: how many, from one to as many as there are steps.
        lr: learning rate at the start of each round.
        weight_decay: of SGD.
        choose: makes masks of a model and a sparsity.

    Returns:
        The same model.

    Raises:
        ValueError: as `finetune_`, or the rounds are none, or more than the steps.
    """
    check_sparsity(sparsity)
    if not 1 <= rounds <= steps:
        raise ValueError(f"{steps} steps cannot be shared by {rounds} rounds")
    batches = iter(batches)
    for i in range(1, rounds + 1):
        masks = choose(model, 1 - (1 - sparsity) ** (i / rounds))
        apply_masks_(model, masks)
        finetune_(model, batches, steps // rounds, masks, lr, weight_decay)
    return model


def without_dropout_(model: nn.Module) -> nn.Module:
    """Turn dropout off, in place: pruning has taken the capacity that it would hide
    (Han et al. 2015, arXiv:1506.02626, section 3.2).

    >>> without_dropout_(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))[1].p
    0.0
    """
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0
    return model
