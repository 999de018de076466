"""Magnitude pruning, and the ways back to accuracy after it.

Sources: global and layer-wise magnitude pruning as compared by Blalock et al. 2020
(arXiv:2003.03033); fine-tuning under a fixed mask, Han et al. 2015 (arXiv:1506.02626);
pruning while training, Zhu and Gupta 2017 (arXiv:1710.01878);
structured pruning by dependency graph, Fang et al. 2023 (arXiv:2301.12900), through the
Torch-Pruning library.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from labkit.techniques.training import Batches, Loss, Progress, descend

Masks = dict[
    str, torch.Tensor
]  # parameter name → bool tensor of the weight's shape, True where the weight is kept


def prunable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that pruning considers: those of every Conv2d and Linear, by
    parameter name.

    Biases and BatchNorm parameters are left out: they are few, and each serves a whole
    channel.
    """
    return {
        f"{name}.weight": module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    }


def global_masks(model: nn.Module, sparsity: float) -> Masks:
    """Masks that drop the smallest |w| of the whole network: one threshold, unequal
    layers.

    `sparsity` is the fraction of prunable weights to drop, in [0, 1). Same choice as
    `torch.nn.utils.prune.global_unstructured` with `L1Unstructured`.
    """
    weights = prunable(model)
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    kept = _largest(magnitudes, sparsity).split([w.numel() for w in weights.values()])
    return {name: mask.view_as(w) for (name, w), mask in zip(weights.items(), kept)}


def layer_masks(model: nn.Module, sparsity: float) -> Masks:
    """Masks that drop the same fraction of every layer: one sparsity, unequal
    thresholds.
    """
    return {
        name: _largest(w.abs().flatten(), sparsity).view_as(w)
        for name, w in prunable(model).items()
    }


def lamp_masks(model: nn.Module, sparsity: float) -> Masks:
    """Masks that drop the weights of smallest LAMP score: w² over the sum of the
    squares of its layer's weights that are not smaller.

    The largest weight of every layer scores 1, so that no layer is emptied, and layers
    of different scale can share one threshold (Lee et al. 2021, arXiv:2010.07611).
    """
    scores = {}
    for name, w in prunable(model).items():
        squares, order = w.flatten().square().sort(descending=True)
        scores[name] = torch.empty_like(squares)
        scores[name][order] = squares / squares.cumsum(0).clamp(min=1e-30)
    kept = _largest(torch.cat([*scores.values()]), sparsity)
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.view_as(w) for (name, w), part in zip(prunable(model).items(), parts)
    }


def _check(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is a fraction in [0, 1), got {sparsity}")


def _largest(magnitudes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """True for all but the round(sparsity * n) smallest entries."""
    _check(sparsity)
    dropped = magnitudes.topk(round(sparsity * len(magnitudes)), largest=False).indices
    return torch.ones_like(magnitudes, dtype=torch.bool).index_fill(0, dropped, False)


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Masks) -> nn.Module:
    """Set the dropped weights to zero, in place; the masks leave no other trace."""
    for name, mask in masks.items():
        # Not multiplied by the mask: that would turn negative weights into -0.0.
        model.get_parameter(name).masked_fill_(~mask, 0)
    return model


def pruned(model: nn.Module, masks: Masks) -> nn.Module:
    """A pruned copy; the original stays as it is."""
    return apply_masks(copy.deepcopy(model), masks)


@torch.no_grad()
def reestimate_batchnorm(
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
        norm.momentum = (
            None  # None: the plain average over all batches, not a decaying one
        )
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


def finetune(
    model: nn.Module,
    batches: Batches,
    steps: int,
    masks: Masks | None = None,
    lr: float = 0.01,
    weight_decay: float = 1e-4,
    progress: Progress = lambda step, loss: None,
) -> nn.Module:
    """Train on, in place, for `steps` batches of (inputs, labels), with the dropped
    weights held at zero.

    `progress(step, loss)` is called after every step. Raises ValueError if `batches`
    ends too soon or the loss is no longer finite.
    """

    def drop(step: int) -> None:
        # Momentum and weight decay would bring dropped weights back.
        apply_masks(model, masks or {})

    optimizer = _sgd(model, lr, weight_decay)
    return descend(
        model, batches, steps, optimizer, after_update=drop, progress=progress
    )


def prune_gradually(
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
    `finetune` does.
    """
    _check(sparsity)
    ramp, masks = max(1, steps // 2), {}

    def drop(step: int) -> None:
        if step <= ramp and (step % 20 == 0 or step == ramp):
            masks.update(choose(model, sparsity * (1 - (1 - step / ramp) ** 3)))
        apply_masks(model, masks)

    optimizer = _sgd(model, lr, weight_decay)
    return descend(
        model, batches, steps, optimizer, loss, after_update=drop, progress=progress
    )


def _sgd(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )


def prune_channels(
    model: nn.Module, example: torch.Tensor, sparsity: float, keep: Iterable[nn.Module]
) -> nn.Module:
    """A smaller dense copy: whole channels are removed, the fraction `sparsity` of
    every group.

    Channels that are added or concatenated must go together; Torch-Pruning finds these
    groups (Fang et al. 2023) and ranks them by their L1 norm. `keep` lists modules
    whose outputs stay, such as the classifier. `example` is one input batch (N, C, H,
    W).
    """
    import torch_pruning

    model, kept = copy.deepcopy((model, list(keep)))
    torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=sparsity,
        ignored_layers=kept,
        # Kernels work on 8 or 16 channels at once: 37 channels cost as much as 40.
        round_to=8,
    ).step()
    return model.eval()
