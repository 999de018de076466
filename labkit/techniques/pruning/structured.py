"""Structured pruning: whole channels are removed, and a smaller dense network is left.

Sources: Li et al. 2017 (arXiv:1608.08710); DepGraph, Fang et al. 2023
(arXiv:2301.12900).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from labkit import checks
from labkit.techniques.pruning.magnitude import check_sparsity


def channels_pruned(
    model: nn.Module, example: torch.Tensor, sparsity: float, keep: Iterable[nn.Module]
) -> nn.Module:
    """A smaller dense copy: whole channels are removed, the same fraction of every
    group.

    Channels that are added or concatenated must go together; Torch-Pruning finds these
    groups (Fang et al. 2023) and ranks them by their L1 norm.

    Args:
        model: is left as it is.
        example: one input batch (N, C, H, W).
        sparsity: fraction of the channels to remove, in [0, 1). What stays of a group
            is rounded down to a multiple of 8.
        keep: modules whose outputs stay, such as the classifier.

    Returns:
        The copy, in eval mode.

    Raises:
        ValueError: no channel can be removed, a module to keep is not the model's,
            weights are not finite, or the sparsity is another.
    """
    import torch_pruning

    check_sparsity(sparsity)
    keep, names = list(keep), {m: name for name, m in model.named_modules()}
    if not all(module in names for module in keep):
        raise ValueError("a module to keep is no part of the model: take it from there")
    for name, weight in model.named_parameters():
        checks.finite(weight, f"numbers of {name}")
    trained = {name: weight.requires_grad for name, weight in model.named_parameters()}
    # Torch-Pruning follows the gradients from layer to layer: without them it finds no
    # group, and says nothing.
    with torch.inference_mode(False), torch.enable_grad():
        copied = checks.copied(model).eval().requires_grad_(True)
        torch_pruning.pruner.BasePruner(
            copied,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=sparsity,
            ignored_layers=[copied.get_submodule(names[module]) for module in keep],
            # Kernels work on 8 or 16 channels at once: 37 channels cost as much as 40.
            round_to=8,
        ).step()
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, copied))
    if sparsity and before == after:
        raise ValueError(
            f"no channel was removed at sparsity {sparsity}: every group is kept, or "
            "has too few channels for a multiple of 8"
        )
    for name, weight in copied.named_parameters():
        weight.requires_grad_(trained[name])
    return copied
