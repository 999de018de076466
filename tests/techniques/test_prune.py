"""Pruning: the choice of PyTorch's own pruning, statistics that can be computed by hand, zeros that stay zero."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from labkit.measure import operations, parameters
from labkit.techniques.prune import (
    apply_masks,
    finetune,
    global_masks,
    layer_masks,
    prunable,
    prune_channels,
    pruned,
    reestimate_batchnorm,
)


def network(seed: int, channels: int = 4, classes: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(nn.Conv2d(2, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), *head)


def copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def same(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


networks = st.builds(network, st.integers(0, 99), st.integers(1, 9), st.integers(1, 9))
sparsities = st.floats(0, 1, exclude_max=True)


def test_weights_of_convolutions_and_linear_layers_are_prunable_and_nothing_else():
    assert list(prunable(network(0))) == ["0.weight", "5.weight"]


@settings(deadline=None, max_examples=30)
@given(networks, sparsities)
def test_global_masks_choose_what_pytorch_chooses(model, sparsity):
    masks = global_masks(model, sparsity)
    layers = {"0.weight": (model[0], "weight"), "5.weight": (model[5], "weight")}
    torch_prune.global_unstructured(layers.values(), torch_prune.L1Unstructured, amount=sparsity)
    assert masks.keys() == layers.keys()
    assert all(torch.equal(masks[name].float(), layer.weight_mask) for name, (layer, _) in layers.items())


@settings(deadline=None, max_examples=30)
@given(networks, sparsities)
def test_layer_masks_choose_what_pytorch_chooses(model, sparsity):
    for name, mask in layer_masks(model, sparsity).items():
        layer = torch_prune.l1_unstructured(model.get_submodule(name.removesuffix(".weight")), "weight", sparsity)
        assert torch.equal(mask.float(), layer.weight_mask)


@settings(deadline=None, max_examples=30)
@given(networks, sparsities, st.integers(1, 3))
def test_the_number_of_dropped_weights_is_exact_even_among_equal_ones(model, sparsity, values):
    with torch.no_grad():
        for name in prunable(model):
            weight = model.get_parameter(name)
            weight.copy_(torch.randint(values, weight.shape))  # one value: a network of zeros
    count = {name: weight.numel() for name, weight in prunable(model).items()}
    dropped = lambda masks: {name: (~mask).sum().item() for name, mask in masks.items()}  # noqa: E731
    assert sum(dropped(global_masks(model, sparsity)).values()) == round(sparsity * sum(count.values()))
    assert dropped(layer_masks(model, sparsity)) == {name: round(sparsity * n) for name, n in count.items()}


@pytest.mark.parametrize("sparsity", [-0.1, 1, 60, float("nan")])
@pytest.mark.parametrize("choose", [global_masks, layer_masks])
def test_a_sparsity_is_a_fraction_below_one(choose, sparsity):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        choose(network(0), sparsity)


def test_a_pruned_copy_has_zeros_where_the_mask_says_and_the_old_weights_elsewhere():
    model = network(0)
    before, masks = copied(model.state_dict()), global_masks(model, 0.7)
    after = pruned(model, masks).state_dict()
    assert same(model.state_dict(), before)
    assert same(after, {name: w * masks[name] if name in masks else w for name, w in before.items()})


def test_batchnorm_gets_the_mean_and_the_unbiased_variance_of_the_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3))
    model[2].running_mean.fill_(100)  # statistics of another network, to be forgotten
    batches = [torch.randn(4, 2, 6, 6) + shift for shift in (0, 1, 5)]
    with torch.no_grad():
        outputs = [model[0](x) for x in batches]  # what BatchNorm sees while dropout does not act
    reestimate_batchnorm(model, iter(batches))
    means, variances = ([f(y) for y in outputs] for f in (lambda y: y.mean((0, 2, 3)), lambda y: y.var((0, 2, 3))))
    torch.testing.assert_close(model[2].running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(model[2].running_var, torch.stack(variances).mean(0))


def test_batchnorm_again_touches_neither_weights_nor_momentum_nor_mode():
    model = network(0).train()
    model[1].momentum = 0.3
    before = copied(dict(model.named_parameters()))
    assert reestimate_batchnorm(model, [torch.randn(4, 2, 6, 6)]) is model
    assert same(dict(model.named_parameters()), before)
    assert model[1].momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_batchnorm_without_batches_is_an_error():
    with pytest.raises(ValueError, match="BatchNorm got no batches"):
        reestimate_batchnorm(network(0), [])


def test_batchnorm_again_brings_back_a_pruned_network():
    model, x = network(0, channels=64).eval(), torch.randn(64, 2, 6, 6)
    reestimate_batchnorm(model, [x])
    thin = pruned(model, {"0.weight": layer_masks(model, 0.5)["0.weight"]})
    with torch.no_grad():
        error = (thin(x) - model(x)).abs().mean()
        assert (reestimate_batchnorm(thin, [x])(x) - model(x)).abs().mean() < error


def endless(seed: int, classes: int = 3):
    """Batches of a problem that can be learned: the class is the brightness."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        y = torch.randint(classes, (32,), generator=generator)
        yield torch.randn(32, 2, 4, 4, generator=generator) + y.view(-1, 1, 1, 1), y


def revived(model: nn.Module, masks: dict[str, torch.Tensor]) -> int:
    return sum(model.get_parameter(name)[~mask].count_nonzero().item() for name, mask in masks.items())


def test_finetuning_keeps_dropped_weights_at_zero():
    masks = global_masks(network(0), 0.8)
    held, free = (pruned(network(0), masks) for _ in range(2))
    finetune(held, endless(0), 5, masks)
    finetune(free, endless(0), 5)
    assert revived(held, masks) == 0
    assert revived(free, masks) > 0


def test_finetuning_learns_and_ends_in_eval_mode():
    x, y = next(endless(1))
    model, losses = network(0), {}
    before = F.cross_entropy(model(x), y).item()
    assert finetune(model, endless(0), 30, lr=0.1, progress=losses.__setitem__) is model
    assert not model.training
    assert list(losses) == list(range(1, 31))
    assert losses[30] < 0.7 * losses[1]
    assert F.cross_entropy(model(x), y).item() < 0.7 * before


def test_finetuning_can_be_repeated():
    def state(seed: int) -> dict[str, torch.Tensor]:
        model = nn.Sequential(*network(0), nn.Dropout(0.2))
        torch.manual_seed(seed)
        return finetune(model, endless(0), 3).state_dict()

    assert same(state(1), state(1))
    assert not same(state(1), state(2))


def test_finetuning_takes_no_batch_more_than_it_needs():
    batches = iter(list(itertools.islice(endless(0), 4)))
    finetune(network(0), batches, 3)
    assert len(list(batches)) == 1


def test_too_few_batches_are_an_error():
    with pytest.raises(ValueError, match="4 steps were asked for, and the batches ended after 2"):
        finetune(network(0), itertools.islice(endless(0), 2), 4)


def test_a_loss_that_is_no_number_is_an_error():
    x, y = next(endless(0))
    with pytest.raises(ValueError, match="the loss is nan at step 2: .* smaller .* than 0.5"):
        finetune(network(0), [(x, y), (x * torch.nan, y)], 2, lr=0.5)


class Residual(nn.Module):
    """Two branches that are added: their channels can only go together."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(16), nn.Linear(16, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.norm(self.branch(x))).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def residual() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


X = torch.ones(2, 3, 8, 8)


def test_removed_channels_leave_a_smaller_dense_network(residual):
    before = copied(residual.state_dict())
    thin = prune_channels(residual, X, 0.5, keep=[residual.head])
    assert same(residual.state_dict(), before)
    assert (thin.stem.out_channels, thin.branch.in_channels, thin.branch.out_channels) == (8, 8, 8)
    assert thin.norm.num_features == thin.head.in_features == 8
    assert parameters(thin).value < 0.5 * parameters(residual).value
    assert operations(thin, X).value < 0.5 * operations(residual, X).value
    assert not thin.training


def test_the_outputs_of_a_kept_module_stay(residual):
    assert prune_channels(residual, X, 0.5, keep=[residual.head])(X).shape == (2, 32)
    assert prune_channels(residual, X, 0.5, keep=[])(X).shape == (2, 16)


def test_the_channels_that_stay_are_those_with_the_largest_weights(residual):
    small = copy.deepcopy(residual)
    odd = torch.arange(16) % 2 == 1
    apply_masks(small, {name: torch.where(odd, 1.0, 0.01).view(-1, 1, 1, 1) for name in ("stem.weight", "branch.weight")})
    thin = prune_channels(small, X, 0.5, keep=[small.head])
    assert torch.equal(thin.stem.weight, small.stem.weight[odd])
    assert torch.equal(thin.head.weight, small.head.weight[:, odd])
