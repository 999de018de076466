"""The calculator against tiny models that are built, and a training step in which everything is counted."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.estimate.kv_cache import kv_cache_bytes
from labkit.estimate.training_memory import (
    PRESETS,
    adapter_parameters,
    footprint_of,
    full_footprint,
    largest_error,
    total,
    training_footprint,
    weight_bytes,
)
from labkit.measure import Measurement, training_memory
from labkit.techniques.adapters.lora import attach_
from labkit.techniques.adapters.qlora import model_bytes, quantized

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
RANK, BATCH, LENGTH = 4, 2, 24

targets = pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["k_proj", "up_proj"], ALL])
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def tiny(attention="sdpa", **changed) -> LlamaConfig:
    sizes = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4)
    sizes |= dict(num_key_value_heads=2, vocab_size=97) | changed
    return LlamaConfig(**sizes, attn_implementation=attention)


def built(config: LlamaConfig, format: str, dtype: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    if format in DTYPES:
        return model.to(DTYPES[format])
    return quantized(model, format.split()[0], "double" in format, DTYPES[dtype])


def trained(config, format, dtype, targets, checkpointing=False):
    model = built(config, format, dtype)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return attach_(model, RANK, targets, alpha=8).train()


def counted(config, format, dtype, targets, checkpointing=False) -> dict[str, float]:
    model = trained(config, format, dtype, targets, checkpointing)
    tokens = torch.randint(config.vocab_size, (BATCH, LENGTH))
    parts = training_memory(
        model,
        lambda: model(input_ids=tokens, labels=tokens, use_cache=False).loss,
        torch.optim.AdamW(p for p in model.parameters() if p.requires_grad),
    )
    return {name: m.value for name, m in parts.items()}


def calculated(config, format, targets, length=LENGTH, **options) -> dict[str, float]:
    parts = training_footprint(config, format, RANK, targets, BATCH, length, **options)
    assert {m.unit for m in parts.values()} == {"bytes"}
    return {name: m.value for name, m in parts.items()}


# Weights


@dtypes
@pytest.mark.parametrize("format", ["same", "int8", "nf4", "nf4 double"])
def test_weights_are_what_the_model_holds(format, dtype):
    format = dtype if format == "same" else format
    assert weight_bytes(tiny(), format, dtype) == model_bytes(built(tiny(), format, dtype))


@pytest.mark.parametrize("changed", [{"tie_word_embeddings": True}, {"num_key_value_heads": 4}, {"head_dim": 32}])
def test_weights_follow_the_config(changed):
    assert weight_bytes(tiny(**changed), "nf4", "bf16") == model_bytes(built(tiny(**changed), "nf4", "bf16"))


def test_a_dictionary_will_do_for_a_config():
    sizes = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, vocab_size=50)
    assert weight_bytes(sizes, "fp32") == model_bytes(LlamaForCausalLM(LlamaConfig(**sizes)))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("1B", 1.1e9), ("7B", 6.7e9), ("13B", 13.0e9), ("65B", 65.2e9)],  # as the papers have them; LLaMA, in Table 2
)
def test_presets_have_the_parameters_that_the_papers_give(name, parameters):
    assert PRESETS[name]["source"]
    assert weight_bytes(PRESETS[name], "bf16") / 2 == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_models_of_just_so_many_parameters(name):
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**PRESETS[name]))
    assert weight_bytes(PRESETS[name], "bf16") == 2 * sum(p.numel() for p in model.parameters())


def test_double_quantization_leaves_constants_of_0_127_bits_out_of_half_a_bit():
    """Section 3 of Dettmers et al. 2023, whose figures leave out the values that each layer has a copy of."""
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    saved = weight_bytes(PRESETS["7B"], "nf4") - weight_bytes(PRESETS["7B"], "nf4 double")
    assert 8 * saved / linear == pytest.approx(0.5 - 0.127, abs=0.0005)


# A step of training


@targets
def test_adapters_gradients_and_optimizer_are_exact(targets):
    measured, parts = counted(tiny(), "nf4", "fp32", targets), calculated(tiny(), "nf4", targets, dtype="fp32")
    assert parts["gradients"] == measured["gradients"]
    assert parts["optimizer"] == measured["optimizer state"]
    model = trained(tiny(), "nf4", "bf16", targets)
    adapters = [p for p in model.parameters() if p.requires_grad]
    assert parts["adapters"] == sum(p.nbytes for p in adapters)
    assert adapter_parameters(tiny(), RANK, targets) == sum(p.numel() for p in adapters)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@dtypes
@targets
def test_activations_are_what_autograd_saves(targets, dtype, attention, checkpointing):
    config = tiny(attention)
    parts = calculated(config, dtype, targets, checkpointing=checkpointing, attention=attention)
    assert (
        parts["activations"] + parts["logits"] == counted(config, dtype, dtype, targets, checkpointing)["activations"]
    )


@pytest.mark.parametrize("changed", [{"num_key_value_heads": 4}, {"head_dim": 32}, {"tie_word_embeddings": True}])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_activations_follow_the_config(changed, attention):
    config = tiny(attention, **changed)
    parts = calculated(config, "bf16", ALL, attention=attention)
    assert parts["activations"] + parts["logits"] == counted(config, "bf16", "bf16", ALL)["activations"]


@pytest.mark.parametrize("checkpointing", [False, True])
@dtypes
def test_four_bits_save_no_activations(dtype, checkpointing):
    parts = calculated(tiny(), "nf4 double", ALL, dtype=dtype, checkpointing=checkpointing)
    assert (
        parts["activations"] + parts["logits"]
        == counted(tiny(), "nf4 double", dtype, ALL, checkpointing)["activations"]
    )
    plain = calculated(tiny(), dtype, ALL, checkpointing=checkpointing)
    assert parts["activations"] == plain["activations"]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ALL])
@pytest.mark.parametrize("checkpointing", [False, True])
@dtypes
def test_eight_bit_layers_hold_their_inputs_where_autograd_does_not_see_them(dtype, checkpointing, targets, attention):
    config = tiny(attention)
    model = trained(config, "int8", dtype, targets, checkpointing)
    tokens = torch.randint(config.vocab_size, (BATCH, LENGTH))
    saved: dict[int, torch.UntypedStorage] = {}

    def remember(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [parent for parent, _ in node.next_functions]
        if "MatMul8bitFp" in node.name():
            remember(node.A)
    for tensor in (*model.parameters(), *model.buffers()):
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    parts = calculated(config, "int8", targets, dtype=dtype, checkpointing=checkpointing, attention=attention)
    assert parts["activations"] + parts["logits"] == sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize(("vocabulary", "tolerance"), [(8000, 0.005), (64, 0.05)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("format", ["fp32", "nf4 double"])
def test_the_sum_is_the_peak(format, checkpointing, vocabulary, tolerance):
    """Counted where the logits make the peak; where a block does, the workspace is an estimate."""
    length, config = 64, tiny(hidden_size=128, intermediate_size=352, vocab_size=vocabulary)
    dtype = "fp32" if format == "fp32" else "bf16"
    model = trained(config, format, dtype, ALL, checkpointing)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    tokens = torch.randint(vocabulary, (BATCH, length))

    def step():
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    parts = calculated(config, format, ALL, length, dtype=dtype, checkpointing=checkpointing)
    kept = parts["weights"] + parts["adapters"] + parts["optimizer"]
    assert sum(parts.values()) == pytest.approx(kept + peak, rel=tolerance)


def test_the_state_of_8_bit_adamw_is_a_quarter_and_the_scales():
    sizes = dict(hidden_size=1024, intermediate_size=1024, num_attention_heads=16)
    parts = calculated(tiny(**sizes), "nf4", ["q_proj"], optimizer="adamw 8-bit")
    n = parts["adapters"] / 4
    assert parts["optimizer"] == 2 * n + 8 * n / 256


def test_8_bit_adamw_leaves_small_tensors_in_32_bits():
    parts = calculated(tiny(), "nf4", ["q_proj"], optimizer="adamw 8-bit")
    assert parts["optimizer"] == 2 * parts["adapters"]


# Generation


@dtypes
def test_the_cache_of_keys_and_values_is_what_generation_keeps(dtype):
    model = built(tiny(), dtype, dtype)
    cache = model(torch.randint(97, (BATCH, LENGTH)), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert kv_cache_bytes(tiny(), BATCH, LENGTH, dtype) == held


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "int4"}, "'int4'.*nf4 double"),
        ({"dtype": "fp8"}, "'fp8'.*bf16"),
        ({"optimizer": "sgd"}, "'sgd'.*adamw"),
        ({"attention": "flash"}, "'flash'.*sdpa"),
        ({"rank": 0}, "1 or more"),
        ({"length": 0}, "1 or more"),
        ({"target_modules": ["q_proj", "c_attn"]}, "no c_attn; it has q_proj"),
        ({"config": {"model_type": "gpt2"}}, "Llama.*gpt2"),
        ({"config": tiny(attention_bias=True)}, "without biases"),
    ],
)
def test_what_it_does_not_know_it_says(options, message):
    known = dict(config=tiny(), format="nf4", rank=4, target_modules=["q_proj"], batch=1, length=8)
    with pytest.raises(ValueError, match=message):
        training_footprint(**known | options)


# All parameters


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("changed", [{}, {"num_key_value_heads": 4}, {"head_dim": 32}, {"tie_word_embeddings": True}])
def test_of_all_parameters_weights_gradients_and_activations_are_what_pytorch_holds(changed, checkpointing):
    model = LlamaForCausalLM(tiny(**changed)).to(torch.bfloat16).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.randint(97, (BATCH, LENGTH))
    optimizer = torch.optim.AdamW(model.parameters())
    measured = training_memory(model, lambda: model(input_ids=ids, labels=ids, use_cache=False).loss, optimizer)
    parts = {name: m.value for name, m in full_footprint(tiny(**changed), BATCH, LENGTH, checkpointing).items()}
    assert parts["weights"] == sum(p.nbytes for p in model.parameters())
    assert parts["gradients"] == measured["gradients"].value
    assert parts["optimizer"] == 8 * sum(p.numel() for p in model.parameters())
    assert parts["activations"] + parts["logits"] == measured["activations"].value


def test_a_recorded_configuration_is_calculated_and_pages_are_no_memory_of_the_gpu():
    given = dict(format="nf4 double", rank=64, target_modules=ALL, batch=1, length=512, checkpointing=True)
    parts = footprint_of({"model": "7B", "optimizer": "adamw 8-bit"} | given)
    assert parts == training_footprint(PRESETS["7B"], optimizer="adamw 8-bit", **given)
    paged = footprint_of({"model": "7B", "optimizer": "paged adamw 8-bit"} | given)
    assert paged["optimizer"].value == 0
    assert total(parts).value - total(paged).value == parts["optimizer"].value


def test_the_largest_error_is_that_of_the_worst_part():
    names = ("weights", "adapters", "gradients", "optimizer", "activations", "logits")
    parts = dict(zip(names, (Measurement.exact(n, "bytes") for n in (90, 10, 50, 100, 30, 30))))
    counted = {name: Measurement.exact(100, "bytes") for name in ("weights", "optimizer state")}
    counted |= {"gradients": Measurement.exact(50, "bytes"), "activations": Measurement.exact(50, "bytes")}
    assert str(largest_error(parts, counted)) == "20.0%"
