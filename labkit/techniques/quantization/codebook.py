"""Weight sharing: the weights of a layer take their values from a small codebook.

Source: Deep Compression, Han, Mao and Dally 2016 (arXiv:1510.00149), section 3. The
codebook is found by k-means in one dimension (Lloyd 1982), and its centroids are
trained on with the gradients of the weights that share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from labkit import checks
from labkit.techniques.training import Batches, Loss, Progress, train_

Initialisation = Literal["linear", "density", "random"]


@dataclass(eq=False)
class Codebook:
    """Few values, and which of them each kept weight takes; the other weights are
    zero.
    """

    centroids: torch.Tensor  #: float32 (levels,), ascending when k-means has made them
    codes: torch.Tensor  #: int64 (kept,), indices into `centroids`
    kept: torch.Tensor  #: int64 (kept,), positions in the flattened weight
    shape: torch.Size

    def weight(self) -> torch.Tensor:
        """The weight that the codebook stands for, float32 of `shape`."""
        flat = self.centroids.new_zeros(self.shape.numel())
        flat[self.kept] = self.centroids[self.codes]
        return flat.view(self.shape)

    def gradient(self, weight_gradient: torch.Tensor) -> torch.Tensor:
        """Gradient of every centroid, (levels,): the sum over the weights that share
        it.
        """
        shared = weight_gradient.flatten()[self.kept]
        return torch.zeros_like(self.centroids).index_add_(0, self.codes, shared)


def initial_centroids(
    weights: torch.Tensor, levels: int, how: Initialisation = "linear", seed: int = 0
) -> torch.Tensor:
    """Where k-means starts.

    Args:
        weights: (n,).
        levels: number of centroids.
        how: "linear" spaces the centroids evenly between the smallest and the largest
            weight, so that the few large weights get centroids; "density" evenly over
            the sorted weights, so that each centroid starts with as many; "random"
            draws weights.
        seed: of "random".

    Returns:
        Centroids, (levels,), ascending.

    Raises:
        ValueError: `how` is none of the three, the weights are none or not finite, or
            there are no levels.

    >>> initial_centroids(torch.tensor([0.0, 0.1, 0.2, 1.0]), 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    _check(weights, levels)
    if how == "linear":
        return torch.linspace(weights.min(), weights.max(), levels)
    if how == "density":
        ranks = (torch.arange(levels) + 0.5) / levels * len(weights)
        return weights.msort()[ranks.long()]
    if how == "random":
        draw = torch.Generator().manual_seed(seed)
        return weights[torch.randperm(len(weights), generator=draw)[:levels]].msort()
    raise ValueError(f"initialisation {how!r} is none of linear, density, random")


def kmeans(
    weights: torch.Tensor, centroids: torch.Tensor, rounds: int = 300
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lloyd's algorithm in one dimension.

    In one dimension a cluster is an interval of the sorted weights: it ends at the
    midpoints between centroids, and its mean is a difference of two running sums. So a
    round costs O(k log n), not O(k n). Empty clusters are dropped.

    Args:
        weights: (n,).
        centroids: where it starts, ascending.
        rounds: at most.

    Returns:
        Centroids, (k,), ascending, and the code of every weight, (n,).

    Raises:
        ValueError: weights or centroids are none or not finite.

    >>> kmeans(torch.tensor([0.0, 0.2, 0.9, 1.1]), torch.tensor([0.0, 1.0]))
    (tensor([0.1000, 1.0000]), tensor([0, 0, 1, 1]))
    """
    _check(weights, len(centroids))
    checks.finite(centroids, "centroids")
    ordered = weights.double().msort()
    running = F.pad(ordered.cumsum(0), (1, 0))  # running[i]: sum of the first i weights
    centroids = centroids.double().msort()
    for _ in range(rounds):
        inner = torch.searchsorted(ordered, _midpoints(centroids))
        ends = F.pad(inner, (1, 1))  # cluster c is ordered[ends[c] : ends[c + 1]]
        ends[-1] = len(ordered)
        filled = ends.diff() > 0
        means = (running[ends].diff() / ends.diff())[filled]
        if torch.equal(means, centroids):
            break
        centroids = means
    codes = torch.bucketize(weights.double(), _midpoints(centroids), right=True)
    return centroids.float(), codes


def _check(weights: torch.Tensor, levels: int) -> None:
    if weights.dim() != 1 or not len(weights) or levels < 1:
        raise ValueError(
            f"a codebook is found for a row of weights, got shape "
            f"{tuple(weights.shape)} and {levels} levels"
        )
    checks.finite(weights, "weights")


def _midpoints(centroids: torch.Tensor) -> torch.Tensor:
    return (centroids[1:] + centroids[:-1]) / 2


def share_(
    model: nn.Module,
    bits: Mapping[str, int],
    how: Initialisation = "linear",
    seed: int = 0,
) -> dict[str, Codebook]:
    """Give each named parameter a codebook of 2**bits values, in place.

    One of the values is zero, which pruned weights keep; 2**bits - 1 centroids share
    the others.

    Args:
        model: whose parameters take the values of their codebooks.
        bits: names of parameters to bits: every layer has its own.
        how: as in `initial_centroids`.
        seed: of "random".

    Raises:
        ValueError: nothing is left in a parameter, it is not finite or the model lacks
            it, or bits are fewer than one. The model is as it was.

    >>> model = nn.Linear(100, 10)
    >>> codebooks = share_(model, {"weight": 3})
    >>> len(model.weight.unique())
    7
    """
    codebooks = {}
    for name, width in bits.items():
        weight = _parameter(model, name).detach()
        if width < 1 or not weight.is_floating_point():
            raise ValueError(f"{name}, {weight.dtype}, cannot take {width} bits")
        kept = weight.flatten().nonzero().squeeze(1)
        values = weight.flatten()[kept].cpu()
        if len(values) == 0:
            raise ValueError(f"{name} has no weights left to share: prune it less")
        start = values.unique()
        if len(start) > 2**width - 1:
            start = initial_centroids(values, 2**width - 1, how, seed)
        centroids, codes = (t.to(weight.device) for t in kmeans(values, start))
        codebooks[name] = Codebook(centroids, codes, kept, weight.shape)
    write_back_(model, codebooks)
    return codebooks


def _parameter(model: nn.Module, name: str) -> nn.Parameter:
    try:
        return checks.unmasked(model).get_parameter(name)
    except AttributeError as error:
        raise ValueError(f"the model has no parameter {name!r}") from error


@torch.no_grad()
def write_back_(model: nn.Module, codebooks: Mapping[str, Codebook]) -> None:
    """Set the parameters to what their codebooks say, in place.

    Raises:
        ValueError: the model lacks one, or its shape is another.
    """
    for name, codebook in codebooks.items():
        if (weight := _parameter(model, name)).shape != codebook.shape:
            raise ValueError(
                f"{name} is {tuple(weight.shape)}, its codebook {tuple(codebook.shape)}"
            )
        weight.copy_(codebook.weight())


def finetune_centroids_(
    model: nn.Module,
    codebooks: Mapping[str, Codebook],
    batches: Batches,
    steps: int,
    lr: float = 3e-4,
    loss: Loss = F.cross_entropy,
    progress: Progress = lambda step, loss: None,
) -> nn.Module:
    """Train the centroids on, in place.

    Which weight has which code does not change, nor does any parameter without a
    codebook. Adam (Kingma and Ba 2015), because a centroid's gradient grows with the
    number of weights that share it, and Adam's step does not.

    Args:
        model: of the codebooks.
        codebooks: by parameter name, as `share_` gave them.
        batches: of inputs and targets.
        steps: batches to take.
        lr: learning rate at the start.
        loss: takes the logits and the targets that `batches` gives.
        progress: called with the step and its loss.

    Returns:
        The same model.

    Raises:
        ValueError: `batches` ends too soon, the loss is no longer finite, or a
            parameter with a codebook gets no gradient.
    """

    def sum_by_cluster() -> None:
        for name, book in codebooks.items():
            if (gradient := _parameter(model, name).grad) is None:
                raise ValueError(f"{name} gets no gradient: is it frozen?")
            book.centroids.grad = book.gradient(gradient)

    return train_(
        model,
        batches,
        steps,
        torch.optim.Adam([book.centroids for book in codebooks.values()], lr),
        loss,
        before_update=sum_by_cluster,
        after_update=lambda step: write_back_(model, codebooks),
        progress=progress,
    )


def shared(
    model: nn.Module, bits: int, how: Initialisation = "linear", bias_bits: int = 5
) -> tuple[nn.Module, dict[str, Codebook]]:
    """A copy in which every parameter has a codebook, and the codebooks.

    Args:
        model: stays as it is.
        bits: of the codes of kernels and matrices.
        how: as in `initial_centroids`.
        bias_bits: of the codes of biases, and of all else that has one dimension.

    Raises:
        ValueError: as `share_`, or the model cannot be copied.

    >>> copied, codebooks = shared(nn.Linear(100, 10), 3)
    >>> len(copied.weight.unique()), list(codebooks)
    (7, ['weight', 'bias'])
    """
    model = checks.copied(model)
    named = model.named_parameters()
    widths = {name: bits if p.dim() > 1 else bias_bits for name, p in named}
    return model, share_(model, widths, how)
