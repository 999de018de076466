"""Distillation: the divergence of PyTorch's distributions, the limits in the paper, and a teacher left as it was
found.
"""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Categorical, kl_divergence

from labkit.techniques.distillation.soft_targets import distillation_loss, with_teacher
from labkit.techniques.training import train_


def answers(seed: int, n: int = 6, classes: int = 4, scale: float = 3) -> torch.Tensor:
    """Logits (n, classes), in double precision: what is tested is the formula."""
    return scale * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_labels(n: int = 6, classes: int = 4) -> torch.Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(0))


def gradient(student: torch.Tensor, teacher: torch.Tensor, **options) -> torch.Tensor:
    student = student.clone().requires_grad_()
    distillation_loss(student, (teacher, some_labels(*student.shape)), **options).backward()
    return student.grad


# The loss


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.floats(0.5, 20), st.floats(0, 1))
def test_it_is_the_divergence_of_the_softened_answers_and_the_cross_entropy_of_the_plain_ones(
    seed, temperature, weight
):
    student, teacher, labels = answers(seed), answers(seed + 100), some_labels()
    p, q = (Categorical(logits=logits / temperature) for logits in (teacher, student))
    soft, hard = kl_divergence(p, q).mean(), -Categorical(logits=student).log_prob(labels).mean()
    loss = distillation_loss(student, (teacher, labels), temperature, weight)
    torch.testing.assert_close(loss, weight * temperature**2 * soft + (1 - weight) * hard)


def test_by_hand():
    # At T = 2 the teacher says 2/3 to 1/3 and the student 1/2 to 1/2; at T = 1 the student is undecided, too.
    student, teacher, labels = torch.zeros(1, 2), torch.tensor([[2 * math.log(2), 0]]), torch.tensor([0])
    soft = 2 / 3 * math.log((2 / 3) / (1 / 2)) + 1 / 3 * math.log((1 / 3) / (1 / 2))
    loss = distillation_loss(student, (teacher, labels), temperature=2, weight=0.75)
    assert loss.item() == pytest.approx(0.75 * 4 * soft + 0.25 * math.log(2))


def test_without_being_asked_the_temperature_is_3_and_the_teacher_has_nine_tenths():
    student, targets = answers(0), (answers(1), some_labels())
    assert distillation_loss(student, targets) == distillation_loss(student, targets, temperature=3, weight=0.9)


def test_without_a_share_for_the_teacher_it_is_the_cross_entropy():
    student, labels = answers(0), some_labels()
    torch.testing.assert_close(
        distillation_loss(student, (answers(1), labels), weight=0), F.cross_entropy(student, labels)
    )


def test_a_student_that_answers_as_the_teacher_does_has_nothing_to_learn_from_it():
    teacher = answers(0)
    same_answer = teacher + 7  # the softmax does not see what is added to all logits
    for student in (teacher, same_answer):
        loss = distillation_loss(student, (teacher, some_labels()), weight=1)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(gradient(student, teacher, weight=1), torch.zeros_like(teacher))


def test_at_high_temperature_it_matches_centred_logits():
    """Section 2.1 of the paper: the gradient tends to the difference of the logits over the number of classes."""
    student, teacher = answers(0), answers(1)
    n, classes = student.shape
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    options = dict(temperature=1e4, weight=1)
    loss = distillation_loss(student, (teacher, some_labels()), **options)
    torch.testing.assert_close(loss, difference.square().sum(1).mean() / (2 * classes), rtol=2e-3, atol=0)
    torch.testing.assert_close(gradient(student, teacher, **options), difference / classes / n, rtol=0, atol=1e-3)


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    sizes = [gradient(answers(0), answers(1), temperature=t, weight=1).norm().item() for t in (30, 300, 3000)]
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.1)  # without T² each would be a hundredth of the one before


def test_no_gradient_reaches_the_teacher():
    student, teacher = answers(0).requires_grad_(), answers(1)
    distillation_loss(student, (teacher, some_labels())).backward()
    assert student.grad.any() and teacher.grad is None


def test_confident_answers_stay_finite():
    student, teacher = (torch.tensor([row]) for row in ([-2e4, 2e4], [2e4, -2e4]))
    loss = distillation_loss(student, (teacher, torch.tensor([0])), temperature=1)
    assert loss.item() == pytest.approx(4e4)


def test_answers_about_other_classes_are_an_error():
    for shape in [(6, 3), (6, 1), (1, 4), (4,)]:  # of which the last three could be broadcast
        with pytest.raises(ValueError, match=r"student's logits are \(6, 4\).*the same classes"):
            distillation_loss(answers(0), (torch.zeros(shape), some_labels()))


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="temperature is a number above 0"):
        distillation_loss(answers(0), (answers(1), some_labels()), temperature)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_is_a_share(weight):
    with pytest.raises(ValueError, match=r"share of the loss, in \[0, 1\]"):
        distillation_loss(answers(0), (answers(1), some_labels()), weight=weight)


# The teacher


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 4))


def endless(seed: int):
    """Batches of which the labels say nothing: only a teacher knows."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(32, 3, generator=generator), torch.randint(4, (32,), generator=generator)


def test_the_batches_get_the_answers_of_the_teacher_in_eval_mode_and_nothing_else_changes():
    teacher, given = network(0), list(itertools.islice(endless(0), 3))
    expected = copy.deepcopy(teacher).eval()
    handed_out = list(with_teacher(given, teacher.train()))
    assert len(handed_out) == 3
    for (x, y), (inputs, (answer, labels)) in zip(given, handed_out):
        assert inputs is x and labels is y
        assert torch.equal(answer, expected(x))
        assert not answer.requires_grad


def test_the_teacher_is_left_as_it_was_found_after_every_batch():
    teacher = network(0).train()
    teacher[1].eval()  # a frozen BatchNorm in a network that trains
    modes = [module.training for module in teacher.modules()]
    state = copy.deepcopy(teacher.state_dict())
    for _ in itertools.islice(with_teacher(endless(0), teacher), 2):
        assert [module.training for module in teacher.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_the_teacher_is_left_as_it_was_found_when_it_cannot_answer():
    teacher = network(0).train()
    with pytest.raises(RuntimeError):
        next(with_teacher([(torch.zeros(2, 99), torch.zeros(2))], teacher))
    assert all(module.training for module in teacher.modules())


def test_gradients_are_on_while_a_batch_is_used():
    for _ in itertools.islice(with_teacher(endless(0), network(0)), 2):
        assert torch.is_grad_enabled()


def test_no_batch_is_taken_before_it_is_asked_for():
    batches = iter(list(itertools.islice(endless(0), 3)))
    next(with_teacher(batches, network(0)))
    assert len(list(batches)) == 2


# Both


def test_a_student_comes_to_answer_as_its_teacher_does_of_which_the_labels_say_nothing():
    teacher, (x, _) = network(0).eval(), next(endless(1))

    def disagreement(student: nn.Module) -> float:
        p, q = (Categorical(logits=net(x)) for net in (teacher, student.eval()))
        return kl_divergence(p, q).mean().item()

    def taught(weight: float) -> nn.Module:
        student, loss = network(1), partial(distillation_loss, weight=weight)
        optimizer = torch.optim.SGD(student.parameters(), 0.1)
        return train_(student, with_teacher(endless(0), teacher), 60, optimizer, loss=loss)

    assert disagreement(taught(1)) < 0.5 * disagreement(network(1))
    assert disagreement(taught(1)) < 0.7 * disagreement(taught(0))
