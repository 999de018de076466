"""Knowledge distillation: learn from a teacher's predictions beside the labels.

Source: Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), section 2. The training loop
stays the one of `training.train_`: `with_teacher` adds the predictions to the batches,
and `distillation_loss` takes them as part of the targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from labkit import checks
from labkit.techniques.training import Batches

Targets = tuple[torch.Tensor, torch.Tensor]  #: the teacher's logits, and the labels


def distillation_loss(
    logits: torch.Tensor,
    targets: Targets,
    temperature: float = 3.0,
    weight: float = 0.9,
) -> torch.Tensor:
    """weight · T² · KL(teacher ‖ student) + (1 − weight) · cross-entropy with the
    labels.

    Both distributions of the divergence are softened: the softmax is of logits over the
    `temperature` T, so that the classes that the teacher thinks unlikely count, too.
    That makes the gradient of the divergence about T² times smaller: once because the
    logits are divided by T, and once because softened distributions differ T times
    less. The factor T² makes up for it, and the two terms keep their shares whatever
    the temperature.

    Args:
        logits: the student's, (N, C).
        targets: the teacher's logits (N, C) and the labels (N,).
        temperature: T, above zero.
        weight: of the divergence, in [0, 1].

    Returns:
        A scalar, in nats, the mean over the batch.

    Raises:
        ValueError: the logits differ in shape, or temperature or weight is out of
            range.

    >>> logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> distillation_loss(logits, (logits, labels), weight=1.0).item()  # they agree
    0.0
    """
    teacher_logits, labels = targets
    _check(logits, teacher_logits, temperature, weight)
    divergence = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    cross_entropy = F.cross_entropy(logits, labels)
    return weight * temperature**2 * divergence + (1 - weight) * cross_entropy


def _check(
    logits: torch.Tensor, teacher: torch.Tensor, temperature: float, weight: float
) -> None:
    if logits.shape != teacher.shape:  # some others would be broadcast, silently
        raise ValueError(
            f"the student's logits are {tuple(logits.shape)} and the teacher's "
            f"{tuple(teacher.shape)}; both must be (N, C), with the same classes C"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is a number above 0, got {temperature}")
    if not 0 <= weight <= 1:
        raise ValueError(
            f"weight is the teacher's share of the loss, in [0, 1], got {weight}"
        )


def with_teacher(
    batches: Batches, teacher: nn.Module
) -> Iterator[tuple[torch.Tensor, Targets]]:
    """The batches of (inputs, labels) as (inputs, (teacher_logits, labels)).

    The teacher sees the very inputs that the student will see, augmentation included.
    It predicts in eval mode and without a graph, and is in its own mode again whenever
    a batch is handed out.

    Raises:
        ValueError: its predictions are not finite.

    >>> batch = torch.ones(1, 3), torch.tensor([0])
    >>> inputs, (logits, labels) = next(with_teacher([batch], nn.Linear(3, 10)))
    >>> logits.shape, logits.requires_grad
    (torch.Size([1, 10]), False)
    """
    for inputs, labels in batches:
        yield inputs, (_answers(teacher, inputs), labels)


@torch.no_grad()
def _answers(teacher: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    # Of every module by itself: some may be in eval mode in a network that trains.
    modes = {module: module.training for module in teacher.modules()}
    teacher.eval()
    try:
        return checks.finite(teacher(inputs), "predictions of the teacher")
    finally:
        for module, training in modes.items():
            module.training = training
