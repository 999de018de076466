"""Pruning: the choice of PyTorch's own pruning, statistics that can be computed by hand, zeros that stay zero."""

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
from torch.nn.utils import prune as torch_prune
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.measure import flops, parameters
from labkit.techniques.distillation.soft_targets import distillation_loss, with_teacher
from labkit.techniques.pruning.magnitude import apply_masks_, global_masks, lamp_masks, layer_masks, prunable, pruned
from labkit.techniques.pruning.recovery import (
    finetune_,
    prune_gradually_,
    reestimate_batchnorm_,
    without_dropout_,
)
from labkit.techniques.pruning.structured import channels_pruned
from labkit.techniques.pruning.wanda import input_norms, wanda_masks
from labkit.techniques.quantization.int8 import dynamically_quantized


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


def linear(*layers: list[float]) -> nn.Sequential:
    """Layers of one unit each; only their weights matter, not how they could be connected."""
    model = nn.Sequential(*(nn.Linear(len(weights), 1, bias=False) for weights in layers))
    for layer, weights in zip(model, layers):
        layer.weight.data[0] = torch.tensor(weights)
    return model


def test_lamp_by_hand():
    # Squares 9, 4, 1 score 9/9, 4/13, 1/14 = 1, 0.31, 0.07; 0.16, 0.09, 0.01 score 1,
    # 0.09/0.25 = 0.36, 0.01/0.26 = 0.04.
    model = linear([3, -2, 1], [-0.4, 0.3, 0.1])
    kept = [[row.flatten().tolist() for row in lamp_masks(model, k / 6).values()] for k in range(5)]
    assert kept == [
        [[True, True, True], [True, True, True]],
        [[True, True, True], [True, True, False]],
        [[True, True, False], [True, True, False]],
        [[True, False, False], [True, True, False]],
        [[True, False, False], [True, False, False]],
    ]


def distinct(seed: int, scales: list[float]) -> nn.Sequential:
    """A network with weights of which no two in a layer are equally large: whole numbers times the layer's scale."""
    model = network(seed)
    for weight, scale in zip(prunable(model).values(), scales):
        ranks = torch.randperm(weight.numel()) + 1
        weight.copy_((ranks * scale * torch.randn(len(ranks)).sign()).view_as(weight))
    return model


scales = st.lists(st.sampled_from([2.0**-20, 0.25, 1, 8]), min_size=2, max_size=2)
distinct_networks = st.builds(distinct, st.integers(0, 99), scales)


@settings(deadline=None, max_examples=30)
@given(distinct_networks, sparsities)
def test_lamp_masks_keep_the_largest_scores_of_the_plain_formula(model, sparsity):
    kept, dropped = [1.0], [0.0]  # the bounds of a score, in case that all or none are dropped
    masks = lamp_masks(model, sparsity)
    for name, weight in prunable(model).items():
        squares = [w**2 for w in weight.flatten().tolist()]
        for u, keep in zip(squares, masks[name].flatten().tolist()):
            (kept if keep else dropped).append(u / sum(v for v in squares if v >= u))
    assert max(dropped) <= min(kept) * (1 + 1e-5)  # the masks are chosen in float32


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), scales)
def test_lamp_does_not_see_the_scale_of_a_layer(seed, scales):
    assert same(lamp_masks(distinct(seed, scales), 0.7), lamp_masks(distinct(seed, [1, 1]), 0.7))


@settings(deadline=None, max_examples=30)
@given(distinct_networks)
def test_lamp_keeps_the_largest_weight_of_every_layer_to_the_end(model):
    weights = prunable(model)
    masks = lamp_masks(model, 1 - len(weights) / sum(w.numel() for w in weights.values()))
    assert all(weights[name][mask].abs().tolist() == [weights[name].abs().max()] for name, mask in masks.items())


@settings(deadline=None, max_examples=30)
@given(networks, sparsities, st.integers(1, 3))
def test_the_number_of_dropped_weights_is_exact_even_among_equal_ones(model, sparsity, values):
    with torch.no_grad():
        for name in prunable(model):
            weight = model.get_parameter(name)
            weight.copy_(torch.randint(values, weight.shape))  # one value: a network of zeros
    count = {name: weight.numel() for name, weight in prunable(model).items()}

    def dropped(masks):
        return {name: (~mask).sum().item() for name, mask in masks.items()}

    for choose in (global_masks, lamp_masks):
        assert sum(dropped(choose(model, sparsity)).values()) == round(sparsity * sum(count.values()))
    assert dropped(layer_masks(model, sparsity)) == {name: round(sparsity * n) for name, n in count.items()}


@pytest.mark.parametrize("sparsity", [-0.1, 1, 60, float("nan")])
@pytest.mark.parametrize("choose", [global_masks, layer_masks, lamp_masks])
def test_a_sparsity_is_a_fraction_below_one(choose, sparsity):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        choose(network(0), sparsity)


# Weights and activations


def mlp(seed: int = 0, inputs: int = 5, hidden: int = 7, outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=20)).eval()


def vectors(n: int, features: int = 5, seed: int = 0) -> torch.Tensor:
    """Inputs (n, features), of which some are far larger than others."""
    scale = torch.logspace(-1, 1, features)
    return scale * torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def tokens(n: int = 3, length: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randint(20, (n, length), generator=torch.Generator().manual_seed(seed))


class Noting(nn.Module):
    """Stands in the place of a Linear layer, computes the same and writes down every token that it gets."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias, self.tokens = linear.weight, linear.bias, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.tokens.extend(x.flatten(0, -2).tolist())
        return F.linear(x, self.weight, self.bias)


@torch.no_grad()
def wanda_scores(model: nn.Module, batches) -> dict[str, list[list[float]]]:
    """|W_ij| ‖X_j‖₂ of every weight of every Linear layer, one number after another."""
    model, scores = copy.deepcopy(model), {}
    noting = {name: Noting(layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    for name, layer in noting.items():
        model.set_submodule(name, layer)
    for batch in batches:
        model(batch)
    for name, layer in noting.items():
        norms = [math.sqrt(sum(x[j] ** 2 for x in layer.tokens)) for j in range(layer.weight.shape[1])]
        scores[f"{name}.weight"] = [[abs(w) * norm for w, norm in zip(row, norms)] for row in layer.weight.tolist()]
    return scores


def assert_lowest_dropped(
    masks: dict[str, torch.Tensor], scores: dict[str, list[list[float]]], sparsity: float
) -> None:
    assert masks.keys() == scores.keys()
    for name in masks:
        assert masks[name].shape == (len(scores[name]), len(scores[name][0]))
        for mask, row in zip(masks[name].tolist(), scores[name]):
            kept, lost = ([score for score, keep in zip(row, mask) if keep is side] for side in (True, False))
            assert len(lost) == round(sparsity * len(row))
            assert max(lost, default=0) <= min(kept, default=math.inf) * (1 + 1e-5)  # chosen in float32


def test_wanda_by_hand():
    model = nn.Linear(4, 3, bias=False)
    model.weight.data = torch.tensor([[4.0, 0, 1, -1], [3, -2, -1, -3], [-3, 1, 0, 2]])
    batches = [torch.tensor([[1.0, 2, 0, 0]]), torch.tensor([[0.0, 0, 8, 0], [0, 0, 0, -3]])]  # norms 1, 2, 8, 3
    # The scores are 4 0 8 3, 3 4 8 9 and 3 2 0 6.
    assert wanda_masks(model, batches, 0.5)[".weight"].int().tolist() == [[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), sparsities)
def test_wanda_drops_the_lowest_scores_of_every_row(seed, sparsity):
    model, batches = mlp(seed), [vectors(4, seed=seed), vectors(2, seed=seed + 1)]
    assert_lowest_dropped(wanda_masks(model, batches, sparsity), wanda_scores(model, batches), sparsity)


@pytest.mark.parametrize("sparsity", [0, 0.3, 0.5, 0.9])
def test_wanda_drops_the_lowest_scores_of_every_row_of_a_language_model(sparsity):
    model, batches = llama(), [tokens(3), tokens(1, seed=1)]
    masks = wanda_masks(model, iter(batches), sparsity)
    assert len(masks) == 2 * 7 + 1
    assert_lowest_dropped(masks, wanda_scores(model, batches), sparsity)


def test_wanda_keeps_what_magnitude_would_drop_where_the_inputs_are_large():
    model, x = linear([0.1, 1, 2, 3]), torch.tensor([[100.0, 1, 1, 1]])
    assert wanda_masks(model, [x], 0.75)["0.weight"].tolist() == [[True, False, False, False]]
    assert layer_masks(model, 0.75)["0.weight"].tolist() == [[False, False, False, True]]


def test_wanda_on_inputs_of_equal_norm_is_magnitude_row_by_row():
    model = mlp(inputs=8)
    signs = torch.randint(2, (6, 8)) * 2.0 - 1
    mask = wanda_masks(model, [signs], 0.5, layers=["0"])["0.weight"]
    rows = [layer_masks(linear(row), 0.5)["0.weight"][0] for row in model[0].weight.tolist()]
    assert torch.equal(mask, torch.stack(rows))


def test_wanda_drops_as_many_of_every_row_even_among_equal_scores():
    model = mlp(inputs=9)
    model[0].weight.data = torch.randint(2, (7, 9)).float()  # zeros and ones
    x = torch.ones(2, 9)
    x[:, :6] = 0  # most scores are zero
    for sparsity in (0.1, 0.5, 0.8, 0.99):
        mask = wanda_masks(model, [x], sparsity)["0.weight"]
        assert (~mask).sum(1).tolist() == [round(sparsity * 9)] * 7


def test_wanda_does_not_see_how_the_tokens_are_batched():
    model, x = llama(), tokens(4)
    together, apart = (wanda_masks(model, batches, 0.6) for batches in ([x], x.split(1)))
    assert same(together, apart)


def test_norms_are_over_all_tokens_whatever_the_number_of_dimensions():
    layer, x = nn.Linear(5, 2), vectors(24)
    for shape in [(24, 5), (4, 6, 5), (2, 3, 4, 5)]:
        norms = input_norms(layer, [x.view(shape), x[0]], {"": layer})
        torch.testing.assert_close(norms[""], torch.cat([x, x[:1]]).norm(dim=0))


def test_norms_of_half_precision_are_float32():
    layer = nn.Linear(3, 2).half()
    norms = input_norms(layer, [torch.full((2, 3), 1000.0).half()], {"": layer})[""]
    torch.testing.assert_close(norms, torch.full((3,), 1000 * math.sqrt(2)))  # whose squares are beyond float16
    assert wanda_masks(layer, [torch.full((2, 3), 1000.0).half()], 1 / 3)[".weight"].sum() == 4


def test_norms_hold_no_graph_and_with_it_all_activations():
    model = mlp()
    assert not input_norms(model, [vectors(2)], {"2": model[2]})["2"].requires_grad


def test_wanda_prunes_the_layers_that_are_named_as_it_would_among_all():
    model, names = llama(), ["model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj"]
    every, some = wanda_masks(model, [tokens()], 0.5), wanda_masks(model, [tokens()], 0.5, iter(names))
    assert same(some, {f"{name}.weight": every[f"{name}.weight"] for name in names})


def test_wanda_leaves_the_model_as_it_was():
    model = llama()
    before = copied(model.state_dict())
    masks = wanda_masks(model, [tokens()], 0.5)
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    thin = pruned(model, masks)
    assert all(torch.equal(thin.get_parameter(name) == 0, ~mask) for name, mask in masks.items())


def test_hooks_are_gone_after_an_error_too():
    model = mlp()
    with pytest.raises(RuntimeError):
        wanda_masks(model, [vectors(2), torch.zeros(2, 99)], 0.5)
    assert not any(module._forward_hooks for module in model.modules())


def test_wanda_without_batches_is_an_error():
    with pytest.raises(ValueError, match="no calibration batch reached 0, 2: was the iterator used up before"):
        wanda_masks(mlp(), iter([]), 0.5)


def test_a_layer_that_is_never_called_is_an_error():
    model = mlp()
    model[0].spare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="no calibration batch reached 0.spare: .* leave it out"):
        wanda_masks(model, [vectors(2)], 0.5)
    assert list(wanda_masks(model, [vectors(2)], 0.5, layers=["0", "2"])) == ["0.weight", "2.weight"]


@pytest.mark.parametrize("name", ["3", "1", "q_proj", ""])
def test_a_name_that_is_no_linear_layer_is_an_error_before_any_batch_is_used(name):
    batches = iter([vectors(2)])
    with pytest.raises(ValueError, match=f"no Linear layer called {name}; .* it has: 0, 2"):
        wanda_masks(mlp(), batches, 0.5, layers=["0", name])
    assert len(list(batches)) == 1


@pytest.mark.parametrize("sparsity", [-0.1, 1, 60, float("nan")])
def test_wanda_takes_a_fraction_below_one_and_says_so_before_any_batch_is_used(sparsity):
    batches = iter([vectors(2)])
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        wanda_masks(mlp(), batches, sparsity)
    assert len(list(batches)) == 1


# Back to accuracy


def test_a_pruned_copy_has_zeros_where_the_mask_says_and_the_old_weights_elsewhere():
    model = network(0)
    before, masks = copied(model.state_dict()), global_masks(model, 0.7)
    after = pruned(model, masks).state_dict()
    assert same(model.state_dict(), before)
    assert same(after, {name: w * masks[name] if name in masks else w for name, w in before.items()})
    # 0.0 everywhere, and -0.0 nowhere, which has other bits.
    assert not any(after[name][~mask].signbit().any() for name, mask in masks.items())


def test_batchnorm_gets_the_mean_and_the_unbiased_variance_of_the_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Dropout(0.5), nn.BatchNorm2d(3, momentum=0.3))
    model[2].running_mean.fill_(100)  # statistics of another network, to be forgotten
    batches = [torch.randn(4, 2, 6, 6) + shift for shift in (0, 1, 5)]
    with torch.no_grad():
        outputs = [model[0](x) for x in batches]  # what BatchNorm sees while dropout does not act
    reestimate_batchnorm_(model, iter(batches))
    means, variances = ([f(y) for y in outputs] for f in (lambda y: y.mean((0, 2, 3)), lambda y: y.var((0, 2, 3))))
    torch.testing.assert_close(model[2].running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(model[2].running_var, torch.stack(variances).mean(0))


def test_batchnorm_again_touches_neither_weights_nor_momentum_nor_mode():
    model = network(0).train()
    model[1].momentum = 0.3
    before = copied(dict(model.named_parameters()))
    assert reestimate_batchnorm_(model, [torch.randn(4, 2, 6, 6)]) is model
    assert same(dict(model.named_parameters()), before)
    assert model[1].momentum == 0.3
    assert not any(module.training for module in model.modules())


def test_batchnorm_without_batches_is_an_error():
    with pytest.raises(ValueError, match="BatchNorm got no batches"):
        reestimate_batchnorm_(network(0), [])


def test_batchnorm_again_brings_back_a_pruned_network():
    model, x = network(0, channels=64).eval(), torch.randn(64, 2, 6, 6)
    reestimate_batchnorm_(model, [x])
    thin = pruned(model, {"0.weight": layer_masks(model, 0.5)["0.weight"]})
    with torch.no_grad():
        error = (thin(x) - model(x)).abs().mean()
        assert (reestimate_batchnorm_(thin, [x])(x) - model(x)).abs().mean() < error


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
    finetune_(held, endless(0), 5, masks)
    finetune_(free, endless(0), 5)
    assert revived(held, masks) == 0
    assert revived(free, masks) > 0


def test_a_pruned_network_learns_from_the_dense_one_and_keeps_its_mask():
    teacher, (x, _) = finetune_(network(0, channels=16), endless(0), 30, lr=0.1), next(endless(1))
    masks = global_masks(teacher, 0.6)
    student = pruned(teacher, masks)

    def apart():
        return (student(x).softmax(1) - teacher(x).softmax(1)).abs().mean().item()

    before, state = apart(), copied(teacher.state_dict())
    loss = partial(distillation_loss, weight=1)
    finetune_(student, with_teacher(endless(0), teacher), 40, masks, loss=loss)
    assert apart() < 0.5 * before
    assert revived(student, masks) == 0
    assert same(teacher.state_dict(), state)


both_ways = pytest.mark.parametrize("train", [finetune_, partial(prune_gradually_, sparsity=0.5)])


@both_ways
def test_training_learns_and_ends_in_eval_mode(train):
    x, y = next(endless(1))
    model, losses = network(0), {}
    before = F.cross_entropy(model(x), y).item()
    assert train(model, endless(0), 30, lr=0.1, progress=losses.__setitem__) is model
    assert not model.training
    assert list(losses) == list(range(1, 31))
    assert losses[30] < 0.7 * losses[1]
    assert F.cross_entropy(model(x), y).item() < 0.7 * before


@both_ways
def test_training_can_be_repeated(train):
    def state(seed: int) -> dict[str, torch.Tensor]:
        model = nn.Sequential(*network(0), nn.Dropout(0.2))
        torch.manual_seed(seed)
        return train(model, endless(0), 3).state_dict()

    assert same(state(1), state(1))
    assert not same(state(1), state(2))


@both_ways
def test_training_takes_no_batch_more_than_it_needs(train):
    batches = iter(list(itertools.islice(endless(0), 4)))
    train(network(0), batches, 3)
    assert len(list(batches)) == 1


@both_ways
def test_too_few_batches_are_an_error(train):
    with pytest.raises(ValueError, match="4 steps were asked for, and the batches ended after 2"):
        train(network(0), itertools.islice(endless(0), 2), 4)


@both_ways
def test_a_loss_that_is_no_number_is_an_error(train):
    x, y = next(endless(0))
    with pytest.raises(ValueError, match="the loss is nan at step 2: .* smaller .* than 0.5"):
        train(network(0), [(x, y), (x * torch.nan, y)], 2, lr=0.5)


def dropped(model: nn.Module) -> torch.Tensor:
    """Which of all prunable weights are zero."""
    return torch.cat([(weight == 0).flatten() for weight in prunable(model).values()])


@pytest.fixture(scope="module")
def gradual() -> dict[int, torch.Tensor]:
    """Which weights were zero after every one of 130 steps of pruning to 90 %."""
    model, history = network(0, channels=16), {}

    def record(step: int, loss: float) -> None:
        history[step] = dropped(model)
        assert not any(weight[weight == 0].signbit().any() for weight in prunable(model).values())  # no -0.0

    prune_gradually_(model, endless(0), 130, 0.9, progress=record)
    assert torch.equal(dropped(model), history[130])
    return history


def test_gradual_pruning_follows_the_cubic_schedule_up_to_half_of_the_steps(gradual):
    chosen = {step: max(t for t in (0, 20, 40, 60, 65) if t <= step) for step in range(1, 131)}
    sparsity = {step: 0.9 * (1 - (1 - t / 65) ** 3) for step, t in chosen.items()}
    weights = len(gradual[1])
    assert {step: zero.sum().item() for step, zero in gradual.items()} == {
        step: round(s * weights) for step, s in sparsity.items()
    }


def test_dropped_weights_stay_at_zero_until_masks_are_chosen_again_and_at_last_to_the_end(gradual):
    for first, last in [(20, 39), (40, 59), (60, 64), (65, 130)]:
        assert all(torch.equal(gradual[step], gradual[first]) for step in range(first, last + 1))


@pytest.mark.parametrize("steps", [1, 2, 3, 45])
def test_a_short_run_reaches_the_sparsity_too(steps):
    model = prune_gradually_(network(0), endless(0), steps, 0.6)
    assert dropped(model).sum() == round(0.6 * len(dropped(model)))


@pytest.mark.parametrize("sparsity", [-0.1, 1, 60, float("nan")])
def test_gradual_pruning_takes_a_fraction_below_one(sparsity):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        prune_gradually_(network(0), endless(0), 2, sparsity)


@pytest.mark.parametrize("choose", [lamp_masks, layer_masks, global_masks])
def test_weights_are_dropped_by_the_choice_that_is_given_else_by_lamp(choose):
    asked = {} if choose is lamp_masks else {"choose": choose}
    before = network(1, channels=16)
    model = prune_gradually_(copy.deepcopy(before), endless(0), 1, 0.8, lr=1e-9, **asked)
    for other in (lamp_masks, layer_masks, global_masks):
        alike = torch.equal(dropped(pruned(before, other(before, 0.8))), dropped(model))
        assert alike == (other is choose)


def test_the_choice_is_asked_with_the_network_and_the_sparsity_of_the_step():
    model, asked = network(0), []

    def choose(network: nn.Module, sparsity: float) -> dict[str, torch.Tensor]:
        asked.append((network, sparsity))
        return layer_masks(network, sparsity)

    prune_gradually_(model, endless(0), 80, 0.8, choose=choose)
    assert asked == [(model, pytest.approx(0.8 * 7 / 8)), (model, 0.8)]  # half of the way, and the end of it


@both_ways
def test_the_loss_gets_the_logits_and_the_targets_of_the_batches(train):
    x, y = next(endless(0))
    model, targets, seen, losses = network(0), (y, "more"), [], {}
    logits = copy.deepcopy(model).train()(x)

    def loss(*arguments):
        seen.append(arguments)
        return arguments[0].square().mean()

    train(model, [(x, targets)], 1, loss=loss, progress=losses.__setitem__)
    assert torch.equal(seen[0][0], logits) and seen[0][1] is targets and len(seen) == 1
    assert losses == {1: logits.square().mean().item()}


@pytest.mark.parametrize(("decay", "shrunk"), [(0.0, 1.0), (0.1, 1 - 0.5 * 1.9 * 0.1)])
def test_nothing_but_the_loss_the_decay_and_the_masks_changes_a_weight(decay, shrunk):
    model = linear([3, -2, 1, -4])
    before = model[0].weight.clone()
    batch = torch.ones(1, 4), torch.zeros(1)

    def still(logits, y):
        return 0 * logits.sum()

    prune_gradually_(model, [batch], 1, 0.5, lr=0.5, weight_decay=decay, loss=still)
    # The first step of SGD with Nesterov's momentum of 0.9 goes 1.9 times as far as without.
    torch.testing.assert_close(model[0].weight, before * torch.tensor([shrunk, 0, 0, shrunk]))


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
    thin = channels_pruned(residual, X, 0.5, keep=[residual.head])
    assert same(residual.state_dict(), before)
    assert (thin.stem.out_channels, thin.branch.in_channels, thin.branch.out_channels) == (8, 8, 8)
    assert thin.norm.num_features == thin.head.in_features == 8
    assert parameters(thin).value < 0.5 * parameters(residual).value
    assert flops(thin, X).value < 0.5 * flops(residual, X).value
    assert not thin.training


def test_the_outputs_of_a_kept_module_stay(residual):
    assert channels_pruned(residual, X, 0.5, keep=[residual.head])(X).shape == (2, 32)
    assert channels_pruned(residual, X, 0.5, keep=[])(X).shape == (2, 16)


def test_the_channels_that_stay_are_those_with_the_largest_weights(residual):
    small = copy.deepcopy(residual)
    odd = torch.arange(16) % 2 == 1
    for layer in (small.stem, small.branch):
        layer.weight.data[~odd] *= 0.01
    thin = channels_pruned(small, X, 0.5, keep=[small.head])
    assert torch.equal(thin.stem.weight, small.stem.weight[odd])
    assert torch.equal(thin.head.weight, small.head.weight[:, odd])


def test_a_frozen_network_is_thinned_and_stays_frozen(residual):
    frozen = copy.deepcopy(residual).requires_grad_(False)
    with torch.inference_mode():
        thin = channels_pruned(frozen, X, 0.5, keep=[frozen.head])
    assert thin.stem.out_channels == 8
    assert same(thin.state_dict(), channels_pruned(residual, X, 0.5, keep=[residual.head]).state_dict())
    assert not any(p.requires_grad for p in [*thin.parameters(), *frozen.parameters()])


@pytest.mark.parametrize(
    ("sparsity", "keep", "message"),
    [
        (0.5, lambda net: [net.stem, net.branch, net.head], "no channel was removed at sparsity 0.5"),
        (0.5, lambda net: [nn.Linear(2, 2)], "a module to keep is no part of the model"),
        (1.5, lambda net: [], "sparsity is a fraction"),
    ],
)
def test_channels_that_cannot_be_removed_are_an_error(residual, sparsity, keep, message):
    with pytest.raises(ValueError, match=message):
        channels_pruned(residual, X, sparsity, keep(residual))


# --- networks that are not as they should be ---

CHOICES = pytest.mark.parametrize("choose", [global_masks, layer_masks, lamp_masks])


@CHOICES
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_cannot_be_ranked(choose, number):
    model = network(0)
    model[5].weight.data[0, 0] = number
    with pytest.raises(ValueError, match="magnitudes are not finite"):
        choose(model, 0.5)


@CHOICES
def test_a_network_without_weights_to_rank_is_an_error(choose):
    with pytest.raises(ValueError, match="Sequential has no Conv2d and no Linear layer"):
        choose(nn.Sequential(nn.BatchNorm1d(3)), 0.5)


@CHOICES
def test_a_weight_that_two_layers_share_is_ranked_once(choose):
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    masks = choose(tied, 0.5)
    assert list(masks) == ["0.weight", "1.weight"]
    assert sum(mask.sum().item() for mask in masks.values()) == 16


@CHOICES
def test_a_weight_in_integers_cannot_be_ranked(choose):
    with pytest.raises(ValueError, match="the weight of 0 is quantized"):
        choose(dynamically_quantized(nn.Sequential(nn.Linear(4, 4))), 0.5)


def test_what_pytorch_masks_is_neither_pruned_nor_copied():
    model = network(0)
    torch_prune.l1_unstructured(model[5], "weight", 0.5)
    masks = global_masks(model, 0.6)
    for prune in (pruned, apply_masks_):
        with pytest.raises(ValueError, match="masks the weight of 5: make the masks permanent first"):
            prune(model, masks)
    torch_prune.remove(model[5], "weight")
    assert sum(w.count_nonzero() for w in prunable(pruned(model, masks)).values()) == sum(
        map(torch.sum, masks.values())
    )


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"5.weight": torch.ones(3, 1, dtype=torch.bool)}, r"the mask of 5.weight is torch.bool, \(3, 1\)"),
        ({"5.weight": torch.ones(3, 4)}, "the mask of 5.weight is torch.float32"),
        ({"5.wait": torch.ones(3, 4, dtype=torch.bool)}, "a mask is for 5.wait, which the model lacks"),
        ({"7.weight": torch.ones(3, 4, dtype=torch.bool)}, "a mask is for 7.weight, which the model lacks"),
    ],
)
def test_masks_of_another_network_are_an_error_and_change_nothing(masks, message):
    model = network(0)
    before = copied(model.state_dict())
    with pytest.raises(ValueError, match=message):
        apply_masks_(model, {**global_masks(model, 0.5), **masks})
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.BatchNorm3d(3)])
def test_every_batchnorm_is_measured_again(norm):
    x = torch.randn(8, 3, *[4] * (int(type(norm).__name__[-2]) - (norm.__class__ is nn.BatchNorm1d))) + 5
    reestimate_batchnorm_(norm, [x])
    torch.testing.assert_close(norm.running_mean, x.transpose(0, 1).flatten(1).mean(1))


@pytest.mark.parametrize("batches", [[], [torch.ones(4, 5, 8, 8)], [torch.full((4, 2, 8, 8), math.nan)], None])
def test_after_an_error_batchnorm_and_modes_are_as_they_were(batches):
    model = network(0)
    model[1].running_mean.fill_(3)
    model[0].eval()
    before, modes = copied(model.state_dict()), [m.training for m in model.modules()]
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        reestimate_batchnorm_(model, batches)
    assert same(model.state_dict(), before)
    assert [m.training for m in model.modules()] == modes
    assert model[1].momentum == 0.1


def test_a_network_without_batchnorm_stays_as_it_is():
    model = nn.Linear(2, 2)
    before = copied(model.state_dict())
    assert same(reestimate_batchnorm_(model, []).state_dict(), before)


def test_every_kind_of_dropout_is_turned_off():
    parts = [
        nn.Dropout(),
        nn.Dropout2d(),
        nn.AlphaDropout(),
        nn.MultiheadAttention(4, 2, 0.5),
        nn.LSTM(4, 4, 2, dropout=0.5),
    ]
    model = without_dropout_(nn.ModuleList(parts))
    assert [getattr(part, "p", None) or getattr(part, "dropout", 0) for part in model] == [0] * 5


@both_ways
def test_a_frozen_network_cannot_be_trained(train):
    with pytest.raises(ValueError, match="depends on nothing that can be trained"):
        train(network(0).requires_grad_(False), endless(0), 2)


def test_wanda_refuses_what_it_cannot_measure():
    tied = mlp(inputs=5, hidden=5, outputs=5)
    tied[-1].weight = tied[0].weight
    dropping = nn.Sequential(mlp(), nn.Dropout())
    for model, layers, message in (
        (tied, None, "share a weight: name one of the two"),
        (dropping, None, "is in train mode"),
        (mlp(), "0", "layers are a list of names, got the one string '0'"),
        (mlp(), [], "no Linear layer of Sequential is to be pruned"),
    ):
        with pytest.raises(ValueError, match=message):
            wanda_masks(model, [vectors(4)], 0.5, layers)
    with pytest.raises(ValueError, match="magnitudes are not finite"):
        wanda_masks(mlp(), [vectors(4) / 0], 0.5)
