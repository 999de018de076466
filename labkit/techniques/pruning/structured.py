"""Structured pruning: whole channels are removed, and a smaller dense network is left.

Sources: Li et al. 2017 (arXiv:1608.08710); DepGraph, Fang et al. 2023
(arXiv:2301.12900).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import nn


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
        sparsity: fraction of the channels to remove.
        keep: modules whose outputs stay, such as the classifier.
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
