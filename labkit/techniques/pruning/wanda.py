"""Wanda: choose what to drop by a weight's size times that of the input that it meets.

Source: Sun et al. 2024 (arXiv:2306.11695).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn

from labkit import checks
from labkit.techniques.pruning.magnitude import Masks, check_sparsity, keep_largest


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
    feature j over all tokens of `batches`. All norms are those of the dense model, in
    one pass. The paper goes from block to block, and measures each behind blocks that
    are pruned already.

    Args:
        model: in eval mode.
        batches: what the model is called with, as in `model(batch)`: for a language
            model token ids, int64 (batch, length).
        sparsity: fraction of every row to drop, in [0, 1).
        layers: full names of Linear layers; None means all, the last one included, and
            an embedding that shares its weight. The paper leaves these two as they are.

    Raises:
        ValueError: a name is no Linear layer, two layers share a weight, a layer
            received no input, numbers are not finite, or the model is in train mode.

    >>> masks = wanda_masks(nn.Sequential(nn.Linear(4, 2)), [torch.ones(3, 4)], 0.5)
    >>> masks["0.weight"].sum(1)
    tensor([2, 2])
    """
    check_sparsity(sparsity)
    linear = _linear_layers(model, layers)
    norms = input_norms(model, batches, linear)
    return {
        f"{name}.weight": keep_largest(
            checks.plain(layer.weight, name).abs() * norms[name], sparsity
        )
        for name, layer in linear.items()
    }


def _linear_layers(
    model: nn.Module, names: Iterable[str] | None
) -> dict[str, nn.Module]:
    if isinstance(names, str):
        raise ValueError(f"layers are a list of names, got the one string {names!r}")
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    names = list(linear if names is None else names)
    if unknown := [name for name in names if name not in linear]:
        raise ValueError(
            f"the model has no Linear layer called {', '.join(unknown)}; give names in "
            f"full; some that it has: {', '.join([*linear][:12])}"
        )
    if not names:
        raise ValueError(f"no Linear layer of {type(model).__name__} is to be pruned")
    first: dict[object, str] = {}
    for name in names:
        if (other := first.setdefault(linear[name].weight, name)) != name:
            raise ValueError(f"{other} and {name} share a weight: name one of the two")
    return {name: linear[name] for name in names}


@torch.no_grad()
def input_norms(
    model: nn.Module, batches: Iterable[torch.Tensor], layers: dict[str, nn.Module]
) -> dict[str, torch.Tensor]:
    """‖X_j‖₂ of every input feature j over all tokens of the batches.

    Only sums of squares are kept, and never the inputs.

    Returns:
        By the name of the layer, float32 (in_features,).

    Raises:
        ValueError: a layer received no input, or the model is in train mode.
    """
    checks.evaluating(model)
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
