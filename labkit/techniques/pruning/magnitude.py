"""Pruning by magnitude, alone or times the input; and the ways back to accuracy.

Sources: global and layer-wise magnitude pruning as compared by Blalock et al. 2020
(arXiv:2003.03033); Wanda, weights and activations, Sun et al. 2024 (arXiv:2306.11695);
fine-tuning under a fixed mask, Han et al. 2015 (arXiv:1506.02626);
pruning while training, Zhu and Gupta 2017 (arXiv:1710.01878);
structured pruning by dependency graph, Fang et al. 2023 (arXiv:2301.12900), through the
Torch-Pruning library.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

from labkit import checks

#: parameter name → bool tensor of the weight's shape, True where the weight is kept
Masks = dict[str, torch.Tensor]


def prunable(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that pruning considers: those of every Conv2d and Linear, by
    parameter name.

    Biases and BatchNorm parameters are left out: they are few, and each serves a whole
    channel. Of a weight that two layers share, the first name is given.

    Raises:
        ValueError: there is none, or a library holds one as integers.

    >>> list(prunable(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))))
    ['0.weight']
    """
    names: dict[torch.Tensor, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            names.setdefault(module.weight, name)
    if not names:
        raise ValueError(f"{type(model).__name__} has no Conv2d and no Linear layer")
    return {f"{name}.weight": checks.plain(w, name) for w, name in names.items()}


def global_masks(model: nn.Module, sparsity: float) -> Masks:
    """Masks that drop the smallest weights of the whole network by magnitude: one
    threshold, unequal layers.

    Same choice as `torch.nn.utils.prune.global_unstructured` with `L1Unstructured`.

    Args:
        model: whose prunable weights are considered.
        sparsity: fraction of them to drop, in [0, 1).

    Raises:
        ValueError: as `prunable`, the sparsity is another, or weights are not finite.

    >>> model = nn.Sequential(nn.Linear(100, 50), nn.Linear(50, 10))
    >>> masks = global_masks(model, 0.8)
    >>> sum(mask.sum().item() for mask in masks.values())  # of 5,500
    1100
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

    >>> masks = layer_masks(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2)), 0.5)
    >>> [mask.sum().item() for mask in masks.values()]
    [4, 2]
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

    >>> masks = lamp_masks(nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2)), 0.75)
    >>> sum(mask.sum().item() for mask in masks.values())  # of 12
    3
    """
    scores = {}
    for name, w in prunable(model).items():
        squares, order = w.flatten().float().square().sort(descending=True)
        scores[name] = torch.empty_like(squares)
        scores[name][order] = squares / squares.cumsum(0).clamp(min=1e-30)
    kept = keep_largest(torch.cat([*scores.values()]), sparsity)
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.view_as(w) for (name, w), part in zip(prunable(model).items(), parts)
    }


def check_sparsity(sparsity: float) -> None:
    """Raises ValueError for what is no fraction from 0 to below 1."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is a fraction in [0, 1), got {sparsity}")


def keep_largest(magnitudes: torch.Tensor, sparsity: float) -> torch.Tensor:
    """True for all but the round(sparsity * n) smallest of n entries.

    Args:
        magnitudes: (n,), or (rows, n), of which each row is judged by itself.
        sparsity: fraction to drop, in [0, 1).

    Returns:
        bool, of the same shape.

    Raises:
        ValueError: the sparsity is another, or magnitudes are not finite: NaN is
            neither large nor small.

    >>> keep_largest(torch.tensor([3.0, 1.0, 4.0, 2.0]), 0.5)
    tensor([ True, False,  True, False])
    """
    check_sparsity(sparsity)
    checks.finite(magnitudes, "magnitudes")
    count = round(sparsity * magnitudes.shape[-1])
    dropped = magnitudes.topk(count, largest=False).indices
    return torch.ones_like(magnitudes, dtype=torch.bool).scatter(-1, dropped, False)


@torch.no_grad()
def apply_masks_(model: nn.Module, masks: Masks) -> nn.Module:
    """Set the dropped weights to zero, in place; the masks leave no other trace.

    A weight that is held in few bits (`labkit.techniques.quantization.packed`) keeps
    its grid, and an adapter beside it stays.

    Raises:
        ValueError: the masks are not those of this model, or `torch.nn.utils.prune`
            has its own; the model is as it was.

    >>> model = nn.Linear(4, 2)
    >>> apply_masks_(model, layer_masks(model, 0.5)).weight.count_nonzero().item()
    4
    """
    for name, mask in masks.items():
        _check_mask(checks.unmasked(model), name, mask)
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


def _check_mask(model: nn.Module, name: str, mask: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
        held = parametrize.is_parametrized(module, leaf)
        weight = getattr(module, leaf) if held else module.get_parameter(leaf)
    except AttributeError as error:
        raise ValueError(f"a mask is for {name}, which the model lacks") from error
    if mask.dtype != torch.bool or mask.shape != weight.shape:
        raise ValueError(
            f"the mask of {name} is {mask.dtype}, {tuple(mask.shape)}; a mask is bool, "
            f"of the shape of the weight, {tuple(weight.shape)}"
        )


def pruned(model: nn.Module, masks: Masks) -> nn.Module:
    """A pruned copy; the original stays as it is.

    Raises:
        ValueError: as `apply_masks_`.

    >>> model = nn.Linear(4, 2)
    >>> copied = pruned(model, layer_masks(model, 0.5))
    >>> copied.weight.count_nonzero().item(), model.weight.count_nonzero().item()
    (4, 8)
    """
    return apply_masks_(checks.copied(model), masks)
