"""Weights that ship with 16 bits."""

import torch
from torch import nn

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
