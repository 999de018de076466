"""What tools ask of a tensor or a model before they work on it: else a ValueError in words."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd


def finite(numbers: torch.Tensor, what: str) -> torch.Tensor:
    """The same tensor.

    Raises:
        ValueError: some of its numbers are NaN or infinite.

    >>> finite(torch.tensor([1.0, torch.nan]), "weights")
    Traceback (most recent call last):
    ValueError: 1 of 2 weights are not finite: find out where they come from
    """
    broken = numbers.numel() - int(numbers.detach().isfinite().sum())
    if broken:
        raise ValueError(f"{broken} of {numbers.numel()} {what} are not finite: find out where they come from")
    return numbers


def plain(weight: torch.Tensor, layer: str = "the layer") -> torch.Tensor:
    """The weight of a layer without its gradient.

    Raises:
        ValueError: a library holds it as integers or in a tensor of its own.
    """
    plain = weight.detach()
    if type(plain) is not torch.Tensor or not plain.is_floating_point():
        kind = type(weight).__name__
        raise ValueError(f"the weight of {layer} is quantized ({kind}, {weight.dtype}): do this before")
    return plain


def unmasked(model: nn.Module) -> nn.Module:
    """The same model.

    Raises:
        ValueError: `torch.nn.utils.prune` masks it: a weight is then computed anew at every call, so that it cannot be
            copied, and what is written to it is lost.
    """
    for name, _ in model.named_buffers():
        path, _, leaf = name.rpartition(".")
        parameter = leaf.removesuffix("_mask")
        if parameter != leaf and f"{parameter}_orig" in model.get_submodule(path)._parameters:
            raise ValueError(
                f"torch.nn.utils.prune masks the {parameter} of {path or 'the model'}: make the masks permanent first, "
                f"with torch.nn.utils.prune.remove(module, {parameter!r})"
            )
    return model


def copied(model: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        ValueError: the model cannot be copied.
    """
    try:
        return copy.deepcopy(unmasked(model))
    except RuntimeError as error:  # a tensor that was computed is kept as an attribute
        raise ValueError(
            f"{type(model).__name__} cannot be copied ({error}): detach the tensors that it keeps"
        ) from error


def _share(module: nn.Module, name: str) -> float:
    """A number that attention, recurrent layers or norms keep; 0 where there is none, or a layer of that name."""
    value = getattr(module, name, 0)
    return value if isinstance(value, (int, float)) else 0


def evaluating(model: object) -> None:
    """Refuse a network whose answers are random, or change it.

    Raises:
        ValueError: dropout is on, or BatchNorm goes by the batch.
    """
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        drops = isinstance(module, _DropoutNd) or type(module).__name__ == "StochasticDepth"  # torchvision's
        at_random = (drops and module.p > 0) or isinstance(module, nn.RReLU) or _share(module, "dropout") > 0
        by_batch = isinstance(module, _BatchNorm) or _share(module, "track_running_stats") > 0
        if module.training and (at_random or by_batch):
            raise ValueError(
                f"{name or 'the model'} ({type(module).__name__}) is in train mode: call model.eval() first"
            )
