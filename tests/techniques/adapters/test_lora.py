"""LoRA as peft computes it, 4-bit models that train, and the refusal to train where no gradient arrives."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from bitsandbytes.functional import has_avx512bf16
from peft import LoraConfig
from peft.tuners.lora import Linear as PeftLinear
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.measure import block_losses
from labkit.techniques.adapters.lora import LoRALinear, attach_, merged, next_token_loss, step_, train_
from labkit.techniques.adapters.qlora import (
    constant_bits,
    linear_layers,
    quantized,
    relative_error,
    round_adapter_,
    saved,
    unpacked,
)

KINDS = [("nf4", False), ("nf4", True), ("fp4", False), ("int8", False)]
kinds = pytest.mark.parametrize(("kind", "double"), KINDS)


def language_model(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=50)).eval()


def adapted(model=None, targets=("q_proj", "v_proj"), rank=4):
    model = model or language_model()
    torch.manual_seed(1)
    return attach_(model, rank, targets, alpha=8)


def tokens(n: int = 4, length: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randint(50, (n, length), generator=torch.Generator().manual_seed(seed))


def adapters(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


# The idea


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def layer(request):
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(12, 20, bias=request.param), rank=3, alpha=7)
    nn.init.normal_(layer.B)
    return layer


def test_it_computes_what_peft_computes(layer):
    theirs = PeftLinear(layer.linear, "default", config=LoraConfig(r=3, lora_alpha=7), r=3, lora_alpha=7)
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(layer.A)
        theirs.lora_B["default"].weight.copy_(layer.B)
    x = torch.randn(5, 2, 12)
    torch.testing.assert_close(layer(x), theirs(x))
    merged = layer.merged()
    theirs.merge()  # into the layer that both have in common
    torch.testing.assert_close(merged.weight, theirs.get_base_layer().weight)


def test_it_starts_as_the_layer_that_it_is_put_beside():
    linear = nn.Linear(12, 20)
    x = torch.randn(5, 12)
    assert torch.equal(LoRALinear(linear, rank=3, alpha=7)(x), linear(x))


def test_the_merged_layer_computes_the_same_and_leaves_the_original_alone(layer):
    before, x = layer.linear.weight.clone(), torch.randn(5, 12)
    merged = layer.merged()
    torch.testing.assert_close(merged(x), layer(x))
    assert type(merged) is nn.Linear
    assert torch.equal(layer.linear.weight, before)


def test_only_the_two_thin_matrices_are_trained(layer):
    layer(torch.randn(5, 12)).sum().backward()
    assert {name for name, p in layer.named_parameters() if p.grad is not None} == {"A", "B"}


# Attaching


def test_attached_adapters_are_the_only_thing_trainable_and_in_float32():
    model = adapted(language_model().bfloat16())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 2  # A and B, two targets, two layers
    assert all("lora_" in name for name in trained)
    assert {p.dtype for p in adapters(model).values()} == {torch.float32}


def test_an_attached_model_is_at_first_the_same_model():
    x = tokens()
    torch.testing.assert_close(adapted()(x).logits, language_model()(x).logits)


@pytest.mark.parametrize("model", [language_model, lambda: quantized(language_model())], ids=["float32", "nf4"])
def test_targets_that_the_model_lacks_are_named_and_some_that_it_has(model):
    with pytest.raises(ValueError, match="no linear layer called c_attn, v_pro;.*down_proj.*q_proj"):
        attach_(model(), 4, ["q_proj", "c_attn", "v_pro"], alpha=8)


def test_targets_in_one_string_are_refused():
    with pytest.raises(ValueError, match=r"got the one string 'q_proj': write \['q_proj'\]"):
        attach_(language_model(), 4, "q_proj", alpha=8)


def test_weights_that_are_not_finite_are_not_quantized():
    model = language_model()
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="up_proj.weight are not finite"):
        quantized(model)


def test_a_model_without_adapters_has_nothing_to_merge():
    with pytest.raises(ValueError, match="the model has no adapters"):
        merged(language_model(), language_model(), "original")


def test_no_target_at_all_is_an_error():
    with pytest.raises(ValueError, match="target_modules"):
        attach_(language_model(), 4, [], alpha=8)


# Quantized models


@kinds
def test_a_quantized_model_is_nearly_the_same_model(kind, double):
    model, x = language_model(), tokens()
    small = quantized(model, kind, double)
    distance = (small(x).logits - model(x).logits).norm() / model(x).logits.norm()
    assert 0 < distance < (0.05 if kind == "int8" else 0.25)


@kinds
def test_all_but_embeddings_norms_and_last_layer_are_quantized(kind, double):
    model = quantized(language_model(), kind, double, torch.bfloat16)
    dtypes = {name: p.dtype for name, p in model.named_parameters()}
    whole = {name for name in dtypes if not any(part in name for part in ("self_attn", "mlp"))}
    assert {dtypes[name] for name in whole} == {torch.bfloat16}
    assert {dtypes[name] for name in dtypes.keys() - whole} == {torch.int8 if kind == "int8" else torch.uint8}


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_kind_and_double_reach_the_layers(kind):
    for double in (False, True):
        state = quantized(language_model(), kind, double).model.layers[0].mlp.up_proj.weight.quant_state
        assert (state.quant_type, state.nested) == (kind, double)


def test_a_folder_and_the_model_saved_in_it_become_the_same(tmp_path):
    model = language_model()
    model.save_pretrained(tmp_path)
    assert torch.equal(quantized(tmp_path)(tokens()).logits, quantized(model)(tokens()).logits)


def test_the_model_that_is_quantized_stays_as_it_was():
    model = language_model()
    before = model(tokens()).logits
    quantized(model)
    assert torch.equal(model(tokens()).logits, before)
    assert not hasattr(model.config, "quantization_config")


@pytest.mark.parametrize(("kind", "double"), [("int4", False), ("int8", True)])
def test_a_kind_that_cannot_be_is_refused(kind, double):
    with pytest.raises(ValueError, match="nf4"):
        quantized(language_model(), kind, double)


# Training


@pytest.mark.parametrize("source", ["float32", *sorted({kind for kind, _ in KINDS})])
def test_training_learns_and_changes_nothing_but_adapters(source):
    model = language_model() if source == "float32" else quantized(language_model(), source)
    model = adapted(model, ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"])
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    losses = []
    assert train_(model, [tokens()] * 20, 20, 0.02, lambda step, loss: losses.append((step, loss))) is model
    assert [step for step, _ in losses] == [*range(1, 21)]
    assert losses[-1][1] < losses[0][1] - 0.2
    assert not model.training
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


@pytest.mark.parametrize(
    "make",
    [lambda: language_model().half(), lambda: quantized(language_model(), "nf4", False, torch.float16)],
    ids=["float16", "nf4"],
)
def test_beside_weights_in_float16_the_loss_is_scaled_and_adapters_stay_float32(make, monkeypatch):
    scaled, scale, losses = [], torch.amp.GradScaler.scale, []
    monkeypatch.setattr(
        "torch.amp.GradScaler.scale", lambda self, loss: scaled.append(self.is_enabled()) or scale(self, loss)
    )
    model = adapted(make(), ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"])
    train_(model, [tokens()] * 20, 20, 0.02, lambda step, loss: losses.append(loss))
    assert scaled == [True] * 20
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0] - 0.2
    assert {p.dtype for p in adapters(model).values()} == {torch.float32}


def test_training_is_adamw_on_the_loss_of_the_next_token():
    model, reference = adapted(), adapted()
    train_(model, [tokens()], 1, 0.01)
    optimizer = torch.optim.AdamW([p for p in reference.parameters() if p.requires_grad], lr=0.01)
    logits = reference(tokens()).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens()[:, 1:].flatten()).backward()
    optimizer.step()
    for name, p in adapters(model).items():
        torch.testing.assert_close(p, adapters(reference)[name])


def test_another_optimizer_gets_the_adapters_and_the_rate():
    model, got = adapted(), {}

    def optimizer(parameters, lr):
        parameters = list(parameters)
        got.update(n=len(parameters), lr=lr)
        return torch.optim.SGD(parameters, lr)

    train_(model, [tokens()], 1, 0.5, optimizer=optimizer)
    assert got == {"n": len(adapters(model)), "lr": 0.5}


def test_training_works_with_checkpointing():
    plain, checkpointed = adapted(), language_model()
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    checkpointed = adapted(checkpointed)
    for model in (plain, checkpointed):
        train_(model, [tokens()] * 2, 2, 0.01)
    for name, p in adapters(plain).items():
        torch.testing.assert_close(p, adapters(checkpointed)[name])


def test_training_goes_on_after_perplexity_was_measured():
    """Which on some CPUs is what stops the gradients of 4-bit layers that were loaded in another way."""
    model = adapted(quantized(language_model()))
    block_losses(model.eval(), tokens())
    train_(model, [tokens()], 1, 0.01)
    block_losses(model, tokens())
    train_(model, [tokens()], 1, 0.01)


def stop_gradients_at(module: nn.Module) -> None:
    module.register_forward_hook(lambda module, inputs, output: output.detach())


def test_stopped_gradients_are_refused_before_anything_is_changed():
    model = adapted()
    stop_gradients_at(model.get_submodule("base_model.model.lm_head"))
    before = adapters(model)
    with pytest.raises(ValueError, match="8 of 8 .* no gradient.*AVX512-BF16.*quantized.*detach"):
        train_(model, [tokens()], 1, 0.01)
    assert all(torch.equal(p, before[name]) for name, p in adapters(model).items())


def test_gradients_that_stop_half_way_are_refused_though_the_others_arrive():
    model = adapted()
    stop_gradients_at(model.get_submodule("base_model.model.model.layers.0"))
    with pytest.raises(ValueError, match=r"4 of 8 .*layers\.0\."):
        train_(model, [tokens()], 1, 0.01)


def test_gradients_of_zero_are_refused_like_none():
    model = adapted()
    module = model.get_submodule("base_model.model.model.layers.1.self_attn.v_proj.lora_B.default")
    module.register_forward_hook(lambda module, inputs, output: output * 0)
    with pytest.raises(ValueError, match=r"1 of 8 .*layers\.1\.self_attn\.v_proj\.lora_B"):
        train_(model, [tokens()], 1, 0.01)


def test_the_trap_of_bitsandbytes_is_caught_where_a_cpu_has_it_and_training_goes_on_elsewhere():
    trapped = has_avx512bf16()  # then bitsandbytes repacks the weights in eval mode
    model = adapted(quantized(language_model()))
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = trapped  # as bitsandbytes has it
    block_losses(model.eval(), tokens())
    refused = pytest.raises(ValueError, match="support_avx512bf16_for_cpu = False")
    with refused if trapped else contextlib.nullcontext():
        train_(model, [tokens()], 1, 0.01)


def test_a_model_without_adapters_is_refused():
    with pytest.raises(ValueError, match="attach"):
        train_(language_model().requires_grad_(False), [tokens()], 1, 0.01)


def test_batches_that_end_too_soon_are_an_error():
    with pytest.raises(ValueError, match="3 steps .* ended after 2"):
        train_(adapted(), [tokens()] * 2, 3, 0.01)


def test_a_loss_that_is_not_finite_is_an_error():
    model = adapted()
    model.get_submodule("base_model.model.lm_head").weight.fill_(math.inf)
    with pytest.raises(ValueError, match="at step 1: try a smaller lr than 0.01"):
        train_(model, [tokens()], 1, 0.01)


# What becomes of it


def trained(source="nf4"):
    model = quantized(language_model(), source, double=True)
    return train_(adapted(model), [tokens(seed=s) for s in range(3)], 3, 1e-2)


def test_merged_into_the_original_or_into_what_the_bits_stand_for():
    original, model = language_model(), trained()
    into = {name: merged(model, original, name) for name in ("original", "unpacked")}
    name = "model.layers.0.self_attn.q_proj"
    layer = model.get_submodule(f"base_model.model.{name}")
    change = layer.get_delta_weight("default")
    assert change.any()
    got = into["original"].get_submodule(name).weight - original.get_submodule(name).weight
    assert torch.allclose(got, change, atol=1e-6)
    got = into["unpacked"].get_submodule(name).weight - dequantize_module_weight(layer.base_layer)
    assert torch.allclose(got, change, atol=1e-6)
    assert all(torch.equal(p, q) for p, q in zip(original.parameters(), language_model().parameters()))


def test_a_step_lowers_the_loss_with_and_without_checkpointing_alike():
    model = adapted().train()
    plain, checkpointed = (next_token_loss(model, tokens(), each).item() for each in (False, True))
    assert plain == pytest.approx(checkpointed, rel=1e-5)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(5):
        step_(model, tokens(), optimizer)
    assert next_token_loss(model, tokens()).item() < plain


def test_unpacked_is_a_copy_whose_linear_layers_alone_differ():
    original, model = language_model(), quantized(language_model(), "nf4")
    copied = unpacked(model, original)
    assert set(linear_layers(original)) == {n for n, m in model.named_modules() if hasattr(m, "quant_state")}
    assert 5 < relative_error(copied, original).value < 15 and relative_error(original, original).value == 0
    assert torch.equal(copied.lm_head.weight, original.lm_head.weight)


def test_what_is_saved_has_16_bits_and_its_bytes_are_counted(tmp_path):
    model = language_model()
    counted = saved(model, tmp_path)
    assert counted.value == (tmp_path / "model.safetensors").stat().st_size
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_constants_that_are_quantized_twice_take_an_eighth_of_a_bit_or_more():
    assert 0.125 < constant_bits(quantized(language_model(), "nf4", double=True)).value < 0.2


def test_an_adapter_in_four_bits_is_a_seventh_as_large_and_the_model_has_it(tmp_path):
    model = trained()
    before = adapters(model)
    model.save_pretrained(tmp_path)
    size = round_adapter_(model, tmp_path)
    assert size["before"] == (tmp_path / "adapter_model.safetensors").stat().st_size > size["after"]
    for name, weight in adapters(model).items():
        off = (weight - before[name]).norm() / before[name].norm()
        assert 0.03 < off < 0.2, name
