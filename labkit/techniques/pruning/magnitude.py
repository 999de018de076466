"""Pruning by magnitude, alone or times the input; and the ways back to accuracy.

Sources: global and layer-wise magnitude pruning as compared by Blalock et al. 2020
(arXiv:2003.03033); Wanda, weights and activations, Sun et al. 2024 (arXiv:2306.11695);
fine-tuning under a fixed mask, Han et al. 2015 (arXiv:1506.02626);
pruning while training, Zhu and Gupta 2017 (arXiv:1710.01878);
structured pruning by dependency graph, Fang et al. 2023 (arXiv:2301.12900), through the
Torch-Pruning library.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from labkit.techniques.training import Batches, Loss, Progress, descend

#: parameter name → bool tensor of the weight's shape, True where the weight is kept
Masks = dict[str, torch.Tensor]


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
    """Masks that drop the smallest weights of the whole network by magnitude: one
    threshold, unequal layers.

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


def wanda_masks(
    model: nn.Module,
    batches: Iterable[torch.Tensor],
    sparsity: float,
    layers: Iterable[str] | None = None,
) -> Masks:
    """Masks that drop, from every row of a Linear weight, the round(sparsity *
    in_features) weights of smallest `|W_ij| ‖X_j‖₂`: a small weight on a large input
    counts, too (Wanda, Sun et al. 2024, arXiv:2306.11695).

    A row makes one output, and its weights compete with one another alone. X_j is input
    feature j over all tokens of `batches`, which are what the model is called with, as
    in `model(batch)`: for a language model token numbers, int64 (batch, length).
    `layers` are full names of Linear layers; None means all, the last one included, and
    an embedding that shares its weight. The paper leaves these two as they are.

    All norms are those of the dense model, in one pass. The paper goes from block to
    block, and measures each behind blocks that are pruned already. The model is called
    as it is: put it in eval mode. Raises ValueError for a name that is no Linear layer,
    or if a layer received no input.
    """
    _check(sparsity)
    linear = _linear_layers(model, layers)
    norms = input_norms(model, batches, linear)
    return {
        f"{name}.weight": _largest(layer.weight.detach().abs() * norms[name], sparsity)
        for name, layer in linear.items()
    }


def _linear_layers(
    model: nn.Module, names: Iterable[str] | None
) -> dict[str, nn.Module]:
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    names = list(linear if names is None else names)
    if unknown := [name for name in names if name not in linear]:
        raise ValueError(
            f"the model has no Linear layer called {', '.join(unknown)}; give names in "
            f"full; some that it has: {', '.join([*linear][:12])}"
        )
    return {name: linear[name] for name in names}


@torch.no_grad()
def input_norms(
    model: nn.Module, batches: Iterable[torch.Tensor], layers: dict[str, nn.Module]
) -> dict[str, torch.Tensor]:
    """‖X_j‖₂ of every input feature j over all tokens of the batches: by the name of
    the layer, float32 (in_features,).

    Only sums of squares are kept, and never the inputs. Raises ValueError if a layer
    received none.
    """
    squares = {}

    def add(name: str, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()  # (tokens, in_features)
        squares[name] = squares.get(name, 0) + x.square().sum(0)

    hooks = [m.register_forward_hook(partial(add, name)) for name, m in layers.items()]
    try:
        for batch in batches:
            model(batch)
    finally:  # or they would go on adding, should a batch not fit the model
        for hook in hooks:
            hook.remove()
    if idle := [name for name in layers if name not in squares]:
        raise ValueError(
            f"no calibration batch reached {', '.join(idle[:12])}: was the iterator "
            "used up before? A layer that the model does not call cannot be measured; "
            "leave it out"
        )
    return {name: total.sqrt() for name, total in squares.items()}


def _check(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is a fraction in [0, 1), got {sparsity}")


def _largest(magnitudes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """True for all but the round(sparsity * n) smallest of n entries.

    Of all entries of (n,), or of each row of (rows, n).
    """
    _check(sparsity)
    count = round(sparsity * magnitudes.shape[-1])
    dropped = magnitudes.topk(count, largest=False).indices
    return torch.ones_like(magnitudes, dtype=torch.bool).scatter(-1, dropped, False)


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


def finetune(
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
        apply_masks(model, masks or {})

    optimizer = _sgd(model, lr, weight_decay)
    return descend(
        model, batches, steps, optimizer, loss, after_update=drop, progress=progress
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
