"""Train LoRA beside models of full size with random weights on a GPU, and set the peak of
memory beside the calculator: what a step holds and takes does not depend on the weights.

    python -m labkit.recipes.full_size_qlora --out labs/03_qlora/recorded/gpu/nvidia_h200.json [--models 1B 7B 13B 65B]

A configuration that the card cannot hold is left out, since the calculator says so first.
"""

import argparse
import gc
import time
from functools import partial
from pathlib import Path

import torch
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from labkit import runs
from labkit.estimate import training_memory
from labkit.measure import Measurement, Timings, time_in_turn
from labkit.record import Record
from labkit.techniques.adapters import lora

SEED = 0
STEPS = 3  # whose memory is measured
ROUNDS = 20  # of steps in turn, which are timed
SOME = ("q_proj", "v_proj")
ALL = (*SOME, "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
COMMON = dict(
    model="1B",
    format="bf16",
    rank=16,
    target_modules=ALL,
    batch=4,
    length=512,
    checkpointing=False,
    optimizer="adamw",
)


def configurations() -> dict[str, dict]:
    """Settings of `measured` by the name of their row."""
    changes = {}
    both = {"": False, ", checkpointing": True}
    for name, targets in (("all layers", ALL), ("q and v", SOME)):
        for ending, checkpointing in both.items():
            for format in ("bf16", "int8", "nf4", "nf4 double"):
                changes[f"1B, {format}, {name}{ending}"] = dict(
                    format=format, target_modules=targets, checkpointing=checkpointing
                )
    for format in ("bf16", "nf4 double"):
        changes[f"1B, {format}, all layers, batch 8"] = dict(format=format, batch=8)
        changes[f"1B, {format}, all layers, 1 x 2048"] = dict(format=format, batch=1, length=2048)
        for ending, checkpointing in both.items():
            changes[f"1B, {format}, all layers, rank 64, AdamW 8-bit{ending}"] = dict(
                format=format,
                rank=64,
                optimizer="adamw 8-bit",
                checkpointing=checkpointing,
            )
    # As Dettmers and others tuned LLaMA: rank 64 beside every layer, checkpointing, AdamW in 8 bits; one sequence.
    paper = dict(rank=64, batch=1, optimizer="adamw 8-bit", checkpointing=True)
    for model in ("7B", "13B", "65B"):
        for format in ("bf16", "nf4 double"):
            changes[f"{model}, {format}, all layers, rank 64, AdamW 8-bit, 1 x 512, checkpointing"] = dict(
                model=model, format=format, **paper
            )
    # Pages are memory of the driver's, which may go to the host: PyTorch does not count them.
    for model in ("1B", "65B"):
        changes[f"{model}, nf4 double, all layers, rank 64, paged AdamW 8-bit, 1 x 512, checkpointing"] = dict(
            model=model,
            format="nf4 double",
            **paper | dict(optimizer="paged adamw 8-bit"),
        )
    return {name: COMMON | change for name, change in changes.items()}


def predicted(model: str, **options) -> dict[str, Measurement]:
    options["optimizer"] = options["optimizer"].removeprefix("paged ")
    return training_memory.training_footprint(training_memory.PRESETS[model], **options)


def random_model(preset: str, format: str, checkpointing: bool) -> LlamaForCausalLM:
    """Random weights in bf16, or quantized layer by layer: 65B would not fit in any other way."""
    sizes = {k: v for k, v in training_memory.PRESETS[preset].items() if k != "source"}
    config = LlamaConfig(**sizes, attn_implementation="sdpa", dtype="bfloat16", tie_word_embeddings=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.model.rotary_emb = LlamaRotaryEmbedding(config).cuda()
    for name, module in list(model.named_modules()):
        for key, parameter in list(module.named_parameters(recurse=False)):
            value = torch.randn(parameter.shape, device="cuda", dtype=torch.bfloat16) * 0.02
            if isinstance(module, nn.Linear) and name != "lm_head" and format != "bf16":
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, quantized(value, format))
            else:
                setattr(
                    module,
                    key,
                    nn.Parameter(value.abs() if value.dim() == 1 else value, requires_grad=False),
                )
    # What transformers sets when it loads a quantized model, and peft looks for.
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = "nf4" in format, format == "int8"
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def quantized(weight: torch.Tensor, format: str) -> nn.Linear:
    outputs, inputs = weight.shape
    if format == "int8":
        layer = Linear8bitLt(inputs, outputs, bias=False, has_fp16_weights=False, device="meta")
        layer.weight = Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        layer = Linear4bit(inputs, outputs, bias=False, compute_dtype=torch.bfloat16, device="meta")
        layer.weight = Params4bit(
            weight,
            requires_grad=False,
            quant_type="nf4",
            compress_statistics="double" in format,
        )
    return layer.cuda()


def prepared(
    model: str,
    format: str,
    rank: int,
    target_modules: tuple[str, ...],
    batch: int,
    length: int,
    checkpointing: bool,
    optimizer: str,
) -> tuple[nn.Module, torch.Tensor, type[torch.optim.Optimizer]]:
    """A model with adapters, a batch of tokens, and the optimizer's class."""
    torch.manual_seed(SEED)
    adapted = lora.attach_(random_model(model, format, checkpointing), rank, target_modules, alpha=rank)
    tokens = torch.randint(adapted.config.vocab_size, (batch, length), device="cuda")
    optimizers = {
        "adamw": torch.optim.AdamW,
        "adamw 8-bit": AdamW8bit,
        "paged adamw 8-bit": PagedAdamW8bit,
    }
    return adapted, tokens, optimizers[optimizer]


def measured(**options) -> dict[str, Measurement]:
    """Bytes at the peak of training steps, and of the weights and the adapters alone."""
    gc.collect()
    torch.cuda.empty_cache()
    start = torch.cuda.memory_allocated()
    model, tokens, optimizer = prepared(**options)
    gc.collect()
    held = torch.cuda.memory_allocated() - start - tokens.nbytes
    torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    lora.train_(model, [tokens] * STEPS, STEPS, lr=1e-4, optimizer=optimizer)
    peak = torch.cuda.max_memory_allocated() - start
    print(f"  {time.perf_counter() - begin:.1f} s for {STEPS} steps", flush=True)
    return {
        "held": Measurement.exact(held, "bytes"),
        "peak": Measurement.exact(peak, "bytes"),
    }


def step_times(named: dict[str, dict]) -> Timings:
    """Steps of several configurations in turn."""

    def step(model, tokens, optimizer):
        with torch.enable_grad():
            optimizer.zero_grad()
            model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
            optimizer.step()

    functions = {}
    for name, options in named.items():
        model, tokens, optimizer = prepared(**options)
        optimizer = optimizer([p for p in model.train().parameters() if p.requires_grad], lr=1e-4)
        functions[name] = partial(step, model, tokens, optimizer)
    return time_in_turn(functions, ROUNDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--models",
        nargs="+",
        default=list(training_memory.PRESETS),
        choices=training_memory.PRESETS,
    )
    given = parser.parse_args()
    torch.manual_seed(SEED)
    warm = torch.ones(256, 256, device="cuda", requires_grad=True)
    (warm @ warm).sum().backward()  # what CUDA's libraries take for themselves, they take now
    del warm
    card = torch.cuda.get_device_properties(0).total_memory
    record = Record("03_qlora", "", SEED, "cuda")  # no scale of a lab: a size
    named = {name: c for name, c in configurations().items() if c["model"] in given.models}
    for name, options in named.items():
        parts = predicted(**options)
        total = Measurement.exact(sum(m.value for m in parts.values()), "bytes")
        if total.value > 0.95 * card:
            print(f"{name}: {total}, more than this card holds")
            continue
        print(name, flush=True)
        row = measured(**options)
        record.add(name, settings=options, **row)
        print(f"  peak {row['peak']}, calculated {total}", flush=True)
    gc.collect()
    torch.cuda.empty_cache()
    for targets in ("all layers", "q and v"):
        baseline = f"1B, bf16, {targets}"
        ends = (f", {targets}", f", {targets}, checkpointing")
        timings = step_times({name: options for name, options in named.items() if name.endswith(ends)})
        print(record.find(f"step_{targets.replace(' ', '_')}_aa", timings.against_itself), flush=True)
        for name in timings:
            record.add(name, step=timings.latency(name), slowdown=timings.ratio(name, baseline))
            print(name, timings.latency(name), timings.ratio(name, baseline), flush=True)
        gc.collect()
    print(runs.save(record, given.out, "python -m labkit.recipes.full_size_qlora --out FILE"))


if __name__ == "__main__":
    main()
