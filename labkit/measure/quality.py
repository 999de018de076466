"""What a model is worth: accuracy and agreement of a classifier, perplexity of a language model, and their losses."""

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from labkit import checks
from labkit.measure.measurement import CONFIDENCE, Measurement, averaged, mean_with_interval

Z95 = 1.959964  # 97.5 % point of the normal distribution: a two-sided 95 % interval


@torch.no_grad()
def predict(model: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, batch: int = 100) -> torch.Tensor:
    """Class of every input, in batches.

    Args:
        model: inputs (n, …) to logits (n, classes), in eval mode.
        inputs: (N, …), on the model's device.
        batch: inputs of one call.

    Returns:
        int64 (N,).

    Raises:
        ValueError: the model is in train mode, its logits are of another shape, or of some input the largest is not
            finite: then there is no answer.

    >>> predict(lambda x: x, torch.tensor([[0.1, 0.9], [0.8, 0.2]]))
    tensor([1, 0])
    """
    checks.evaluating(model)
    if batch < 1:
        raise ValueError(f"a batch is one input or more, got {batch}")
    return torch.cat([_classes(model(x), len(x)) for x in inputs.split(batch)])


def _classes(logits: torch.Tensor, n: int) -> torch.Tensor:
    if logits.dim() != 2 or len(logits) != n or logits.shape[1] < 1:
        raise ValueError(f"logits of {n} inputs are ({n}, classes), got {tuple(logits.shape)}")
    checks.finite(logits.amax(1), "answers")  # of NaN, argmax makes a class like any other
    return logits.argmax(1)


def accuracy(predictions: torch.Tensor, labels: torch.Tensor) -> Measurement:
    """Percentage of predictions that equal the labels, with Wilson's 95 % interval (Wilson 1927).

    Args:
        predictions: int64 (N,).
        labels: int64 (N,).

    Raises:
        ValueError: the shapes differ or are empty.

    >>> print(accuracy(torch.tensor([3, 1, 4, 1]), torch.tensor([3, 1, 4, 2])))
    75.0% [30.1, 95.4]
    """
    return _proportion(_equal(predictions, labels))


def agreement(predictions: torch.Tensor, others: torch.Tensor) -> Measurement:
    """Percentage of inputs on which two models choose the same class, with its 95 % interval.

    It needs no labels. It bounds the accuracy lost: two models cannot differ in accuracy by more than they disagree.

    Raises:
        ValueError: the shapes differ or are empty.

    >>> agreement(torch.tensor([3, 1]), torch.tensor([3, 2])).short
    '50.0%'
    """
    return accuracy(predictions, others)


def accuracy_loss(predictions: torch.Tensor, reference: torch.Tensor, labels: torch.Tensor) -> Measurement:
    """Points of accuracy lost against a reference model on the same inputs, with a 95 % interval.

    The interval is that of paired proportions (Agresti and Min 2005): inputs that both models get right or both wrong
    say nothing, so it is tighter than two intervals side by side.

    Args:
        predictions: int64 (N,).
        reference: predictions of the reference model, int64 (N,).
        labels: int64 (N,).

    Raises:
        ValueError: the shapes differ or are empty.

    >>> accuracy_loss(torch.tensor([3, 2]), torch.tensor([3, 1]), labels=torch.tensor([3, 1])).short
    '50.0 points'
    """
    ours, theirs = _equal(predictions, labels), _equal(reference, labels)
    n = labels.numel()
    lost = (theirs & ~ours).sum().item()
    won = (ours & ~theirs).sum().item()
    # Half an observation is added to each of the four cells.
    b, c = lost + 0.5, won + 0.5
    m = n + 2
    centre = (b - c) / m
    half = Z95 * math.sqrt(b + c - (b - c) ** 2 / m) / m
    value = (lost - won) / n
    low, high = min(centre - half, value), max(centre + half, value)
    return Measurement(100 * value, 100 * low, 100 * high, "points", n, CONFIDENCE, "paired proportions")


@torch.no_grad()
def block_losses(model: nn.Module, blocks: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood, in nats, of a token given those before it in its block.

    Args:
        model: `model(block).logits` are (1, length, vocabulary); in eval mode.
        blocks: token ids, int64 (n, length), on the model's device.

    Returns:
        float64 (n,), on the CPU.

    Raises:
        ValueError: there is no block, blocks have fewer than two tokens, the model is in train mode, or a loss is not
            finite.
    """
    if blocks.dim() != 2 or len(blocks) < 1 or blocks.shape[1] < 2:
        raise ValueError(
            f"blocks are (n, length) with one block or more of two tokens or more, got {tuple(blocks.shape)}"
        )
    checks.evaluating(model)
    losses = [F.cross_entropy(model(block[None]).logits[0, :-1].float(), block[1:]) for block in blocks]
    return checks.finite(torch.stack(losses), "losses").double().cpu()


def perplexity(losses: torch.Tensor, sources: Sequence[Hashable] | None = None) -> Measurement:
    """exp of the mean of `block_losses`, with its 95 % interval over blocks, or over what they come from.

    Args:
        losses: (n,).
        sources: what each block was cut from, (n,). Blocks of one source are alike: its mean counts once, and n is the
            number of sources. None takes every block for a source of its own.

    Raises:
        ValueError: losses are not finite or so large that their exp is not.

    >>> print(perplexity(torch.tensor([2.0, 2.2, 2.2, 2.3]), ["a", "a", "b", "c"]))
    9.03 [7.04, 11.6]
    """
    return _exp(_mean_loss(losses, sources), "")


def perplexity_ratio(
    losses: torch.Tensor, reference: torch.Tensor, sources: Sequence[Hashable] | None = None
) -> Measurement:
    """How many times the perplexity of one model is that of another on the same blocks, with a 95 % interval.

    It rests on the differences block by block: that one text is harder than another does not blur it, so that it is far
    tighter than two intervals side by side.

    Args:
        losses: as `block_losses` gives them, (n,).
        reference: those of the other model.
        sources: as in `perplexity`.

    Raises:
        ValueError: the losses are of different numbers of blocks, or as `perplexity`.

    >>> perplexity_ratio(torch.tensor([2.1, 3.1]), torch.tensor([2.0, 3.0])).short
    '1.11×'
    """
    return _exp(loss_difference(losses, reference, sources), "×")


def _exp(loss: Measurement, unit: str) -> Measurement:
    try:
        return loss.through(math.exp, unit)
    except OverflowError as error:
        raise ValueError(f"the exp of {loss} is no number any more: compare the losses themselves") from error


def loss_difference(
    losses: torch.Tensor, reference: torch.Tensor, sources: Sequence[Hashable] | None = None
) -> Measurement:
    """Nats per token that a model loses above another on the same blocks; as `perplexity_ratio`.

    >>> loss_difference(torch.tensor([2.1, 3.2]), torch.tensor([2.0, 3.0])).short
    '0.150 nats'
    """
    if losses.shape != reference.shape:
        raise ValueError(f"need losses of the same blocks, got {len(losses)} and {len(reference)}")
    return _mean_loss(losses - reference, sources)


def _mean_loss(losses: torch.Tensor, sources: Sequence[Hashable] | None) -> Measurement:
    if losses.dim() != 1 or not len(losses):
        raise ValueError(f"losses are a row, one of each block, got shape {tuple(losses.shape)}")
    checks.finite(losses, "losses")
    if sources is None:
        return mean_with_interval(losses.tolist(), "nats", "blocks")
    if len(sources) != len(losses):
        raise ValueError(f"each block has a source, got {len(losses)} blocks and {len(sources)} sources")
    by_source: dict[Hashable, list[float]] = {}
    for source, loss in zip(sources, losses.tolist()):
        by_source.setdefault(source, []).append(loss)
    return mean_with_interval([sum(group) / len(group) for group in by_source.values()], "nats", "sources")


def _equal(predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if predictions.shape != labels.shape or labels.numel() == 0:
        raise ValueError(
            f"need as many predictions as labels, and at least one: {tuple(predictions.shape)} "
            f"against {tuple(labels.shape)}"
        )
    return predictions.cpu() == labels.cpu()


def _proportion(hits: torch.Tensor) -> Measurement:
    n, p = hits.numel(), hits.double().mean().item()
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    # At 0 and 1 rounding may put the bound a hair on the wrong side of the value.
    low, high = min(max(0.0, centre - half), p), max(min(1.0, centre + half), p)
    return Measurement(100 * p, 100 * low, 100 * high, "%", n, CONFIDENCE, "Wilson")


def agreement_by_source(predictions: torch.Tensor, others: torch.Tensor, sources: Sequence[Hashable]) -> Measurement:
    """`agreement`, where several inputs come from one source and are alike: crops of one photograph.

    The mean of each source counts once, with Student's t over the sources. Its interval may end beyond 0 or 100 %.

    Args:
        predictions: int64 (N,).
        others: those of the other model, int64 (N,).
        sources: what each input was made from, (N,).

    Raises:
        ValueError: the lengths differ or are zero.

    >>> print(agreement_by_source(torch.tensor([3, 1, 2]), torch.tensor([3, 0, 2]), ["cat", "cat", "cup"]))
    75.0% [-243, 393]
    """
    same = _equal(predictions, others)
    if len(sources) != len(same):
        raise ValueError(f"each input has a source, got {len(same)} inputs and {len(sources)} sources")
    by_source: dict[Hashable, list[bool]] = {}
    for source, hit in zip(sources, same.tolist()):
        by_source.setdefault(source, []).append(hit)
    return mean_with_interval([100 * sum(hits) / len(hits) for hits in by_source.values()], "%", "sources")


def mean_accuracy_loss(
    runs: Sequence[torch.Tensor],
    reference: torch.Tensor | Sequence[torch.Tensor],
    labels: torch.Tensor,
    over: str = "seeds",
) -> Measurement:
    """Points of accuracy that runs lose on average against a reference, or each against its own.

    The interval holds what the runs do and what the images leave open, as `averaged` joins them.

    Args:
        runs: predictions of each run, int64 (N,).
        reference: predictions of the reference model, int64 (N,), or those of one for each run.
        labels: int64 (N,).
        over: what the runs differ by, in the plural.

    Raises:
        ValueError: there are not as many references as runs, or the shapes differ.

    >>> right, wrong = torch.tensor([3, 1]), torch.tensor([3, 2])
    >>> mean_accuracy_loss([wrong, right], right, labels=right).short
    '25.0 points'
    """
    each = [reference] * len(runs) if isinstance(reference, torch.Tensor) else reference
    return averaged([accuracy_loss(run, of, labels) for run, of in zip(runs, each, strict=True)], over)
