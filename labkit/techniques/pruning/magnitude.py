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

import torch
from torch import nn
from torch.nn.utils import parametrize

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
    kept = keep_largest(magnitudes, sparsity).split(
        [w.numel() for w in weights.values()]
    )
    return {name: mask.view_as(w) for (name, w), mask in zip(weights.items(), kept)}


def layer_masks(model: nn.Module, sparsity: float) -> Masks:
    """Masks that drop the same fraction of every layer: one sparsity, unequal
    thresholds.
    """
    return {
        name: keep_largest(w.abs().flatten(), sparsity).view_as(w)
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
    kept = keep_largest(torch.cat([*scores.values()]), sparsity)
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.view_as(w) for (name, w), part in zip(prunable(model).items(), parts)
    }


def check_sparsity(sparsity: float) -> None:
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is a fraction in [0, 1), got {sparsity}")


def keep_largest(magnitudes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """True for all but the round(sparsity * n) smallest of n entries.

    Of all entries of (n,), or of each row of (rows, n).
    """
    check_sparsity(sparsity)
    count = round(sparsity * magnitudes.shape[-1])
    dropped = magnitudes.topk(count, largest=False).indices
    return torch.ones_like(magnitudes, dtype=torch.bool).scatter(-1, dropped, False)


@torch.no_grad()
def apply_masks_(model: nn.Module, masks: Masks) -> nn.Module:
    """Set the dropped weights to zero, in place; the masks leave no other trace.

    A weight that is held in few bits (`labkit.techniques.quantization.packed`) keeps
    its grid, and an adapter beside it stays.
    """
    for name, mask in masks.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if not parametrize.is_parametrized(module, leaf):
            # Not multiplied by the mask: that would turn negative weights into -0.0.
            getattr(module, leaf).masked_fill_(~mask, 0)
            continue
        held = module.parametrizations[leaf]
        parts = [getattr(held, f"original{i}") for i in range(held.ntensors)]
        kept = held[0](*parts).masked_fill(~mask, 0)
        for part, new in zip(parts, held[0].right_inverse(kept)):
            part.copy_(new)
    return model


def pruned(model: nn.Module, masks: Masks) -> nn.Module:
    """A pruned copy; the original stays as it is."""
    return apply_masks_(copy.deepcopy(model), masks)
