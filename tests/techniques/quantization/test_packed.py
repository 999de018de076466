"""Grids hold what the quantizers give, and leave zeros, adapters and the originals of deep copies alone."""

import copy

import bitsandbytes.functional as bnb
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from labkit.techniques.adapters.lora import LoRALinear
from labkit.techniques.pruning import magnitude
from labkit.techniques.pruning.magnitude import layer_masks
from labkit.techniques.quantization import nf4, packed, rounding

LAYERS = {
    "linear": lambda: nn.Linear(24, 40),
    "convolution": lambda: nn.Conv2d(6, 8, 3).to(memory_format=torch.channels_last),
    "depthwise": lambda: nn.Conv2d(8, 8, 3, groups=8, bias=False),
    "embedding": lambda: nn.Embedding(30, 16),
}
INPUTS = {
    "linear": torch.randn(5, 24, generator=torch.Generator().manual_seed(1)),
    "convolution": torch.randn(2, 6, 7, 7, generator=torch.Generator().manual_seed(1)),
    "depthwise": torch.randn(2, 8, 7, 7, generator=torch.Generator().manual_seed(1)),
    "embedding": torch.arange(30).view(3, 10),
}
GRIDS = {"int8": lambda shape: packed.Int8(), "nf4": packed.NF4}

layers = pytest.mark.parametrize("kind", LAYERS)
both = pytest.mark.parametrize("grid", GRIDS)


def layer(kind: str = "linear") -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[kind]()


def held(grid: str, kind: str = "linear") -> nn.Module:
    module = layer(kind)
    packed.hold_packed_(module, GRIDS[grid](module.weight.shape))
    return module


def parts(module: nn.Module) -> list[torch.Tensor]:
    """What the grid holds of the weight."""
    held = module.parametrizations.weight
    return [getattr(held, f"original{i}").detach() for i in range(held.ntensors)]


def base(module: nn.Module) -> torch.Tensor:
    """The weight without the adapters beside it."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight.detach()
    return module.parametrizations.weight[0](*parts(module))


def with_adapters(module: nn.Module, rank: int = 2, mask: torch.Tensor | None = None) -> nn.Module:
    adapter = packed.LowRank(module.weight, rank, mask)
    nn.init.normal_(adapter.lora_B)
    parametrize.register_parametrization(module, "weight", adapter)
    return module


def random_mask(weight: torch.Tensor) -> torch.Tensor:
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(2)) < 0.5


# What is held


@layers
def test_int8_holds_what_quantize_tensor_gives_each_output_channel(kind):
    weight = layer(kind).weight.detach()
    q, scale = rounding.quantize_tensor(weight, axis=0)
    module = held("int8", kind)
    assert [part.dtype for part in parts(module)] == [torch.int8, torch.float32]
    assert torch.equal(parts(module)[0], q) and torch.equal(parts(module)[1], scale)
    assert scale.numel() == len(weight)
    assert torch.equal(module.weight, rounding.dequantize(q, scale))


@layers
def test_nf4_holds_two_codes_a_byte_and_constants_quantized_in_turn(kind):
    weight = layer(kind).weight.detach()
    codes, absmax = nf4.quantize_blocks(weight, nf4.nf4_values())
    expected = [nf4.pack_nibbles(codes), *nf4.double_quantize(absmax)]
    module = held("nf4", kind)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(parts(module), expected, strict=True))
    unpacked = nf4.dequantize_blocks(codes, nf4.double_dequantize(*expected[1:]), nf4.nf4_values())
    assert torch.equal(module.weight, unpacked)


def test_nf4_holds_the_codes_of_bitsandbytes_and_unpacks_what_it_stored_to_the_same_weight():
    module = nn.Linear(512, 96)
    weight = torch.randn(96, 512, generator=torch.Generator().manual_seed(0))
    module.weight.data.copy_(weight)
    packed.hold_packed_(module, packed.NF4(weight.shape))
    codes, state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    theirs = [codes.flatten(), state.absmax, state.state2.absmax, state.offset]
    ours = parts(module)
    assert torch.equal(ours[0], theirs[0])
    # Of the constants' codes, on a CPU some are neighbours: see test_nf4.py.
    assert (ours[1].int() - theirs[1].int()).abs().max() <= 1
    assert torch.equal(ours[2], theirs[2]) and torch.equal(ours[3], theirs[3])
    assert torch.equal(module.parametrizations.weight[0](*theirs), bnb.dequantize_4bit(codes, state))
    same = (ours[1] == theirs[1]).repeat_interleave(64).view(weight.shape)
    assert same.float().mean() > 0.9
    assert torch.equal(module.weight[same], bnb.dequantize_4bit(codes, state)[same])


@both
@layers
def test_the_state_has_the_parts_and_no_float_copy_of_the_weight(grid, kind):
    module = held(grid, kind)
    state = {name: t for name, t in module.state_dict().items() if name != "bias"}
    assert list(state) == [f"parametrizations.weight.original{i}" for i in range(len(parts(module)))]
    assert next(iter(state.values())).dtype == (torch.int8 if grid == "int8" else torch.uint8)
    n = module.weight.numel()
    assert all(t.numel() < n for t in state.values() if t.is_floating_point())
    constants = 4 * len(module.weight) if grid == "int8" else -(-n // 64) + 4 + 4
    assert sum(t.nbytes for t in state.values()) == (n if grid == "int8" else n // 2) + constants


@both
def test_nothing_on_a_grid_is_trained(grid):
    module = held(grid)
    assert [name for name, p in module.named_parameters() if p.requires_grad] == ["bias"]
    assert not module.weight.requires_grad


@both
@layers
def test_the_layer_computes_with_the_unpacked_weight(grid, kind):
    module, plain = held(grid, kind), layer(kind)
    plain.weight.data.copy_(module.weight)
    # Where a tensor lies in memory can decide in which order a convolution adds.
    torch.testing.assert_close(module(INPUTS[kind]), plain(INPUTS[kind]), rtol=1e-5, atol=1e-6)
    assert torch.equal(module.weight, plain.weight)


def test_rows_of_zeros_stay_zero_on_either_grid():
    for grid in GRIDS:
        module = layer()
        module.weight.data[3:9] = 0
        packed.hold_packed_(module, GRIDS[grid](module.weight.shape))
        assert (module.weight[3:9] == 0).all() and module.weight[9:].any(1).all()


# Deep copies, and the way back


@both
def test_deep_copies_do_not_share_what_they_hold(grid):
    module = with_adapters(held(grid))
    before, copied = module.weight.detach().clone(), copy.deepcopy(module)
    assert torch.equal(copied.weight, before)
    with torch.no_grad():
        for part in [*parts(copied), copied.parametrizations.weight[1].lora_B]:
            part.zero_()
    assert not torch.equal(copied.weight, before)
    assert torch.equal(module.weight, before)


@both
@pytest.mark.parametrize("which", ["copy", "original"])
def test_unpacking_one_of_two_copies_leaves_the_other_as_it_was(grid, which):
    module = held(grid)
    pair = {"original": module, "copy": copy.deepcopy(module)}
    x, before = INPUTS["linear"], module.weight.detach().clone()
    packed.unpack_module_(pair.pop(which))
    (other,) = pair.values()
    assert parametrize.is_parametrized(other, "weight") and isinstance(other, nn.Linear)
    assert torch.equal(other.weight, before)
    assert torch.equal(other(x), nn.functional.linear(x, before, other.bias))
    other.load_state_dict({name: torch.zeros_like(t) for name, t in other.state_dict().items()})
    assert not other.weight.any()
    assert torch.equal(copy.deepcopy(other).weight, other.weight)


def test_difference_pytorchs_own_way_back_takes_the_weight_of_the_original_of_a_deep_copy():
    module = held("int8")
    parametrize.remove_parametrizations(copy.deepcopy(module), "weight")
    with pytest.raises(AttributeError, match="weight"):
        module.weight


@both
@layers
def test_unpacked_is_a_plain_layer_with_the_same_outputs(grid, kind):
    module = held(grid, kind)
    expected, state = module(INPUTS[kind]), {name: t.clone() for name, t in module.state_dict().items()}
    plain = packed.unpack_(copy.deepcopy(module))
    assert type(plain) is type(layer(kind))
    assert plain.state_dict().keys() == layer(kind).state_dict().keys()
    assert isinstance(plain.weight, nn.Parameter) and plain.weight.requires_grad and plain.weight.is_leaf
    assert torch.equal(plain(INPUTS[kind]), expected)
    assert all(torch.equal(module.state_dict()[name], t) for name, t in state.items())


def test_a_model_of_plain_packed_and_adapted_layers_is_unpacked_as_a_whole():
    model = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), with_adapters(held("nf4")), with_adapters(nn.Linear(40, 5)))
    x = torch.randn(7, 6)
    expected = model(x)
    assert packed.unpack_(model) is model
    assert torch.equal(model(x), expected)
    assert [type(module) for module in model] == [nn.Linear, nn.ReLU, nn.Linear, nn.Linear]
    assert set(model.state_dict()) == {f"{i}.{part}" for i in (0, 2, 3) for part in ("weight", "bias")}


# Dropping weights


DROPPED_FROM = {
    "plain": layer,
    "int8": lambda: held("int8"),
    "nf4": lambda: held("nf4"),
    "int8 with adapters": lambda: with_adapters(held("int8")),
    "nf4 with adapters": lambda: with_adapters(held("nf4")),
}


@pytest.mark.parametrize("held", DROPPED_FROM)
def test_drop_zeroes_the_masked_weights_of_the_base_and_no_others(held):
    model = nn.Sequential(DROPPED_FROM[held]())
    before, bias = base(model[0]).clone(), model[0].bias.detach().clone()
    mask = random_mask(before)
    assert magnitude.apply_masks_(model, {"0.weight": mask}) is model
    after = base(model[0])
    assert torch.equal(after == 0, ~mask | (before == 0))
    assert torch.equal(model[0].bias, bias)
    if held == "plain":
        assert torch.equal(after, before * mask)
    # The largest weight of a row or block may be among the dropped: the others are rounded anew.
    tolerance = {"plain": 0, "int8": 0.5 / 127, "nf4": 0.16}[held.split()[0]]
    assert (after - before)[mask].abs().max() <= 1.01 * tolerance * before.abs().max()


@pytest.mark.parametrize("held", ["int8", "int8 with adapters"])
def test_dropping_the_smallest_of_8_bits_leaves_the_others_where_they_are(held):
    module = DROPPED_FROM[held]()
    before = base(module).clone()
    mask = before.abs() > before.abs().median()
    magnitude.apply_masks_(nn.Sequential(module), {"0.weight": mask})
    torch.testing.assert_close(base(module), before * mask, rtol=1e-6, atol=0)


@pytest.mark.parametrize("held", ["int8 with adapters", "nf4 with adapters"])
def test_drop_leaves_the_adapters_alone(held):
    module = DROPPED_FROM[held]()
    adapter = module.parametrizations.weight[1]
    before = adapter.lora_A.detach().clone(), adapter.lora_B.detach().clone()
    magnitude.apply_masks_(nn.Sequential(module), {"0.weight": random_mask(module.weight)})
    assert torch.equal(adapter.lora_A, before[0]) and torch.equal(adapter.lora_B, before[1])
    assert torch.equal(module.weight, adapter(base(module)))
    assert (module.weight != 0).all()


@both
def test_drop_by_the_masks_of_a_packed_model_changes_that_copy_only(grid):
    model = nn.Sequential(held(grid))
    copied, before = copy.deepcopy(model), model[0].weight.detach().clone()
    masks = layer_masks(copied, 0.75)
    magnitude.apply_masks_(copied, masks)
    assert (copied[0].weight == 0).float().mean() >= 0.75
    assert torch.equal(model[0].weight, before)


@both
def test_a_weight_of_which_nothing_is_left_stays_empty(grid):
    model = nn.Sequential(held(grid))
    for _ in range(2):
        magnitude.apply_masks_(model, {"0.weight": torch.zeros_like(model[0].weight, dtype=torch.bool)})
        assert not model[0].weight.any()


# Adapters


def test_low_rank_is_lora_with_an_alpha_of_2():
    for rank in (1, 3, 8):
        module, x = layer(), INPUTS["linear"]
        theirs = LoRALinear(copy.deepcopy(module), rank, alpha=2)
        adapter = with_adapters(module, rank).parametrizations.weight[0]
        theirs.A.data.copy_(adapter.lora_A)
        theirs.B.data.copy_(adapter.lora_B)
        torch.testing.assert_close(module(x), theirs(x))
        packed.unpack_module_(module)
        torch.testing.assert_close(module.weight, theirs.merged().weight)


def test_low_rank_starts_as_lora_starts_and_as_the_weight_was():
    module = layer()
    torch.manual_seed(3)
    adapter = packed.LowRank(module.weight, 4)
    torch.manual_seed(3)
    assert torch.equal(adapter.lora_A, LoRALinear(module, 4, alpha=2).A)
    assert torch.equal(adapter(module.weight), module.weight)


def test_under_a_mask_low_rank_keeps_zeros_and_changes_every_other_weight():
    module = layer()
    mask = random_mask(module.weight)
    module.weight.data.masked_fill_(~mask, 0)
    before = module.weight.detach().clone()
    with_adapters(module, 4, mask)
    assert torch.equal(module.weight != 0, mask)
    assert torch.equal(module.weight != before, mask)
    module(INPUTS["linear"]).square().sum().backward()
    adapter = module.parametrizations.weight[0]
    assert adapter.lora_A.grad.any() and adapter.lora_B.grad.any()
    packed.unpack_module_(module)
    assert torch.equal(module.weight != 0, mask)


@both
def test_beside_a_grid_only_the_adapters_are_trained_and_their_mask_is_not_stored(grid):
    module = held(grid)
    with_adapters(module, 2, module.weight != 0)
    module.bias.requires_grad_(False)
    module(INPUTS["linear"]).sum().backward()
    trained = {name.split(".")[-1] for name, p in module.named_parameters() if p.grad is not None}
    assert trained == {"lora_A", "lora_B"}
    assert not any("mask" in name for name in module.state_dict())


# The tied head


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.head = packed.TiedHead(self.embedding)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens))


def test_a_tied_head_follows_the_embedding_wherever_that_is_held():
    model, x = Tied(), torch.randn(3, 6)
    assert torch.equal(model.head(x), x @ model.embedding.weight.T)
    with torch.no_grad():
        model.embedding.weight[4] = 1
    torch.testing.assert_close(model.head(x)[:, 4], x.sum(1))
    packed.hold_packed_(model.embedding, packed.Int8())
    assert torch.equal(model.head(x), nn.functional.linear(x, model.embedding.weight))
    packed.unpack_(model)
    assert torch.equal(model.head(x), nn.functional.linear(x, model.embedding.weight))


def test_a_tied_head_has_nothing_of_its_own():
    model = Tied()
    assert list(model.state_dict()) == ["embedding.weight"]
    assert [name for name, _ in model.named_modules()] == ["", "embedding", "head"]
    assert not list(model.head.parameters())


@pytest.mark.parametrize("grid", [False, True], ids=["plain", "int8"])
def test_in_a_deep_copy_the_head_follows_the_embedding_of_the_copy(grid):
    model, x = Tied(), torch.randn(3, 6)
    if grid:
        packed.hold_packed_(model.embedding, packed.Int8())
    before, copied = model.head(x), copy.deepcopy(copy.deepcopy(model))
    with torch.no_grad():
        for tensor in copied.state_dict().values():
            tensor.zero_()
    assert not copied.head(x).any()
    assert torch.equal(model.head(x), before)
