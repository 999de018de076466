"""Pruning in rounds: each drops the same share of what is left, and the last reaches the sparsity."""

import pytest
import torch
from torch import nn

from labkit.techniques.pruning.magnitude import lamp_masks
from labkit.techniques.pruning.recovery import prune_in_rounds_


def batches():
    draw = torch.Generator().manual_seed(0)
    while True:
        x = torch.randn(16, 20, generator=draw)
        yield x, (x[:, 0] > 0).long()


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 2))


@pytest.mark.parametrize("rounds", [1, 3])
def test_every_round_drops_the_same_share_of_what_is_left(rounds):
    asked = []

    def choose(network: nn.Module, sparsity: float) -> dict[str, torch.Tensor]:
        asked.append(1 - sparsity)
        return lamp_masks(network, sparsity)

    pruned = prune_in_rounds_(model(), batches(), 12, 0.9, rounds, choose=choose)
    assert asked == pytest.approx([0.1 ** (i / rounds) for i in range(1, rounds + 1)])
    left = pruned[0].weight.count_nonzero() + pruned[2].weight.count_nonzero()
    assert left == 880 - round(0.9 * 880) and not pruned.training


def test_what_one_round_drops_stays_dropped():
    seen = []

    def choose(network: nn.Module, sparsity: float) -> dict[str, torch.Tensor]:
        seen.append(network[0].weight.detach() != 0)
        return lamp_masks(network, sparsity)

    pruned = prune_in_rounds_(model(), batches(), 12, 0.9, 3, choose=choose)
    kept = [*seen, pruned[0].weight != 0]
    assert all((after <= before).all() for before, after in zip(kept, kept[1:]))


def test_the_rounds_share_the_steps():
    taken = 0

    def counted():
        nonlocal taken
        for batch in batches():
            taken += 1
            yield batch

    prune_in_rounds_(model(), counted(), 12, 0.5, 3)
    assert 12 <= taken <= 15  # one more may be drawn where a round ends


def test_the_sparsity_is_a_fraction_below_one():
    with pytest.raises(ValueError, match="sparsity is a fraction"):
        prune_in_rounds_(model(), batches(), 12, 1.0, 3)
