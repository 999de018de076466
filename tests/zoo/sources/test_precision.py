"""Weights that ship with 16 bits."""

import copy

import pytest
import torch
from torch import nn

from labkit.zoo import refill_
from labkit.zoo.sources.precision import halved, widened


def test_only_what_is_floating_point_changes_its_precision():
    norm = nn.BatchNorm1d(4)
    norm(torch.randn(8, 4))
    wanted = {name: torch.float16 for name in ("weight", "bias", "running_mean", "running_var")}
    half = halved(norm.state_dict())
    assert {name: value.dtype for name, value in half.items()} == wanted | {"num_batches_tracked": torch.int64}
    again = widened(half)
    assert {value.dtype for name, value in again.items() if name in wanted} == {torch.float32}
    assert again["num_batches_tracked"] == 1
    assert torch.equal(again["running_mean"], norm.running_mean.half().float())


def test_the_state_that_is_given_stays_as_it_is():
    state = nn.Linear(2, 2).state_dict()
    halved(state)
    assert {value.dtype for value in state.values()} == {torch.float32}


@pytest.fixture
def rounded() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Flatten(), nn.Linear(16, 16))
    return model.half().float()


def test_refilled_weights_round_to_nearly_the_same_and_are_many(rounded):
    model = copy.deepcopy(rounded)
    assert refill_(model) is model
    for before, after in zip(rounded.parameters(), model.parameters()):
        assert ((after - before).abs() <= before.abs() / 2**12).all()
    few, many = (torch.cat([w.flatten() for w in m.parameters()]).unique().numel() for m in (rounded, model))
    assert many > 1.05 * few


def test_zeros_stay_zeros(rounded):
    rounded[0].weight.data[:8] = 0
    assert (refill_(rounded)[0].weight[:8] == 0).all()


@pytest.mark.parametrize("seeded", [True, False])
def test_digits_are_drawn_weight_by_weight_in_the_order_of_memory(rounded, seeded):
    generator = torch.Generator().manual_seed(1) if seeded else None
    model = copy.deepcopy(rounded)
    torch.manual_seed(1)
    refill_(model, generator)
    torch.manual_seed(1)
    for before, after in zip(rounded.parameters(), model.parameters()):
        assert torch.equal(after, before * (1 + (torch.rand(before.shape) - 0.5) / 2**11))
    last = copy.deepcopy(rounded).to(memory_format=torch.channels_last)
    model = copy.deepcopy(last)
    torch.manual_seed(1)
    refill_(model)
    torch.manual_seed(1)
    for before, after in zip(last.parameters(), model.parameters()):
        assert torch.equal(after, before * (1 + (torch.rand_like(before) - 0.5) / 2**11))
