# ---
# jupyter:
#   execution:
#     timeout: 900
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 01 · Pruning × quantization
#
# **Prune 60 % and quantize to INT8: how much smaller, how much faster, how much worse, and is the whole the product of the parts?**
#
# After this lab you can
#
# - prune a network by magnitude, globally, layer by layer and by whole channels, and bring its accuracy back;
# - quantize it to INT8, dynamically and statically, and say which of its layers were touched;
# - measure size, latency and accuracy so that somebody else would believe you;
# - predict a compression rate before you measure it, and explain the gap.
#
# You need to know PyTorch, and what a convolution and BatchNorm do. What the lab itself needs, measured, stands below the set-up.

# %%
import importlib.util
import os
import subprocess
import sys

# In Colab the repository is missing: fetch it and install its package. Elsewhere this cell does nothing.
if importlib.util.find_spec("labkit") is None:
    repository = "https://github.com/efficiency-stack/efficiency-stack"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", repository], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "./efficiency-stack[labs]"], check=True)
    os.chdir("efficiency-stack/labs/01_prune_quantize")

# %%
import functools
import tempfile
import warnings
from pathlib import Path

import torch
from IPython.display import display
from torchvision.models import mobilenet_v2

from labkit import claims, measure, plot, scale, show, zoo
from labkit.record import Record, beside, needs
from labkit.techniques import archive, prune, quantize

warnings.filterwarnings("ignore", module="torch")  # notes from inside the compiler, of no use to a reader
SEED = 0
torch.manual_seed(SEED)
files = Path(tempfile.mkdtemp(prefix="lab01-"))  # the files that this lab measures
record = Record("01_prune_quantize", scale.current(), SEED)

settings = scale.settings(
    #                  quick          standard                     full
    data=("embedded", None, None),  # None: the full set from the first source that answers
    imagenet_views=(40, 200, 1000),
    test_images=(1000, 10_000, 10_000),
    sweep_images=(500, 2000, 10_000),
    sparsities=((0.6, 0.8), (0.3, 0.5, 0.6, 0.7, 0.8, 0.9), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    calibration_batches=(4, 10, 20),
    finetune_steps=(6, 100, 600),
    timing_batches=((50,), (1, 50), (1, 50)),
    timing_rounds=(10, 40, 100),
)
display(settings, needs("reference"))

# %% [markdown]
# ## 1 · The idea, and the number it promises
#
# A trained weight is 32 bits, and most of it is wasted. *Pruning* sets the weights that matter least to zero; *quantization* writes the
# others with fewer bits. They remove different things, so their effects should multiply. Han, Mao and Dally {cite}`han2016deep` built Deep Compression on
# this. If a fraction $s$ of the weights is zero and the rest takes $b$ bits instead of 32, and if zeros cost nothing, the file shrinks by
#
# $$ r_\text{naive} = \frac{1}{1-s} \cdot \frac{32}{b} $$
#
# With $s = 0.6$ and $b = 8$ that promises $2.5 \times 4 = 10$. But a file must also say *where* the zeros are. That takes at least
# $H(s) = -s\log_2 s - (1-s)\log_2(1-s)$ bits a weight, whatever the weights' own precision, and the bound becomes
#
# $$ r = \frac{32}{H(s) + (1-s)\,b} $$
#
# The position costs the same in both, so its share grows as $b$ shrinks: **the second technique finds less to remove than it would alone.** Keep this in mind; section 6 measures it.

# %%
def naive(sparsity: float, bits: float) -> float:
    return 32 / ((1 - sparsity) * bits)


def with_positions(sparsity: float, bits: float) -> float:
    s = torch.tensor(sparsity)
    entropy = -(s * s.log2() + (1 - s) * (1 - s).log2()).item()
    return 32 / (entropy + (1 - sparsity) * bits)


for s in (0.6, 0.9):
    alone = with_positions(s, 32), naive(0, 8)
    print(f"sparsity {s:.0%}: naive {naive(s, 8):.1f}; with positions: pruning alone {alone[0]:.2f} × INT8 alone {alone[1]:.0f}"
          f" = {alone[0] * alone[1]:.2f}, both together {with_positions(s, 8):.2f}")

# %% [markdown]
# **Ask yourself:** at which sparsity does the position cost as much as the 8-bit values themselves?
#
# ## 2 · What the usual demonstration shows, and what it leaves out
#
# The demonstration found in many tutorials takes an ImageNet network, prunes 60 % of all convolution and Linear weights by global magnitude, quantizes dynamically to INT8,
# prints four file sizes and stops. Here it is, with the column that is missing.

# %%
imagenet = zoo.imagenet_model()
pictures = zoo.natural_pictures()
views = torch.stack([imagenet.preprocess(view) for view in zoo.crops(pictures, settings.imagenet_views, seed=SEED)])
print(imagenet.origin)
print(f"{len(views)} views of {len(pictures)} photographs, {tuple(views.shape[1:])}")

# %% [markdown]
# Magnitude pruning, whole: collect the absolute values, find the threshold, keep what is above.

# %%
show(prune.global_masks, prune.layer_masks, prune._largest, prune.apply_masks)

# %% [markdown]
# On sixteen numbers you can check it in your head: 50 % global pruning drops the eight smallest, wherever they stand, and here that is the whole first layer.

# %%
tiny = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False), torch.nn.Linear(2, 4, bias=False))
tiny[0].weight.data = torch.tensor([[1.0, -2.0, 3.0, -4.0], [5.0, -6.0, 7.0, -8.0]]) / 10
tiny[1].weight.data = torch.tensor([[10.0, -20.0], [30.0, -40.0], [50.0, -60.0], [70.0, -80.0]]) / 10
for name, mask in prune.global_masks(tiny, 0.5).items():
    print("global", name, mask.int().tolist())
for name, mask in prune.layer_masks(tiny, 0.5).items():
    print("layer ", name, mask.int().tolist())

# %% [markdown]
# Quantization to INT8: one scale for each output channel, then rounding.

# %%
show(quantize.quantize_tensor, quantize.dequantize)

# %%
x = torch.tensor([[0.0, 0.5, -1.27, 1.0], [0.0, 5.0, -12.7, 10.0]])
q, step = quantize.quantize_tensor(x, axis=0)
print(q.tolist(), "steps of", [round(s, 3) for s in step.flatten().tolist()])
assert (quantize.dequantize(q, step) - x).abs().max() <= step.max() / 2

# %%
demonstration = {"baseline": imagenet.model}
masks = prune.global_masks(imagenet.model, 0.6)
demonstration["pruned 60 %"] = prune.pruned(imagenet.model, masks)
demonstration["dynamic INT8"] = quantize.dynamic_int8(imagenet.model)
demonstration["both"] = quantize.dynamic_int8(demonstration["pruned 60 %"])
applied = {"baseline": (), "pruned 60 %": ("global magnitude 60 %",), "dynamic INT8": ("dynamic INT8",),
           "both": ("global magnitude 60 %", "dynamic INT8")}  # fmt: skip

timings = measure.time_in_turn({name: lambda m=m: m(views[:1]) for name, m in demonstration.items()}, settings.timing_rounds)
answers = {name: measure.predict(m, views, 50) for name, m in demonstration.items()}
first = Record(record.lab, record.scale, SEED)  # the demonstration has a table of its own
for name, model in demonstration.items():
    sizes = measure.file_sizes(archive.save_weights(model.state_dict(), files / "imagenet.safetensors"))
    first.add(name, applied[name], parameters=measure.parameters(model), nonzero=measure.nonzeros(model), file=sizes["raw"],
              gzip=sizes["gzip"], latency=timings.latency(name), agreement=measure.agreement(answers[name], answers["baseline"]))
for row in first.rows.values():
    record.add(f"ImageNet {row.name}", row.techniques, **row.measurements)
first

# %% [markdown]
# *Agreement* is the share of views on which a model still says what the baseline says. It needs no labels. Read the table again with it.

# %%
def top1(name: str, view: torch.Tensor) -> str:
    with torch.no_grad():
        p = demonstration[name](view[None]).softmax(1)[0]
    return f"{imagenet.categories[p.argmax()]} {p.max():.0%}"


figure, axes = plot.subplots(1, 4)
for ax, picture in zip(axes, pictures):
    view = imagenet.preprocess(picture.image)
    ax.imshow(picture.image)
    ax.set_title("\n".join([picture.name, *(f"{name}: {top1(name, view)}" for name in demonstration)]), fontsize=8, loc="left")
    ax.axis("off")
figure.alt = "Four photographs, each with the class that the baseline and the three compressed models give it."
figure

# %% [markdown]
# Two things were left out. **Quality**: one-shot pruning of an efficient network changes its answers, and a size without that column is half a result. And **what was quantized**: dynamic INT8 touches
# `Linear` layers only. How much of the network is that? The file it must give can be computed beforehand: each Linear weight goes from 4 bytes to 1.

# %%
linear = sum(m.weight.numel() for m in imagenet.model.modules() if isinstance(m, torch.nn.Linear))
total = measure.parameters(imagenet.model).value
baseline_file = record.get("ImageNet baseline", "file")
expected = baseline_file.value - 3 * linear
print(f"Linear weights: {linear / 1e6:.2f} M of {total / 1e6:.2f} M parameters, {linear / total:.0%}")
print(f"file expected {expected / 1e6:.2f} MB, measured {record.get('ImageNet dynamic INT8', 'file')}")
ten_classes = mobilenet_v2(num_classes=10)
share = sum(m.weight.numel() for m in ten_classes.modules() if isinstance(m, torch.nn.Linear)) / measure.parameters(ten_classes).value
print(f"with ten classes instead of a thousand, MobileNetV2 has {share:.1%} of its parameters there: dynamic INT8 would save {0.75 * share:.1%}")
record.find("imagenet_dynamic_int8_ratio", record.ratio("file", "ImageNet baseline", "ImageNet dynamic INT8"))
agreed = record.get("ImageNet pruned 60 %", "agreement")
record.find("imagenet_changed_answers", measure.Measurement(100 - agreed.value, 100 - agreed.high, 100 - agreed.low, "%", agreed.n))
del demonstration, views

# %% [markdown]
# ## 3 · A model whose accuracy we can measure
#
# From here on: MobileNetV2 {cite}`sandler2018mobilenetv2` on Fashion-MNIST {cite}`xiao2017fashion`, ten classes, trained from scratch by the script that ships with the weights. Images are enlarged to 48 × 48.
# Every step is scored on images that no step has seen.

# %%
pretrained = zoo.mobilenet_v2_fashion_mnist()
base = pretrained.model.to(memory_format=torch.channels_last)
train, test = zoo.fashion_mnist("train", settings.data), zoo.fashion_mnist("test", settings.data)
print(pretrained.origin, train.origin, test.origin, sep="\n")

test_inputs = zoo.to_input(test.images[: settings.test_images], pretrained.size)  # (N, 3, 48, 48)
test_labels = test.labels[: settings.test_images]
sweep = slice(settings.sweep_images)


def batches(seed: int, size: int = 128):
    """Random training batches (inputs, labels), mirrored at random, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        index = torch.randint(len(train.labels), (size,), generator=generator)
        mirror = torch.randint(2, (size, 1, 1), generator=generator).bool()
        images = torch.where(mirror, train.images[index].flip(2), train.images[index])
        yield zoo.to_input(images, pretrained.size), train.labels[index]


calibration = [x for x, _ in zip((x for x, _ in batches(SEED + 1)), range(settings.calibration_batches))]
reference = measure.predict(base, test_inputs)  # what the uncompressed model says
cost = measure.operations(base, test_inputs[:1])
print(f"accuracy {measure.accuracy(reference, test_labels)}, {measure.parameters(base)} parameters, {cost} an image")


def keep(name: str, techniques: tuple[str, ...], state: dict, predictions: torch.Tensor) -> None:
    """Write the file, measure it, score the predictions: one row of the record."""
    sizes = measure.file_sizes(archive.save_weights(state, files / f"{name}.safetensors"))
    record.add(name, techniques, file=sizes["raw"], compressed=sizes["zstd"],
               accuracy=measure.accuracy(predictions, test_labels), lost=measure.accuracy_loss(predictions, reference, test_labels))


keep("FP32", (), base.state_dict(), reference)
plot.weight_histogram({"FP32": base, "pruned 60 %": prune.pruned(base, prune.global_masks(base, 0.6))})

# %% [markdown]
# ## 4 · Pruning, and the way back
#
# ### 4.1 One shot, and BatchNorm
#
# Pruning changes what every layer puts out, but each BatchNorm {cite}`ioffe2015batch` behind it still subtracts the mean and divides by the variance of the *unpruned* layer.
# Both can be measured again from a few unlabelled batches. No weight is trained.

# %%
show(prune.reestimate_batchnorm)

# %%
curves = {name: {} for name in ("global", "global, BatchNorm again", "layer-wise", "layer-wise, BatchNorm again")}
for sparsity in settings.sparsities:
    for scope, choose in (("global", prune.global_masks), ("layer-wise", prune.layer_masks)):
        model = prune.pruned(base, choose(base, sparsity))
        score = lambda: measure.accuracy(measure.predict(model, test_inputs[sweep]), test_labels[sweep])  # noqa: E731
        curves[scope][100 * sparsity] = score()
        prune.reestimate_batchnorm(model, calibration)
        curves[f"{scope}, BatchNorm again"][100 * sparsity] = score()
for name, curve in curves.items():
    for sparsity, value in curve.items():
        record.find(f"sweep {name} {sparsity:.0f} %", value)
plot.curves(curves, "sparsity of convolution and Linear weights (%)", "accuracy (%)")

# %% [markdown]
# The curve falls off a cliff, and the cliff is not where the weights stop mattering: re-estimated statistics move it to the right without touching a single weight.
# Layer-wise pruning falls first, because it takes as much from a thin depthwise layer as from a wide one. Global pruning spares it:

# %%
masks = prune.global_masks(base, 0.6)
density = {name: 100 * mask.float().mean().item() for name, mask in masks.items()}
depthwise = {n for n, w in prune.prunable(base).items() if w.dim() == 4 and w.shape[1] == 1}
mean = lambda names: sum(density[n] * masks[n].numel() for n in names) / sum(masks[n].numel() for n in names)  # noqa: E731
print(f"kept at 60 % global sparsity: depthwise {mean(depthwise):.0f} % of weights, all others {mean(set(masks) - depthwise):.0f} %")

# %% [markdown]
# ### 4.2 The price of 60 %, and a short fine-tuning
#
# Fine-tuning trains on with the mask held: dropped weights return to zero after every step, or momentum would revive them.

# %%
show(prune.finetune)

# %%
def recover(model: torch.nn.Module, masks: dict, seed: int) -> torch.nn.Module:
    """BatchNorm statistics again, then fine-tuning under the mask."""
    prune.reestimate_batchnorm(model, calibration)
    return prune.finetune(model, batches(seed), settings.finetune_steps, masks)


sixty = prune.pruned(base, prune.global_masks(base, 0.6))
keep("pruned 60 %", ("global magnitude 60 %",), sixty.state_dict(), measure.predict(sixty, test_inputs))
prune.reestimate_batchnorm(sixty, calibration)
keep("pruned 60 %, BatchNorm again", ("global magnitude 60 %", "BatchNorm"), sixty.state_dict(), measure.predict(sixty, test_inputs))

sparse_masks = prune.global_masks(base, 0.9)
sparse = prune.pruned(base, sparse_masks)
keep("pruned 90 %", ("global magnitude 90 %",), sparse.state_dict(), measure.predict(sparse, test_inputs))
recover(sparse, sparse_masks, SEED + 2)
keep("pruned 90 %, fine-tuned", ("global magnitude 90 %", "fine-tuning"), sparse.state_dict(), measure.predict(sparse, test_inputs))
assert all((sparse.get_parameter(n)[~m] == 0).all() for n, m in sparse_masks.items()), "the mask was not kept"

# %% [markdown]
# ### 4.3 Channels instead of weights
#
# Zeros stay in the arithmetic: a convolution multiplies by them like by any other number. Removing whole channels {cite}`li2017pruning` leaves a smaller dense network. Channels that meet in an addition must go
# together; Torch-Pruning finds these groups {cite}`fang2023depgraph`.

# %%
show(prune.prune_channels)

# %%
thin = prune.prune_channels(base, test_inputs[:1], 0.4, keep=[base.classifier[1]]).to(memory_format=torch.channels_last)
keep("40 % of channels removed", ("channels 40 %",), thin.state_dict(), measure.predict(thin, test_inputs))
recover(thin, {}, SEED + 3)
keep("40 % of channels removed, fine-tuned", ("channels 40 %", "fine-tuning"), thin.state_dict(), measure.predict(thin, test_inputs))
print(f"operations: {cost} → {measure.operations(thin, test_inputs[:1])}; with 90 % zeros instead: {measure.operations(sparse, test_inputs[:1])}")

# %% [markdown]
# ## 5 · Static INT8: the convolutions, too
#
# Static quantization fixes the range of every activation beforehand, from calibration batches, so that whole convolutions run on integers {cite}`jacob2018quantization`.

# %%
show(quantize.static_int8, quantize.int8_state, quantize.load_int8)

# %%
dynamic = quantize.dynamic_int8(base)
keep("dynamic INT8", ("dynamic INT8",), dynamic.state_dict(), measure.predict(dynamic, test_inputs))

int8 = quantize.static_int8(base, calibration)
few = test_inputs[:50]
imitated = measure.time_in_turn({"FP32": lambda: base(few), "static INT8, not compiled": lambda: int8(few)}, rounds=5, warmup=1)
print("the INT8 graph, not compiled, takes", imitated.ratio("static INT8, not compiled", "FP32"), "the time of FP32")

# %% [markdown]
# Slower: between a quantize and a dequantize node that graph still computes in float32. The integers come with the compiler, which fuses the three into one kernel.

# %%
show(quantize.compile_frozen)

# %%
models = {"FP32": base, "channels removed": thin, "static INT8": int8}


@functools.cache  # compiling takes far longer than running: each model once for each batch size
def compiled(name: str, batch: int):
    return quantize.compile_frozen(models[name], test_inputs[:batch])


keep("static INT8", ("static INT8",), quantize.int8_state(int8), measure.predict(compiled("static INT8", 50), test_inputs, 50))

# %% [markdown]
# ## 6 · The stack: prune → recover → INT8 → compressed file
#
# The network that was pruned to 90 % and fine-tuned is quantized and written as safetensors in zstd {cite}`collet2021zstandard`. Then the file is read back into a fresh network. It must give the same outputs, or its size means nothing.

# %%
stacked = quantize.static_int8(sparse, calibration)
models["stack"] = stacked
keep("stack", ("global magnitude 90 %", "fine-tuning", "static INT8"), quantize.int8_state(stacked),
     measure.predict(compiled("stack", 50), test_inputs, 50))

path = archive.save_weights(quantize.int8_state(stacked), files / "stack.safetensors.zst")
again = quantize.load_int8(archive.load_weights(path), mobilenet_v2(num_classes=10).eval(), test_inputs[:2])
with torch.no_grad():
    assert torch.equal(again(few), stacked(few)), "the file does not give the same outputs"
record.add("stack", compressed=measure.Measurement.exact(path.stat().st_size, "bytes"))
record

# %%
stack = record.stack("compressed", "FP32", ["pruned 90 %, fine-tuned", "static INT8"], "stack")
print(f"predicted {stack.predicted}, measured {stack.measured}: {stack.share.value:.0%} of the product")
plot.waterfall(stack, "smaller")

# %% [markdown]
# The whole falls short of the product by what section 1 computed: the positions of the zeros cost the same number of bits before and after quantization.

# %%
zeros = 1 - sum(m.sum().item() for m in sparse_masks.values()) / sum(m.numel() for m in sparse_masks.values())
values = torch.cat([q.flatten() for q in quantize.int8_state(stacked).values() if q.dtype == torch.int8])
p = torch.bincount(values.int() + 128).double() / len(values)
p = p[p > 0]
bound = -(p * p.log2()).sum().item()
print(f"an INT8 weight of the stack carries {bound:.2f} bits (entropy), of which {with_positions(zeros, 0) ** -1 * 32:.2f} say where the zeros are")
print(f"{len(values) * bound / 8 / 1e3:.0f} kB at the entropy bound, {path.stat().st_size / 1e3:.0f} kB in the file: the rest is scales, biases, names, and what zstd misses")

# %%
plot.cost_quality(record, "compressed", "accuracy", rows=[r for r in record.rows if not r.startswith("ImageNet")])

# %% [markdown]
# ## 7 · Latency, taken in turn
#
# All contestants run in every round, one after the other, and a speed-up is the median of the ratios taken round by round. FP32 and INT8 are compiled in the same way.

# %%
for batch in settings.timing_batches:
    x = test_inputs[:batch]
    contestants = {"FP32": base, "pruned 90 %": sparse, "channels removed": thin}
    contestants |= {f"{name}, compiled": compiled(name, batch) for name in ("FP32", "channels removed", "stack")}
    timings = measure.time_in_turn({name: lambda m=m: m(x) for name, m in contestants.items()}, settings.timing_rounds)
    for name in contestants:
        record.add(f"{name}, batch {batch}", latency=timings.latency(name), speedup=timings.ratio("FP32", name),
                   speedup_over_compiled=timings.ratio("FP32, compiled", name))
    display(plot.latencies(timings, baseline="FP32"))
print("vector instructions of this processor:", torch.backends.cpu.get_cpu_capability())

# %% [markdown]
# Read the pictures from the top.
#
# - **Zeros buy no time.** The pruned network does the same multiplications, nine in ten of them by zero.
# - **Removed channels do**, because the arithmetic is gone.
# - **Compiling is a gain of its own.** It fuses BatchNorm and activations into the convolutions and changes no arithmetic. A speed-up of INT8 that is quoted over eager FP32 contains it.
# - **What INT8 adds is the ratio to *compiled* FP32.** Four times as many numbers fit in a vector register and in the cache. With one image there is little arithmetic to save, and the gain shrinks to what the overhead leaves.

# %%
last = f"batch {settings.timing_batches[-1]}"
speed = Record(record.lab, record.scale, SEED)
for row in record.rows.values():
    if "speedup" in row.measurements:
        speed.add(row.name, **row.measurements)
speed

# %% [markdown]
# ## 8 · The ledger
#
# Each claim stands in `claims.toml` with its source and a bound. A verdict is *holds* when the whole interval keeps the bound, *fails* when the whole interval breaks it, *undecided* when the interval contains it.

# %%
fp32_file = record.get("FP32", "file")
record.find("product_share", stack.share)
record.find("stack_ratio", measure.ratio(fp32_file, record.get("stack", "compressed")))
record.find("stack_lost", record.get("stack", "lost"))
record.find("stack_speedup_over_eager", record.get(f"stack, compiled, {last}", "speedup"))
record.find("stack_speedup_over_compiled", record.get(f"stack, compiled, {last}", "speedup_over_compiled"))
record.find("static_int8_ratio", record.ratio("file", "FP32", "static INT8"))
record.find("static_int8_lost", record.get("static INT8", "lost"))
record.find("pruned_60_lost", record.get("pruned 60 %", "lost"))
record.find("pruned_60_batchnorm_lost", record.get("pruned 60 %, BatchNorm again", "lost"))
record.find("pruned_60_file_ratio", record.ratio("file", "FP32", "pruned 60 %"))
record.find("pruned_60_compressed_ratio", record.ratio("compressed", "FP32", "pruned 60 %"))
record.find("zeros_speedup", record.get(f"pruned 90 %, {last}", "speedup"))
record.find("channels_speedup", record.get(f"channels removed, {last}", "speedup"))
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Why the promises that fail do fail:
#
# - *Effects multiply*: they overlap. The positions of the zeros are paid once, at full price, and are a small part of a 32-bit file but a large part of an 8-bit one.
# - *INT8 is a quarter*: only of what is quantized. Dynamic INT8 leaves convolutions alone, and an exported INT8 graph keeps the float32 weights beside the integers unless somebody removes them, as `static_int8` does.
# - *Pruned weights need less space*: a zero takes as many bits as any other number until something encodes it.
# - *Sparsity is speed*: dense kernels multiply by zero. Unstructured sparsity needs a sparse kernel and far more zeros than 60 % to win on a processor.
# - *60 % is free*: on an over-sized network with ten classes almost, once BatchNorm is corrected; on an efficient ImageNet network by no means.
#
# ## 9 · This run and the recorded ones

# %%
record.headline = (
    f"file {record.findings['stack_ratio'].value:.1f}× smaller, accuracy {record.findings['stack_lost'].value:+.2f} points lost, "
    f"{record.findings['stack_speedup_over_eager'].value:.1f}× faster than eager and "
    f"{record.findings['stack_speedup_over_compiled'].value:.1f}× than compiled FP32; {stack.share.value:.0%} of the product"
)
print(record.headline)
record.save()
beside(record, "reference", [key for key in record.findings if not key.startswith("sweep")])

# %% [markdown]
# ## 10 · Try, and remember
#
# 1. Prune 95 % and 98 %. Where does fine-tuning no longer help? Which layers are empty by then?
# 2. Quantize first and prune afterwards. Does the order matter {cite}`harma2024interplay`?
# 3. Quantize the thin network too, and set it beside the stack: which is smaller, which is faster, which is better?
# 4. Remove the calibration batches but one. How much accuracy does INT8 lose?
# 5. Write the INT8 weights with an entropy coder instead of zstd. How close do you come to the bound of section 6?
#
# Five lines to remember:
#
# - A size without an accuracy, and a speed-up without its baseline, are half a result.
# - After pruning, correct BatchNorm before you judge.
# - Zeros save space only when encoded, and time only when removed.
# - Dynamic INT8 is for Linear layers; convolutions need static INT8 and a compiler.
# - Effects multiply only as far as they remove different things, and the position of zeros is shared.
#
# **Where it leads.** Lab 02 replaces zstd by the pipeline of Deep Compression: shared weights, a sparse index and Huffman codes, down to the last bit.
#
# **Sources.** Deep Compression {cite}`han2016deep`; MobileNetV2 {cite}`sandler2018mobilenetv2`; EfficientNet {cite}`tan2019efficientnet`; integer inference {cite}`jacob2018quantization,krishnamoorthi2018quantizing`;
# what is known about pruning {cite}`blalock2020state`; BatchNorm {cite}`ioffe2015batch`; structured pruning {cite}`li2017pruning,fang2023depgraph`; Fashion-MNIST {cite}`xiao2017fashion`; intervals {cite}`wilson1927probable`.
