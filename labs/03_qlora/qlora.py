# ---
# jupyter:
#   execution:
#     timeout: 900
#   jupytext:
#     cell_metadata_filter: tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,execution,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 03 · QLoRA, from sixteen numbers to a fine-tuned model
#
# To run this lab, clone its whole repository and open the notebook there.
#
# **Fine-tune a language model whose weights have four bits: what is saved, where, and what does it cost in quality and time?**
#
# After this lab you can
#
# - derive the sixteen numbers of NF4 and quantize a weight to them, as bitsandbytes does;
# - train a language model through adapters, beside weights of 16 and of 4 bits;
# - say where the memory of training goes, part by part, and calculate it before anything runs;
# - merge, save and load what was trained, and check that it is the same model;
# - tell which of QLoRA's promises hold for a small model, and why the others do not.
#
# What this lab needs, measured, stands below the set-up.

# %% tags=["hide-input"]
import os
import runpy

if not os.path.exists("claims.toml"):
    raise FileNotFoundError(f"""no claims.toml in {os.getcwd()}: a lab needs its folder.
In a clone, run it there, in labs/NN_name. Opened alone? Clone its whole repository.
(The owner types `labkit repository OWNER/NAME` once; then it fetches the rest.)""")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing

# %%
import torch
from torch import nn

from labkit import claims, lab, measure, plot, scale, show, zoo
from labkit.estimate import block_quantization, kv_cache, training_memory
from labkit.measure import Measurement, mean_with_interval
from labkit.table import Table
from labkit.techniques.adapters import lora, qlora
from labkit.techniques.quantization import nf4

record, settings, device, files = lab.start(
    "03_qlora",
    # At scale quick, standard and full.
    source=("package", "package", "hub" if scale.hub_reachable() else "package"),
    length=(128, 256, 256),  # tokens in a block
    held_out_blocks=(4, 12, 24),
    seeds=(1, 2, 3),
    batch=(1, 2, 2),
    steps=(3, 10, 40),
    learning_rate=(2e-3, 2e-3, 1e-3),
    timing_rounds=(2, 3, 5),
    new_tokens=(8, 30, 40),
)

# %% [markdown]
# ## 1 · The idea
#
# To train a model you keep five things in memory: its weights, the gradients of what is trained, the optimizer's state for it, the activations that the backward pass needs, and the workspace: everything else allocated at the peak.
# Full fine-tuning in 16 bits with AdamW {cite}`loshchilov2019decoupled` keeps twelve bytes per parameter before the first token is read: two for the weight, two for its gradient, eight for the optimizer.
# LoRA {cite}`hu2022lora` freezes the weight $W$ and trains two thin matrices beside it; QLoRA {cite}`dettmers2023qlora` moreover holds $W$ in four bits and unpacks it layer by layer, whenever it is needed:
#
# $$ y = \operatorname{unpack}(W_4)\, x + \frac{\alpha}{r}\, B A x, \qquad A \in \mathbb{R}^{r \times \text{in}},\; B \in \mathbb{R}^{\text{out} \times r} $$
#
# $r$ is the rank, $\alpha / r$ a constant, and only $A$ and $B$ have gradients and optimizer state.
#
# **Ask yourself:** four bits shrink only one of the five things.
# Which one is it, and for which models is it the largest?
#
# ## 2 · The model and the text
#
# A small chat model {cite}`allal2025smollm2` or, with a GPU and the model hub, TinyLlama {cite}`zhang2024tinyllama`.
# It is adapted to the language reference of Python itself: the topics of `help()`, of which a tenth is held out.

# %%
loaded = zoo.language_model(settings.source)
corpus = zoo.documentation_corpus()
tokenizer = loaded.tokenizer
training = zoo.blocks(corpus.training, tokenizer, settings.length).to(device)
held_out = zoo.blocks(corpus.held_out, tokenizer, settings.length)
held_out = held_out[: settings.held_out_blocks].to(device)
print(loaded.origin, corpus.origin, sep="\n")
print(f"{len(training)} blocks to train on and {len(held_out)} to measure on, ", end="")
print(f"of {settings.length} tokens each")
layers = {
    name: module
    for name, module in loaded.model.named_modules()
    if isinstance(module, nn.Linear) and name != "lm_head"
}
in_layers = sum(module.weight.numel() for module in layers.values())
whole = measure.parameters(loaded.model)
print(
    f"{whole} parameters, {in_layers / whole.value:.0%} of them in {len(layers)}",
    end="",
)
print(" linear layers; the others are embeddings and norms")

# %% [markdown]
# The measure of quality is *perplexity*: among how many tokens the model hesitates, on average, when it predicts the next one of the held-out text.
# Blocks of text differ more than models do, so models are compared block by block.
#
# If the weights come from the package, they have been through four bits before.
# What follows is then the error of quantizing once more, and a small model has little to spare: expect more loss than the papers report for large ones.
#
# ## 3 · Sixteen numbers
#
# Weights of a trained layer are distributed much like a normal distribution.
# NF4 puts its sixteen numbers where such weights are: at quantiles, evenly spaced in probability.
# Each block of 64 weights is divided by its largest, and every weight takes the nearest of the sixteen.

# %%
show(nf4.nf4_values, nf4.quantize_blocks)

# %%
eight = torch.tensor([[0.1, -0.4, 0.2, 0.0], [8.0, -2.0, 1.0, 3.0]])
codes, absmax = nf4.quantize_blocks(eight, nf4.nf4_values(), block=4)
print("codes", codes.tolist())
print("back", nf4.dequantize_blocks(codes, absmax, nf4.nf4_values(), 4))
packed = nf4.pack_nibbles(codes)
print(f"{packed.numel()} bytes hold {codes.numel()} codes")

# %% [markdown]
# The largest of a block and its zeros come back exactly.
# On a real layer, next to the numbers of FP4, four bits of sign, exponent and mantissa:

# %%
import numpy as np

name, layer = list(layers.items())[len(layers) // 2]
weight = layer.weight.detach()
scaled = weight.flatten()[: weight.numel() // 64 * 64].view(-1, 64)
scaled = scaled / scaled.abs().amax(1, keepdim=True)
figure, axes = plot.subplots(2, 1, sharex=True)
figure.set_size_inches(7.5, 4.2)
for ax, (kind, values) in zip(
    axes, {"NF4": nf4.nf4_values(), "FP4": nf4.fp4_values()}.items()
):
    codes, absmax = nf4.quantize_blocks(weight, values)
    error = nf4.dequantize_blocks(codes, absmax, values) - weight
    used = np.bincount(codes.flatten().numpy(), minlength=16)
    ax.hist(scaled.flatten().numpy(), 200, color=plot.SKY)
    ax.vlines(values, 0, ax.get_ylim()[1], color="black", linewidth=1)
    title = f"{kind}: error {error.norm() / weight.norm():.1%} of the weights, "
    ax.set(ylabel="weights", title=title + f"{(used > 0).sum()} codes used")
axes[-1].set_xlabel(f"weights of {name}, divided by the largest of their block")
figure.alt = (
    "Histogram of a layer's scaled weights with the 16 values of NF4 and of FP4."
)
figure

# %% [markdown]
# bitsandbytes computes the same, code for code:

# %%
import bitsandbytes

theirs, state = bitsandbytes.functional.quantize_4bit(weight, quant_type="nf4")
codes, absmax = nf4.quantize_blocks(weight, nf4.nf4_values())
assert torch.equal(nf4.pack_nibbles(codes), theirs.flatten())
assert torch.equal(absmax, state.absmax) and torch.equal(nf4.nf4_values(), state.code)
print(f"{codes.numel():,} codes of {name} and {absmax.numel():,} constants are equal")

# %% [markdown]
# ### Half a bit of constants
#
# A block's constant is a float32: $32 / 64 = 0.5$ bits per weight.
# *Double quantization* gives the constants eight bits, in blocks of 256 that share one float32: $8 / 64 + 32 / (64 \cdot 256) = 0.127$ bits.

# %%
show(nf4.double_quantize, block_quantization.bits_per_parameter)

# %%
for double in (False, True):
    held = [
        block_quantization.storage_bytes(m.weight.numel(), double=double)
        for m in layers.values()
    ]
    bits = {part: 8 * sum(h[part] for h in held) / in_layers for part in held[0]}
    print(
        f"{block_quantization.bits_per_parameter(double=double):.3f} bits per weight; ",
        end="",
    )
    print("in this model", ", ".join(f"{part} {b:.3f}" for part, b in bits.items()))

# %% [markdown]
# ## 4 · Six formats
#
# The linear layers of the whole model in each format; in 8 and 4 bits embeddings, norms and the last layer keep 16, as bitsandbytes leaves them.
# *File* is what a format takes on disk; *error* is the distance of the linear layers from the original, relative to their size.
# All compute in float32, so that only the weights differ.


# %%
import copy
import gc

from peft.utils.integrations import dequantize_module_weight


def stored(model: nn.Module, name: str, rest: torch.dtype) -> Measurement:
    """Bytes of the model's file of weights, when what is not quantized is in `rest`."""
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(rest)
    model.save_pretrained(files / name)
    sizes = [file.stat().st_size for file in (files / name).glob("*.safetensors")]
    return Measurement.exact(sum(sizes), "bytes")


def unpacked(model: nn.Module) -> nn.Module:
    """The original with the linear layers of another model, in float32."""
    unpacked = copy.deepcopy(full)
    for name in layers:
        weight = dequantize_module_weight(model.get_submodule(name)).float()
        unpacked.get_submodule(name).weight.data = weight
    return unpacked


def error(model: nn.Module) -> Measurement:
    """Distance of the linear layers from the original, as a share of their norm."""
    pairs = [
        (model.get_submodule(n).weight, layer.weight) for n, layer in layers.items()
    ]
    distance = sum(((ours - theirs) ** 2).sum() for ours, theirs in pairs)
    norm = sum((theirs**2).sum() for _, theirs in pairs)
    return Measurement.exact(100 * (distance / norm).sqrt().item(), "%")


def evaluate(title: str, model: nn.Module, reference: str = "FP32") -> Measurement:
    """Add perplexity to the row, alone and as a multiple of the reference's."""
    losses[title] = measure.block_losses(model, held_out)
    record.add(
        title,
        perplexity=measure.perplexity(losses[title]),
        times_reference=measure.perplexity_ratio(losses[title], losses[reference]),
    )
    return record.get(title, "perplexity")


source = loaded.model.name_or_path
full = loaded.model.to(device)
full.requires_grad_(False)
formats = {
    "FP32": lambda: full,
    "FP16": lambda: copy.deepcopy(full).half(),
    "INT8": lambda: qlora.quantized(source, "int8", device=device),
    "FP4": lambda: qlora.quantized(source, "fp4", device=device),
    "NF4": lambda: qlora.quantized(source, "nf4", device=device),
    "NF4 double": lambda: qlora.quantized(source, "nf4", double=True, device=device),
}
losses = {}
for title, make in formats.items():
    model = make()
    in_float32 = unpacked(model)
    evaluate(title, in_float32)
    rest = torch.float32 if title == "FP32" else torch.float16
    file = stored(model, title, rest)
    record.add(title, (title,), file=file, error=error(in_float32))
    del in_float32
    gc.collect()  # models refer to themselves, and would stay for a while
quantized = [model.get_submodule(name).weight.quant_state for name in layers]
constants = sum(q.absmax.nbytes + q.state2.absmax.nbytes for q in quantized)
record.find(
    "double_constants_bits", Measurement.exact(8 * constants / in_layers, "bits")
)
record.table("file", "error", "perplexity", "times_reference")

# %%
from transformers import AutoModelForCausalLM

same = AutoModelForCausalLM.from_pretrained(
    files / "NF4 double", dtype=torch.float16, device_map={"": device}
).state_dict()
assert all(torch.equal(same[name], t) for name, t in model.state_dict().items())
print("the file of four bits loads as the same weights, to the bit")
del model, same
figure = plot.cost_quality(record, "file", "times_reference", list(formats), True)
figure

# %% [markdown]
# Eight bits cost nothing that can be seen.
# Four bits take more than an eighth of 32, because embeddings stay and constants are added; and at four bits the format matters: NF4 is better than FP4.
#
# ## 5 · Adapters
#
# LoRA is a few lines around a linear layer:

# %%
show(lora.LoRALinear)

# %%
linear = nn.Linear(4, 4, bias=False)
linear.weight.data = torch.eye(4)
adapted = lora.LoRALinear(linear, rank=1, alpha=2.0)
adapted.A.data = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
x = torch.tensor([1.0, 2.0, 3.0, 4.0])
assert torch.equal(adapted(x), x)  # B starts at zero: the model starts as it was
adapted.B.data = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
print(adapted(x).tolist(), "= x + 2 · (first number of x) at the fourth place")
assert torch.equal(adapted.merged()(x), adapted(x))

# %% [markdown]
# On the real model peft does the same.
# Full-precision LoRA and QLoRA start from the same seed, so that their $A$ are equal, and see the same batches.
# The arithmetic runs in bfloat16, as in QLoRA's paper, where the device multiplies it.
# A GPU without it computes in float16, with the loss scaled so that small gradients do not vanish {cite}`micikevicius2018mixed`; a CPU without it in float32.

# %%
from labkit.techniques.training import compute_dtype

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 16
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
dtype = compute_dtype(device)
print(f"training computes in {NAMES[dtype]}")


# %%
import psutil


def base(method: str) -> nn.Module:
    """The frozen model: in full precision, or in four bits."""
    if method == "QLoRA":
        return qlora.quantized(source, "nf4", double=True, dtype=dtype, device=device)
    return copy.deepcopy(full).to(dtype)


def batches(seed: int):
    """Random batches of training blocks, without end."""
    return zoo.random_blocks(training, settings.batch, seed)


optimizers = {"cpu": torch.optim.AdamW, "cuda": bitsandbytes.optim.PagedAdamW8bit}
shape = (settings.batch, settings.length)
parts = training_memory.training_footprint(
    full.config, NAMES[dtype], RANK, LAYERS, *shape
)
free = psutil.virtual_memory().available
if device == "cuda":
    torch.cuda.empty_cache()  # what PyTorch keeps for later is free, too
    free = torch.cuda.mem_get_info()[0]
training_memory.require_memory(parts, free)


def finetuned(model: nn.Module, seed: int, rank: int = RANK, targets=LAYERS):
    """The model with trained adapters, and the loss of every step."""
    torch.manual_seed(seed)
    model = lora.attach_(model, rank, targets, alpha=2 * rank)
    history = []
    lora.train_(
        model,
        batches(seed),
        settings.steps,
        settings.learning_rate,
        progress=lambda step, loss: history.append(loss),
        optimizer=optimizers[device],
    )
    return model, history


histories, tuned = {"LoRA": [], "QLoRA": []}, {}
for seed in range(settings.seeds):
    for method in histories:
        tuned.pop(method, None)  # the last seed's, before there is another
        gc.collect()
        model, history = finetuned(base(method), seed)
        tuned[method] = model.eval()
        histories[method].append(history)
        evaluate(f"{method}, seed {seed}", model)
plot.curves(
    {
        method: {
            step: mean_with_interval([h[step - 1] for h in runs], "nats per token")
            for step in range(1, settings.steps + 1)
        }
        for method, runs in histories.items()
    },
    "step",
    "training loss",
)

# %%
starts = {"LoRA": "FP32", "QLoRA": "NF4 double"}
for method, start in starts.items():
    after = [losses[f"{method}, seed {seed}"] for seed in range(settings.seeds)]
    ratios = [measure.perplexity_ratio(run, losses[start]).value for run in after]
    gain = mean_with_interval([100 * (1 - ratio) for ratio in ratios], "%")
    record.find(f"{method.lower()}_improvement", gain)
    values = [measure.perplexity(run).value for run in after]
    record.add(
        method,
        ("NF4 double",) * (method == "QLoRA") + ("LoRA",),
        perplexity=mean_with_interval(values, ""),
        times_reference=mean_with_interval(
            [measure.perplexity_ratio(run, losses["FP32"]).value for run in after], "×"
        ),
    )
    print(f"{method}: from {record.get(start, 'perplexity')} to ", end="")
    print(f"{record.get(method, 'perplexity')}, {gain} better")
worse = mean_with_interval(
    [
        measure.perplexity_ratio(
            losses[f"QLoRA, seed {s}"], losses[f"LoRA, seed {s}"]
        ).value
        for s in range(settings.seeds)
    ],
    "×",
)
record.find("qlora_times_lora", worse)
record.find("before_times_lora", record.get("NF4 double", "times_reference"))
print(f"QLoRA's perplexity is {worse} LoRA's after training; ", end="")
print(f"before it was {record.get('NF4 double', 'times_reference')} the original's")

# %% [markdown]
# Both learn the same text from the same batches.
# Training makes up for a good part of what four bits took, and not for all of it: the curves stay apart.
#
# ## 6 · What it writes
#
# The same prompts, always the likeliest next token, before and after.

# %%
from IPython.display import display

PROMPTS = ("The with statement is used to", "A generator function is")
writers = {"before": full, "after LoRA": tuned["LoRA"], "after QLoRA": tuned["QLoRA"]}
for prompt in PROMPTS:
    texts = [
        [who, zoo.complete(model, tokenizer, prompt, settings.new_tokens)]
        for who, model in writers.items()
    ]
    display(Table([prompt + " …", ""], texts))

# %% [markdown]
# The style is the documentation's; the facts are still those of a small model.
# Perplexity measures style and vocabulary, not truth.

# %% [markdown]
# ## 7 · Where the memory goes
#
# What a training step keeps is counted tensor by tensor: what is held, and what autograd saves for the backward pass.
# *Checkpointing* {cite}`chen2016training` keeps only the input of each block and computes the block again when the backward pass arrives.

# %%
from functools import partial

tuned["LoRA"] = writers = None  # room for what follows
steppers, kinds, tokens = {}, {}, next(batches(lab.SEED))


def forward(model: nn.Module, checkpointing: bool) -> torch.Tensor:
    """The loss of one batch."""
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        model.gradient_checkpointing_disable()
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


@torch.enable_grad()
def step(model: nn.Module, checkpointing: bool, optimizer) -> None:
    optimizer.zero_grad()
    forward(model, checkpointing).backward()
    optimizer.step()


for method in starts:
    model = lora.attach_(base(method), RANK, LAYERS, alpha=2 * RANK).train()
    held = Measurement.exact(qlora.model_bytes(model), "bytes")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizers[device](trained)
    for checkpointing in (False, True):
        loss = partial(forward, model, checkpointing)
        counted = measure.training_memory(model, loss, optimizer)
        title = method + ", checkpointing" * checkpointing
        kinds[title] = (method, checkpointing)
        steppers[title] = partial(step, model, checkpointing, optimizer)
        record.add(
            f"step, {title}",
            weights_and_adapters=held,
            gradients=counted["gradients"],
            optimizer=counted["optimizer state"],
            activations_and_logits=counted["activations"],
        )
record.table("weights_and_adapters", "gradients", "optimizer", "activations_and_logits")

# %%
timings = measure.time_in_turn(steppers, settings.timing_rounds, warmup=1)
for title in steppers:
    record.add(
        f"step, {title}",
        time=timings.latency(title),
        times_lora=timings.ratio(title, "LoRA"),
    )
record.table("time", "times_lora")

# %% [markdown]
# ### A calculator
#
# Every one of these numbers follows from the architecture.
# `labkit.estimate.training_memory` counts them without running anything; here it is beside the count, as a picture by part, with everything else allocated at the peak (*workspace*).

# %%
steppers = model = optimizer = trained = loss = None  # room for what follows
gc.collect()
calculated, picture = [], {}
for title, (method, checkpointing) in kinds.items():
    format = "nf4 double" if method == "QLoRA" else NAMES[dtype]
    parts = training_memory.training_footprint(
        full.config,
        format,
        RANK,
        LAYERS,
        *shape,
        dtype=NAMES[dtype],
        optimizer="adamw" if device == "cpu" else "adamw 8-bit",
        checkpointing=checkpointing,
    )
    value = {name: part.value for name, part in parts.items()}
    picture[title] = value
    counted = record.rows[f"step, {title}"].measurements
    pairs = {
        "weights_and_adapters": value["weights"] + value["adapters"],
        "gradients": value["gradients"],
        "optimizer": value["optimizer"],
        "activations_and_logits": value["activations"] + value["logits"],
    }
    off = {name: v / counted[name].value - 1 for name, v in pairs.items()}
    calculated.append([title, *(f"{d:+.2%}" for d in off.values())])


def by_part(bars: dict[str, dict[str, float]], limits=()):
    """Horizontal bars of bytes, stacked by part."""
    figure, ax = plot.subplots()
    figure.set_size_inches(7.5, 1.2 + 0.42 * len(bars))
    left = np.zeros(len(bars))
    looks = zip(next(iter(bars.values())), (*plot.LOOKS, ("#F0E442",)), "/\\.x-|+")
    for part, (colour, *_), hatch in looks:
        widths = np.array([bar[part] for bar in bars.values()]) / 1e9
        options = dict(color=colour, hatch=hatch, edgecolor="white", label=part)
        ax.barh(list(bars), widths, 0.7, left, **options)
        left += widths
    for limit in limits:
        ax.axvline(limit, color="black", linewidth=1, linestyle="--")
    ax.invert_yaxis()
    ax.set_xlabel("memory of a training step (GB)")
    figure.legend(loc="outside upper center", ncols=4)
    totals = (f"{name} {total:.2g} GB" for name, total in zip(bars, left))
    figure.alt = f"Stacked bars of training memory by part: {', '.join(totals)}."
    return figure


display(by_part(picture))
print("the calculator against the count:")
Table(["", *(name.replace("_", " ") for name in pairs)], calculated)

# %% [markdown]
# Four bits make the first part small.
# If the others are larger, as here, little is won: the *footprint* of a model is not what its training needs.
# Checkpointing removes the largest of them, and pays with a second forward pass.

# %% [markdown]
# ## 8 · How many adapters, and where?
#
# Full-precision LoRA with other ranks and targets, the same batches and the same number of steps, and beside it the training of all parameters, which needs smaller steps.
# One seed and one learning rate each: a tuned full training may do better.

# %%
sweep = {
    "q and v, rank 8": (8, ("q_proj", "v_proj")),
    "all layers, rank 64": (64, LAYERS),
}
trainable = {f"all layers, rank {RANK}": (RANK, LAYERS)} | sweep
losses[f"all layers, rank {RANK}"] = losses["LoRA, seed 0"]
for title, (rank, targets) in sweep.items():
    model, _ = finetuned(base("LoRA"), lab.SEED, rank, targets)
    evaluate(title, model.eval())
    del model
    gc.collect()
torch.manual_seed(lab.SEED)
full.requires_grad_()
full.gradient_checkpointing_enable({"use_reentrant": False})  # or 15 GB are too few
# Without the cache: it would keep the weights as they were cast in the first step.
with torch.autocast(device, dtype, dtype != torch.float32, cache_enabled=False):
    lora.train_(
        full,
        batches(lab.SEED),
        settings.steps,
        settings.learning_rate / 10,
        optimizer=bitsandbytes.optim.AdamW8bit,  # its state in a quarter of the memory
    )
evaluate("all parameters", full)
del full  # before there is another
gc.collect()
full = zoo.language_model(settings.source).model.to(device).requires_grad_(False)
for title, (rank, targets) in trainable.items():
    count = training_memory.adapter_parameters(full.config, rank, targets)
    record.add(
        title,
        ("LoRA",),
        perplexity=measure.perplexity(losses[title]),
        trained=Measurement.exact(100 * count / whole.value, "%"),
        times_full=measure.perplexity_ratio(losses[title], losses["all parameters"]),
    )
display(record.table("trained", "perplexity", "times_full"))
figure = plot.cost_quality(record, "trained", "times_full", list(trainable), True)
figure

# %% [markdown]
# ## 9 · Merge, save, load
#
# The adapter is a small file of its own.
# It can be *merged*: $W + \frac{\alpha}{r} B A$ is one matrix again, and costs nothing when it runs.
# Merged into the unpacked weights, nothing is lost; quantized once more, the small change meets a coarse grid.
# And the adapter itself can be quantized.


# %%
from peft import PeftModel


def merged_into(model: nn.Module, adapted: nn.Module) -> nn.Module:
    """Write the unpacked weights plus their adapters into a model without adapters."""
    for name, module in adapted.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = dequantize_module_weight(module.base_layer).float()
            weight = weight + module.get_delta_weight("default").float()
            model.get_submodule(name).weight.data = weight.to(model.dtype)
    return model


def compared(title: str, model: nn.Module, file: Measurement) -> None:
    """A row of what the trained model became: its file and its perplexity."""
    losses[title] = measure.block_losses(model, held_out)
    trained = losses[f"QLoRA, seed {settings.seeds - 1}"]
    record.add(
        title,
        file=file,
        perplexity=measure.perplexity(losses[title]),
        times_trained=measure.perplexity_ratio(losses[title], trained),
    )


adapted, block = tuned["QLoRA"], held_out[:1]
adapted.save_pretrained(files / "adapter")
adapter = files / "adapter" / "adapter_model.safetensors"
again = PeftModel.from_pretrained(base("QLoRA"), files / "adapter").eval()
with torch.no_grad():
    assert torch.equal(again(block).logits, adapted(block).logits)
bytes_of = adapter.stat().st_size
print(f"{bytes_of:,} bytes of adapter load beside the same weights as the same model")
base_file = record.get("NF4 double", "file").value
compared("beside NF4", again, Measurement.exact(base_file + bytes_of, "bytes"))
del again
_ = gc.collect()

# %%
merged = merged_into(copy.deepcopy(full), adapted)
file = stored(merged, "merged", torch.float32)
with torch.no_grad():
    logits = {"merged": merged(block).logits, "beside": adapted(block).logits}
del merged  # and what is left of it is the file
gc.collect()
again = AutoModelForCausalLM.from_pretrained(files / "merged", device_map={"": device})
with torch.no_grad():
    assert torch.equal(again.eval()(block).logits, logits["merged"])
first, second = (values.argmax(2).cpu() for values in logits.values())
same = measure.agreement(first, second)
print(f"merged, it predicts the same token in {same} of cases")
compared("merged, in 32 bits", again, file)
del again
gc.collect()
again = qlora.quantized(
    files / "merged", "nf4", double=True, dtype=dtype, device=device
)
compared("merged, quantized again", again, stored(again, "again", dtype))


# %%
from pathlib import Path

from peft import set_peft_model_state_dict
from safetensors.torch import load_file, save_file


def quantized_adapter(path: Path) -> dict[str, torch.Tensor]:
    """The adapter through a file that holds it in NF4."""
    values, stored, weights = nf4.nf4_values(), {}, load_file(path)
    for name, weight in weights.items():
        codes, absmax = nf4.quantize_blocks(weight, values)
        stored |= {f"{name}.codes": nf4.pack_nibbles(codes), f"{name}.absmax": absmax}
    save_file(stored, files / "adapter.nf4.safetensors")
    stored = load_file(files / "adapter.nf4.safetensors")
    for name, weight in weights.items():
        codes = nf4.unpack_nibbles(stored[f"{name}.codes"], weight.shape)
        weights[name] = nf4.dequantize_blocks(codes, stored[f"{name}.absmax"], values)
    return weights


small = quantized_adapter(adapter)
bytes_of = (files / "adapter.nf4.safetensors").stat().st_size
file = Measurement.exact(base_file + bytes_of, "bytes")
again = PeftModel.from_pretrained(base("QLoRA"), files / "adapter").eval()
set_peft_model_state_dict(again, small)
compared("beside NF4, adapter in NF4", again, file)
del again, small
gc.collect()
record.table("file", "perplexity", "times_trained")

# %% [markdown]
# Merged and quantized again, the model has forgotten what it learned: most changes are smaller than the steps between the sixteen numbers.
# Keep the adapter beside the four bits, where it costs little, and less still in four bits of its own.
#
# ## 10 · When it goes wrong
#
# On some CPUs a 4-bit layer of bitsandbytes stops gradients without a word: the loss stays where it was, and nobody knows why.
# The training step of this lab looks at the first gradients and refuses.
# It is one of several things that should be said before they cost an hour.

# %%
broken = lora.attach_(base("QLoRA"), RANK, LAYERS, alpha=2 * RANK)
broken.gradient_checkpointing_enable({"use_reentrant": False})
half = int(sum(part.value for part in parts.values()) / 2)
norm = broken.get_submodule("base_model.model.model.norm")
norm.register_forward_hook(lambda module, inputs, output: output.detach())
for what, attempt in {
    "no gradient arrives": lambda: lora.train_(broken, batches(lab.SEED), 1, 1e-3),
    "no such layers": lambda: lora.attach_(base("QLoRA"), RANK, ["c_attn"], alpha=16),
    "a text too short": lambda: zoo.blocks("import this", tokenizer, 256),
    "nothing to go on from": lambda: zoo.complete(full, tokenizer, "", 8),
    "a device too small": lambda: training_memory.require_memory(parts, half),
}.items():
    try:
        attempt()
    except ValueError as error_:
        print(f"{what}: {error_}\n")
    else:
        raise AssertionError(f"{what}: accepted")

# %% [markdown]
# ## 11 · At full size
#
# What a training step takes does not depend on the values of the weights.
# So `labkit.recipes.full_size_qlora` trains adapters beside models of full size with random weights on a GPU, records the peak of its memory, and sets it against the calculator.


# %%
from labkit.record import Row
from labkit.runs import gpu_run


def calculated(row: Row) -> dict[str, Measurement]:
    """What the calculator says of a configuration that was run, by part."""
    config = training_memory.PRESETS[row.settings["model"]]
    given = {key: value for key, value in row.settings.items() if key != "model"}
    optimizer = given.pop("optimizer").removeprefix("paged ")
    return training_memory.training_footprint(config, **given, optimizer=optimizer)


recorded = gpu_run().record
for name, row in recorded.rows.items():
    parts = calculated(row)
    if "paged" in name:  # pages are no memory of PyTorch's, and not in its peak
        del parts["optimizer"]
    total = Measurement.exact(sum(part.value for part in parts.values()), "bytes")
    ratio = measure.ratio(row.measurements["peak"], total)
    recorded.add(name, calculated=total, times_calculated=ratio)
display(recorded.table("peak", "calculated", "times_calculated"))
ratios = [row.measurements["times_calculated"].value for row in recorded.rows.values()]
off = Measurement.exact(100 * max(abs(ratio - 1) for ratio in ratios), "%")
record.find("calculator_error", off)
print(f"the calculator is off by {off} at most")

# %% [markdown]
# With checkpointing, INT8 takes more than 16 bits do.
# The 8-bit layers of bitsandbytes hold on to their inputs by themselves, where autograd, and so checkpointing, does not see them.
# It took the comparison of calculator and runs to notice.

# %%
recorded.table("peak", "step", "slowdown")

# %% [markdown]
# Four bits alone and checkpointing alone each leave the other's part in place.
# Together they do more than the product of the two would say:

# %%
LAYERS_16, CHECKPOINTED = "1B, {}, all layers", "1B, {}, all layers, checkpointing"
stack = recorded.product(
    "peak",
    LAYERS_16.format("bf16"),
    [LAYERS_16.format("nf4 double"), CHECKPOINTED.format("bf16")],
    CHECKPOINTED.format("nf4 double"),
)
record.keep("Llama of 1B: NF4 × checkpointing", "peak memory", stack)
record.find("stack_share", stack.share)
plot.waterfall(stack, "smaller")

# %% [markdown]
# ### What fits where?
#
# Training with rank 64 beside all layers, one sequence of 512 tokens, 8-bit AdamW and checkpointing; full fine-tuning in 16 bits with AdamW takes at least twelve bytes per parameter.
# Cards of 15, 24, 48 and 80 GB are dashed.

# %%
CARDS = (15, 24, 48, 80)
table, bars = [], {}
for size, config in training_memory.PRESETS.items():
    line = [size, f"{6 * training_memory.weight_bytes(config, 'bf16') / 1e9:,.0f} GB"]
    for format in ("bf16", "nf4 double"):
        parts = training_memory.training_footprint(
            config,
            format,
            64,
            LAYERS,
            1,
            512,
            optimizer="adamw 8-bit",
            checkpointing=True,
        )
        total = sum(part.value for part in parts.values()) / 1e9
        card = next((f"{c} GB" for c in CARDS if c >= total), "none of these")
        line += [f"{total:.1f} GB", card]
    bars[size] = {name: part.value for name, part in parts.items()}
    cache = Measurement.exact(kv_cache.kv_cache_bytes(config, 1, 2048), "bytes")
    table.append([*line, str(cache)])
head = [
    "",
    "full fine-tuning",
    "LoRA",
    "card",
    "QLoRA",
    "card",
    "keys and values of 2,048 tokens",
]
display(by_part(bars, CARDS))
Table(head, table)

# %% [markdown]
# The larger the model, the larger the share of its weights: four bits are made for large models.
# For one billion parameters, the batch decides.
#
# ## 12 · The ledger

# %%
in_16 = Measurement.exact(
    training_memory.weight_bytes(full.config, "fp16", "fp16"), "bytes"
)
in_4 = Measurement.exact(
    training_memory.weight_bytes(full.config, "nf4 double", "fp16"), "bytes"
)
record.find("four_bits_share", Measurement.exact(100 * in_4.value / in_16.value, "%"))
record.find(
    "four_bits_share_of_layers",
    Measurement.exact(
        100 * block_quantization.bits_per_parameter(double=True) / 16, "%"
    ),
)
record.find("nf4_times_fp4", measure.perplexity_ratio(losses["NF4"], losses["FP4"]))
paper = "{}, nf4 double, all layers, rank 64, AdamW 8-bit, 1 x 512, checkpointing"
rows = {"1b": LAYERS_16.format("nf4 double"), "65b": paper.format("65B")}
one = "1B, nf4 double, all layers, rank 64, paged AdamW 8-bit, 1 x 512, checkpointing"
rows["1b_one_sequence"] = one
for size, row in rows.items():
    parts = calculated(recorded.rows[row])
    peak, held = (recorded.get(row, metric).value for metric in ("peak", "held"))
    if "paged" in row:  # pages are needed, though PyTorch does not count them
        peak += parts["optimizer"].value
    record.find(f"peak_{size}", Measurement.exact(peak / 1e9, "GB"))
    share = 100 * (held - parts["adapters"].value) / peak
    record.find(f"weights_share_{size}", Measurement.exact(share, "%"))
stacked = recorded.ratio(
    "peak", LAYERS_16.format("bf16"), CHECKPOINTED.format("nf4 double")
)
record.find("peak_share", Measurement.exact(100 / stacked.value, "%"))
record.find("slowdown", recorded.get(CHECKPOINTED.format("nf4 double"), "slowdown"))
record.find("few_times_full", record.get("q and v, rank 8", "times_full"))
record.find("more_times_full", record.get(f"all layers, rank {RANK}", "times_full"))
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Why the promises that fail do fail:
#
# - *A quarter of the memory*: the linear layers come down to 4.13 of 16 bits.
#   Embeddings stay, and the smaller the model, the larger their share.
# - *Most of it is room for the weights*: for one billion parameters the activations of four sequences are many times the weights.
#   With one sequence at a time and checkpointing, which is how the paper says it, the promise is barely kept, and more clearly the larger the model.
# - *A fraction of a percent suffices*: it gets most of the way.
#   Adapters beside every layer get further in the same number of steps; a rank four times as high does not.
# - *Nothing is lost*: the adapters learn the text, and in a few steps take back a good part of what the rounding took.
#   Whether the rest would follow with more steps or a higher rank, this run does not say (try 1).
#   The paper trains far longer and reports no loss, for models smaller than this one, too; but these weights had been through four bits before.
#
# ## 13 · This run and the recorded ones

# %%
found = record.findings
headline = (
    f"QLoRA {found['qlora_improvement'].value:.0f} % better than before, "
    f"{found['qlora_times_lora'].value:.2f}× the perplexity of LoRA; peak at full size "
    f"{found['peak_share'].value:.0f} % of LoRA's, "
    f"{found['slowdown'].value:.1f}× the time"
)
lab.finish(
    headline,
    "improvement",
    "times_lora",
    "times_fp4",
    "times_full",
    "layers",
    "bits",
    "share",
)

# %% [markdown]
# ## 14 · Try, and remember
#
# 1. Train QLoRA for twice as many steps.
#    Does the distance to LoRA shrink, and what does it converge to?
# 2. Start the adapters from the largest singular vectors of what rounding took from each layer {cite}`li2024loftq`.
#    How much of the distance does that bridge before training, how much after?
# 3. Quantize one layer at a time.
#    Which single layer costs most perplexity?
#    Leave the worst four in 16 bits: what do they cost in bytes?
# 4. Predict the memory of a step with a batch twice as large, then with texts twice as long, and ask the calculator.
#    Which parts grew?
# 5. Which batch makes activations as large as the weights of a model of 7B in four bits?
#
# Five lines to remember:
#
# - Four bits are 4.13 bits per weight, and only of the weights that are quantized.
# - Small weights do not make small training: count activations before you buy a card.
# - Four bits and checkpointing need each other; together they save more than their product, and cost time.
# - Adapters learn most of what full fine-tuning learns, and undo a part of the rounding.
# - If no gradient arrives, nothing says so: look.
#
# **Where it leads.** Lab 04 puts adapters on an image model to take fewer steps, and merges them away.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
