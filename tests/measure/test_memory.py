"""Memory: a step whose tensors can be counted by hand, and an allocation of known size."""

import pytest
import torch
from torch import nn

from labkit.measure import peak_memory, training_memory

FLOAT = 4  # bytes


def test_peak_sees_memory_that_is_given_back_before_the_end():
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def fills_200_megabytes():
        return torch.ones(200_000_000 // FLOAT, device=device).sum().item()

    peak = peak_memory(fills_200_megabytes)
    assert peak.unit == "bytes"
    assert peak.value == pytest.approx(200e6, rel=0.1)


def test_peak_lets_the_error_of_the_function_through():
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 / 0)


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


PARAMETERS = 16 * 32 + 32 + 32 * 4 + 4


def step(network, loss, optimizer=torch.optim.Adam):
    measured = training_memory(network, loss, optimizer(network.parameters(), lr=0.1))
    assert {m.unit for m in measured.values()} == {"bytes"}
    return {part: m.value for part, m in measured.items()}


def test_every_part_of_a_step_counts_as_by_hand(network):
    x = torch.randn(8, 16)
    measured = step(network, lambda: network(x).sum())
    assert measured == {
        "weights": PARAMETERS * FLOAT,
        # The input, for the first layer's weight gradient. The output of ReLU, which saves it for its own gradient and
        # the second layer for its weights': one storage, counted once.
        "activations": (8 * 16 + 8 * 32) * FLOAT,
        "gradients": PARAMETERS * FLOAT,
        # Two moments a parameter, and a step count for each of the four tensors.
        "optimizer state": 2 * PARAMETERS * FLOAT + 4 * FLOAT,
    }


def test_a_loss_that_needs_its_input_keeps_it(network):
    x = torch.randn(8, 16)
    plain = step(network, lambda: network(x).sum())
    squared = step(network, lambda: network(x).square().sum())
    assert squared["activations"] - plain["activations"] == 8 * 4 * FLOAT


def test_activations_grow_with_the_batch_and_nothing_else_does(network):
    small = step(network, lambda: network(torch.ones(8, 16)).sum())
    large = step(network, lambda: network(torch.ones(80, 16)).sum())
    assert large.pop("activations") == 10 * small.pop("activations")
    assert large == small


def test_frozen_weights_have_neither_gradient_nor_state(network):
    network[0].requires_grad_(False)
    measured = step(network, lambda: network(torch.ones(8, 16)).sum())
    assert measured["weights"] == PARAMETERS * FLOAT
    assert measured["gradients"] == (32 * 4 + 4) * FLOAT
    assert measured["optimizer state"] == 2 * (32 * 4 + 4) * FLOAT + 2 * FLOAT
    assert measured["activations"] == 8 * 32 * FLOAT  # the input is no longer needed


def test_plain_gradient_descent_has_no_state(network):
    assert step(network, lambda: network(torch.ones(8, 16)).sum(), torch.optim.SGD)["optimizer state"] == 0


def test_buffers_are_weights_not_activations():
    norm = nn.BatchNorm1d(16).eval()
    measured = step(norm, lambda: norm(torch.ones(8, 16)).sum())
    assert measured["weights"] == 4 * 16 * FLOAT + 8  # scale, shift, mean, variance; an int64 count of batches
    assert measured["activations"] == 8 * 16 * FLOAT


def test_the_step_is_really_taken(network):
    before = network[0].weight.detach().clone()
    step(network, lambda: network(torch.ones(8, 16)).sum())
    assert not torch.equal(network[0].weight, before)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_takes_no_step(network, factor):
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ValueError, match="1 of 1 losses are not finite"):
        step(network, lambda: network(torch.ones(8, 16)).sum() * factor)
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters()))


def test_a_frozen_network_has_no_step():
    network = nn.Linear(4, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="depends on nothing that can be trained"):
        training_memory(network, lambda: network(torch.ones(1, 4)).sum(), torch.optim.SGD(network.parameters(), 0.1))
