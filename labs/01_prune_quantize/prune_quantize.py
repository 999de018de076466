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
# # Lab 01 · Pruning × quantization
#
# To run this lab, clone its whole repository and open the notebook there.
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
# You need to know PyTorch, and what a convolution and BatchNorm do.
# What the lab itself needs, measured, stands below the set-up.

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

from labkit import claims, lab, measure, plot, show, zoo
from labkit.techniques.pruning import magnitude, recovery, structured
from labkit.techniques.quantization import int8, rounding
from labkit.techniques.storage import safetensors

record, settings, device, files = lab.start(
    "01_prune_quantize",
    # At scale quick, standard and full. A source of None is the first that answers.
    source=("embedded", None, None),
    imagenet_views=(40, 200, 400),
    test_images=(1000, 10_000, 10_000),
    sweep_images=(500, 1000, 2000),
    sparsities=(
        (0.6, 0.8),
        (0.4, 0.6, 0.7, 0.8, 0.9),
        (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ),
    calibration_batches=(4, 6, 10),
    finetune_steps=(6, 100, 400),
    timing_batches=((50,), (1, 50), (1, 50)),
    timing_rounds=(10, 40, 60),
)

# %% [markdown]
# ## 1 · The idea, and the number it promises
#
# A trained weight is 32 bits, and most of it is wasted.
# *Pruning* sets the weights that matter least to zero; *quantization* writes the others with fewer bits.
# They remove different things, so their effects should multiply.
# Han, Mao and Dally {cite}`han2016deep` built Deep Compression on this.
# If a fraction $s$ of the weights is zero and the rest takes $b$ bits instead of 32, and if zeros cost nothing, the file shrinks by
#
# $$ r_\text{naive} = \frac{1}{1-s} \cdot \frac{32}{b} $$
#
# With $s = 0.6$ and $b = 8$ that promises $2.5 \times 4 = 10$.
# But a file must also say *where* the zeros are.
# If they lie at random, that takes at least $H(s) = -s\log_2 s - (1-s)\log_2(1-s)$ bits per weight, whatever the weights' own precision, and the bound becomes
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
    print(f"sparsity {s:.0%}: the naive product is {naive(s, 8):.1f}; with positions")
    product = alone[0] * alone[1]
    print(f"  {alone[0]:.2f} × {alone[1]:.0f} = {product:.2f} for both alone,", end=" ")
    print(f"{with_positions(s, 8):.2f} for both together")

# %% [markdown]
# **Ask yourself:** at which sparsity does the position cost as much as the 8-bit values themselves?
#
# ## 2 · What the usual demonstration shows, and what it leaves out
#
# The demonstration found in many tutorials takes an ImageNet network, prunes 60 % of all convolution and Linear weights by global magnitude, quantizes dynamically to INT8, prints four file sizes and stops.
# Here it is, with the column that is missing.

# %%
imagenet = zoo.imagenet_model()
imagenet.model.to(memory_format=torch.channels_last)  # as convolutions prefer it
pictures = zoo.natural_pictures()
crops = zoo.crops(pictures, settings.imagenet_views, seed=lab.SEED)
views = torch.stack([imagenet.preprocess(crop) for crop in crops])  # (N, 3, 224, 224)
print(imagenet.origin)
print(f"{len(views)} views of {len(pictures)} photographs, {tuple(views.shape[1:])}")

# %% [markdown]
# Magnitude pruning, whole: collect the absolute values, find the threshold, keep what is above.

# %%
show(
    magnitude.global_masks,
    magnitude.layer_masks,
    magnitude.keep_largest,
    magnitude.apply_masks_,
)

# %% [markdown]
# On sixteen numbers you can check it in your head: 50 % global pruning drops the eight smallest, wherever they stand, and here that is the whole first layer.

# %%
tiny = torch.nn.Sequential(
    torch.nn.Linear(4, 2, bias=False), torch.nn.Linear(2, 4, bias=False)
)
tiny[0].weight.data = (
    torch.tensor([[1.0, -2.0, 3.0, -4.0], [5.0, -6.0, 7.0, -8.0]]) / 10
)
tiny[1].weight.data = (
    torch.tensor([[10.0, -20.0], [30.0, -40.0], [50.0, -60.0], [70.0, -80.0]]) / 10
)
for name, mask in magnitude.global_masks(tiny, 0.5).items():
    print("global", name, mask.int().tolist())
for name, mask in magnitude.layer_masks(tiny, 0.5).items():
    print("layer ", name, mask.int().tolist())

# %% [markdown]
# Quantization to INT8: one scale for each output channel, then rounding.

# %%
show(rounding.quantize_tensor, rounding.dequantize)

# %%
x = torch.tensor([[0.0, 0.5, -1.27, 1.0], [0.0, 5.0, -12.7, 10.0]])
q, step = rounding.quantize_tensor(x, axis=0)
print(q.tolist(), "steps of", [round(s, 3) for s in step.flatten().tolist()])
assert (rounding.dequantize(q, step) - x).abs().max() <= step.max() / 2

# %%
demonstration = {"baseline": imagenet.model}
masks = magnitude.global_masks(imagenet.model, 0.6)
demonstration["pruned 60 %"] = magnitude.pruned(imagenet.model, masks)
demonstration["dynamic INT8"] = int8.dynamically_quantized(imagenet.model)
demonstration["both"] = int8.dynamically_quantized(demonstration["pruned 60 %"])
applied = {
    "baseline": (),
    "pruned 60 %": ("global magnitude 60 %",),
    "dynamic INT8": ("dynamic INT8",),
    "both": ("global magnitude 60 %", "dynamic INT8"),
}

timings = measure.time_in_turn(
    {name: lambda m=m: m(views[:1]) for name, m in demonstration.items()},
    settings.timing_rounds,
)
predictions = {name: measure.predict(m, views, 8) for name, m in demonstration.items()}
photographs = min(len(pictures), len(views))  # view i shows photograph i % photographs


def agreement(name: str) -> measure.Measurement:
    """Views on which a model says what the baseline says: a mean for each photograph,
    and Student's t over the photographs, since views of one of them are alike."""
    same = 100.0 * (predictions[name] == predictions["baseline"])
    means = [same[i::photographs].mean().item() for i in range(photographs)]
    return measure.mean_with_interval(means, "%", over="photographs")


for name, model in demonstration.items():
    sizes = measure.file_sizes(
        safetensors.save_weights(model.state_dict(), files / "imagenet.safetensors")
    )
    record.add(
        f"ImageNet {name}",
        applied[name],
        parameters=measure.parameters(model),
        nonzero=measure.nonzeros(model),
        file=sizes["raw"],
        gzip=sizes["gzip"],
        latency=timings.latency(name),
        agreement=agreement(name),
    )
aa = record.find("demonstration_aa", timings.against_itself)
print("the baseline takes", aa, "the time of itself: a ratio like that is no effect")
record

# %% [markdown]
# **Three kinds of interval** stand behind the figures of these labs.
#
# - None: the figure is *exact*, such as the bytes of a file.
# - Square brackets: a *95 % confidence interval*.
#   Of a hundred such intervals, about 95 hold the true value.
#   For a share of right answers it is Wilson's {cite}`wilson1927probable`, which is right for shares near 0 and 100 %, too.
# - Round brackets: anything weaker.
#   For a latency they are the *quartiles*, between which half of all calls lie; for a few values, the smallest and the largest.
#
# Square brackets and exact figures can decide a claim, round brackets cannot.
# More calls leave quartiles where they are, and make a confidence interval narrower.
#
# *Agreement* is the share of views on which a model still says what the baseline says.
# It needs no labels.
# Read the table again with it.
# Views of one photograph are alike, so its interval counts photographs and not views.
# And it can end beyond 0 or 100 %: Student's t knows no ends.


# %%
def top1(name: str, view: torch.Tensor) -> str:
    with torch.no_grad():
        p = demonstration[name](view[None]).softmax(1)[0]
    return f"{imagenet.categories[p.argmax()]} {p.max():.0%}"


figure, axes = plot.subplots(2, 2)
figure.set_size_inches(7.5, 6.5)
for ax, picture in zip(axes.flat, pictures):
    view = imagenet.preprocess(picture.image)
    ax.imshow(picture.image)
    ax.set_title(
        "\n".join(
            [picture.name, *(f"{name}: {top1(name, view)}" for name in demonstration)]
        ),
        fontsize=9,
        loc="left",
    )
    ax.axis("off")
figure.alt = "Four photographs, and the class that each of the four models gives them."
figure

# %% [markdown]
# The demonstration says that its two techniques multiply.
# It never divides its four sizes, so let us do that.
# Each part was measured alone, against the same start, by the same instrument: gzip.

# %%
title = f"{imagenet.origin.name}: pruning 60 % × dynamic INT8"
parts = ["ImageNet pruned 60 %", "ImageNet dynamic INT8"]
gzipped = record.product("gzip", "ImageNet baseline", parts, "ImageNet both")
record.keep(title, "file", gzipped)
record.find("gzip_product_share", gzipped.share)
record.find("pruned_60_gzip_ratio", gzipped.factors[parts[0]])
print(f"predicted {gzipped.predicted}, measured {gzipped.measured}:", end=" ")
print(f"the whole is {gzipped.share} of the product")

# %% [markdown]
# The nearer to 1, the less the two get in each other's way.
# Here most bytes know only one of them: all layers are pruned, and only the Linear one is quantized.
# Section 6 gives both techniques the same bytes.
#
# Two things were left out.
# **Quality**: a size without the column of agreement is half a result.
# How much of an ImageNet network *can* go, this table does not say.
# Pruning shifts what BatchNorm subtracts; section 4 corrects that, and here eight photographs are too few for it: number 5 of section 10 shows it.
# And **what was quantized**: dynamic INT8 touches `Linear` layers only.
# How much of the network is that?
# The file it must give can be computed beforehand: each Linear weight goes from 4 bytes to 1.


# %%
from torchvision.models import mobilenet_v2


def linear_weights(model: torch.nn.Module) -> int:
    return sum(
        m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)
    )


for name, model in (
    (imagenet.origin.name, imagenet.model),
    ("MobileNetV2 with ten classes", mobilenet_v2(num_classes=10)),
):
    share = linear_weights(model) / measure.parameters(model).value
    print(f"{name}: {share:.1%} of all parameters are Linear weights,", end=" ")
    print(f"so that dynamic INT8 saves {0.75 * share:.1%} of the file")
baseline_file = record.get("ImageNet baseline", "file")
expected = baseline_file.value - 3 * linear_weights(imagenet.model)
measured = record.get("ImageNet dynamic INT8", "file")
print(f"file expected {expected / 1e6:.2f} MB, measured {measured}")

# %% [markdown]
# ## 3 · A model whose accuracy we can measure
#
# From here on: MobileNetV2 {cite}`sandler2018mobilenetv2` on Fashion-MNIST {cite}`xiao2017fashion`, ten classes, trained from scratch by `labkit.recipes.classifiers`.
# Images are enlarged to 48 × 48. Every step is scored on images that no step has seen.
#
# The weights ship rounded to 16 bits, so that 13 bits of each float32 are empty, and a compressor finds them.
# Fine-tuning fills them, and then the pruned file would pay for digits that the baseline lacks.
# So they are filled at random before anything is measured.

# %%
from labkit.techniques import training

pretrained = zoo.fashion_mnist_model("mobilenet_v2")
shipped = safetensors.save_weights(
    pretrained.model.state_dict(), files / "shipped.safetensors"
)
base = zoo.refill_(pretrained.model, torch.Generator().manual_seed(lab.SEED))
base.to(memory_format=torch.channels_last)
train, test = (
    zoo.fashion_mnist("train", settings.source),
    zoo.fashion_mnist("test", settings.source),
)
print(pretrained.origin, train.origin, test.origin, sep="\n")

test_inputs = zoo.to_input(
    test.images[: settings.test_images], pretrained.size
)  # (N, 3, 48, 48)
test_labels = test.labels[: settings.test_images]
sweep = slice(settings.sweep_images)


def batches(seed: int):
    """Random training batches (inputs, labels), mirrored at random, without end."""
    shape = pretrained.size, pretrained.channels
    return zoo.random_batches(train, 128, seed, shape, zoo.mirrored)


calibration = [
    x
    for x, _ in zip(
        (x for x, _ in batches(lab.SEED + 1)), range(settings.calibration_batches)
    )
]
reference = measure.predict(base, test_inputs)  # what the uncompressed model says
cost = measure.flops(base, test_inputs[:1])
print(f"accuracy {measure.accuracy(reference, test_labels)},", end=" ")
print(f"{measure.parameters(base)} parameters, {cost} an image")


def keep(
    name: str, techniques: tuple[str, ...], state: dict, predictions: torch.Tensor
) -> None:
    """Write the file, measure it, score the predictions: one row of the record."""
    lost = measure.accuracy_loss(predictions, reference, test_labels)
    if "fine-tuning" in techniques:  # one run of training: another seed may lose more
        lost = measure.averaged([lost])
    sizes = measure.file_sizes(
        safetensors.save_weights(state, files / f"{name}.safetensors")
    )
    record.add(
        name,
        techniques,
        file=sizes["raw"],
        compressed=sizes["zstd"],
        accuracy=measure.accuracy(predictions, test_labels),
        lost=lost,
    )


keep("FP32", (), base.state_dict(), reference)
plot.weight_histogram(
    {
        "FP32": base,
        "pruned 60 %": magnitude.pruned(base, magnitude.global_masks(base, 0.6)),
    }
)

# %% [markdown]
# ## 4 · Pruning, and the way back
#
# ### 4.1 One shot, and BatchNorm
#
# Pruning changes what every layer puts out, but each BatchNorm {cite}`ioffe2015batch` behind it still subtracts the mean and divides by the variance of the *unpruned* layer.
# Both can be measured again from a few unlabelled batches.
# No weight is trained.

# %%
show(recovery.reestimate_batchnorm_)


# %%
def score(model: torch.nn.Module) -> measure.Measurement:
    return measure.accuracy(
        measure.predict(model, test_inputs[sweep]), test_labels[sweep]
    )


curves = {
    name: {}
    for name in (
        "global",
        "global, BatchNorm again",
        "layer-wise",
        "layer-wise, BatchNorm again",
    )
}
for sparsity in settings.sparsities:
    for scope, choose in (
        ("global", magnitude.global_masks),
        ("layer-wise", magnitude.layer_masks),
    ):
        model = magnitude.pruned(base, choose(base, sparsity))
        curves[scope][100 * sparsity] = score(model)
        recovery.reestimate_batchnorm_(model, calibration)
        curves[f"{scope}, BatchNorm again"][100 * sparsity] = score(model)
for name, curve in curves.items():
    for sparsity, value in curve.items():
        record.find(f"sweep {name} {sparsity:.0f} %", value)
plot.curves(curves, "sparsity of convolution and Linear weights (%)", "accuracy")

# %% [markdown]
# The curve falls off a cliff, and the cliff is not where the weights stop mattering: re-estimated statistics move it to the right without touching a single weight.
# Layer-wise pruning falls first, because it takes as much from a thin depthwise layer as from a wide one.
# Global pruning spares it:

# %%
kept = {True: [0, 0], False: [0, 0]}  # depthwise or not → weights kept, weights in all
for name, mask in magnitude.global_masks(base, 0.6).items():
    depthwise = mask.dim() == 4 and mask.shape[1] == 1
    kept[depthwise][0] += mask.sum().item()
    kept[depthwise][1] += mask.numel()
for depthwise, (some, all_) in kept.items():
    print(
        f"{'depthwise' if depthwise else 'all other'} weights kept: {some / all_:.0%}"
    )

# %% [markdown]
# ### 4.2 The price of 60 %, and a short fine-tuning
#
# Fine-tuning trains on with the mask held: dropped weights return to zero after every step, or momentum would revive them.

# %%
show(recovery.finetune_, training.train_)


# %%
def recover(model: torch.nn.Module, masks: dict, seed: int) -> torch.nn.Module:
    """BatchNorm statistics again, then fine-tuning under the mask."""
    recovery.reestimate_batchnorm_(model, calibration).to(device)
    there = ((x.to(device), y.to(device)) for x, y in batches(seed))
    masks = {name: mask.to(device) for name, mask in masks.items()}
    return recovery.finetune_(model, there, settings.finetune_steps, masks).cpu()


sixty = magnitude.pruned(base, magnitude.global_masks(base, 0.6))
keep(
    "pruned 60 %",
    ("global magnitude 60 %",),
    sixty.state_dict(),
    measure.predict(sixty, test_inputs),
)
recovery.reestimate_batchnorm_(sixty, calibration)
keep(
    "pruned 60 %, BatchNorm again",
    ("global magnitude 60 %", "BatchNorm"),
    sixty.state_dict(),
    measure.predict(sixty, test_inputs),
)

sparse_masks = magnitude.global_masks(base, 0.9)
sparse = magnitude.pruned(base, sparse_masks)
recover(sparse, sparse_masks, lab.SEED + 2)
keep(
    "pruned 90 %, fine-tuned",
    ("global magnitude 90 %", "fine-tuning"),
    sparse.state_dict(),
    measure.predict(sparse, test_inputs),
)
assert all((sparse.get_parameter(n)[~m] == 0).all() for n, m in sparse_masks.items()), (
    "the mask was not kept"
)

# %% [markdown]
# ### 4.3 Channels instead of weights
#
# Zeros stay in the arithmetic: a convolution multiplies by them like by any other number.
# Removing whole channels {cite}`li2017pruning` leaves a smaller dense network.
# Channels that meet in an addition must go together; Torch-Pruning finds these groups {cite}`fang2023depgraph`.

# %%
show(structured.channels_pruned)

# %%
thin = structured.channels_pruned(
    base, test_inputs[:1], 0.25, keep=[base.classifier[1]]
).to(memory_format=torch.channels_last)
recover(thin, {}, lab.SEED + 3)
keep(
    "25 % of channels removed, fine-tuned",
    ("channels 25 %", "fine-tuning"),
    thin.state_dict(),
    measure.predict(thin, test_inputs),
)
print(f"FLOPs: {cost}", end=" → ")
print(f"{measure.flops(thin, test_inputs[:1])} with channels removed,", end=" ")
print(f"{measure.flops(sparse, test_inputs[:1])} with 90 % zeros")

# %% [markdown]
# Fewer FLOPs, not merely more zeros.
# The price is accuracy: this short fine-tuning does not bring everything back.
#
# ## 5 · Static INT8: the convolutions, too
#
# Static quantization fixes the range of every activation beforehand, from calibration batches, so that whole convolutions run on integers {cite}`jacob2018quantization`.
# A CPU without VNNI instructions adds products of eight bits in sixteen, where two of them can overflow: there the activations get seven bits.

# %%
show(int8.statically_quantized, int8.int8_state, int8.load_int8)

# %%
dynamic = int8.dynamically_quantized(base)
keep(
    "dynamic INT8",
    ("dynamic INT8",),
    dynamic.state_dict(),
    measure.predict(dynamic, test_inputs),
)

static = int8.statically_quantized(base, calibration)
few = test_inputs[:50]
imitated = measure.time_in_turn(
    {"FP32": lambda: base(few), "static INT8, not compiled": lambda: static(few)},
    rounds=6,
    warmup=1,
)
print(
    "the INT8 graph, not compiled, takes",
    imitated.ratio("static INT8, not compiled", "FP32"),
    "the time of FP32",
)

# %% [markdown]
# Slower: between a quantize and a dequantize node that graph still computes in float32.
# The integers come with the compiler, which fuses the three into one kernel.

# %%
show(int8.compile_frozen)

# %%
import functools

models = {"FP32": base, "channels removed": thin, "static INT8": static}


# Compiling takes far longer than running: each model once for each batch size.
@functools.cache
def compiled(name: str, batch: int):
    return int8.compile_frozen(models[name], test_inputs[:batch])


keep(
    "static INT8",
    ("static INT8",),
    int8.int8_state(static),
    measure.predict(compiled("static INT8", 50), test_inputs, 50),
)

# %% [markdown]
# ## 6 · The stack: prune → recover → INT8 → compressed file
#
# The network that was pruned to 90 % and fine-tuned is quantized and written as safetensors in zstd {cite}`collet2021zstandard`.
# Then the file is read back into a fresh network.
# It must give the same outputs, or its size means nothing.

# %%
stacked = int8.statically_quantized(sparse, calibration)
models["stack"] = stacked
keep(
    "stack",
    ("global magnitude 90 %", "fine-tuning", "static INT8"),
    int8.int8_state(stacked),
    measure.predict(compiled("stack", 50), test_inputs, 50),
)

path = safetensors.save_weights(
    int8.int8_state(stacked), files / "stack.safetensors.zst"
)
again = int8.load_int8(
    safetensors.load_weights(path), mobilenet_v2(num_classes=10).eval(), test_inputs[:2]
)
with torch.no_grad():
    assert torch.equal(again(few), stacked(few)), (
        "the file does not give the same outputs"
    )
record.add("stack", compressed=measure.Measurement.exact(path.stat().st_size, "bytes"))
record.table("file", "compressed", "accuracy", "lost")

# %% [markdown]
# What is the baseline of a compression rate?
# One instrument must measure all four files of a product, or the instrument is a technique of its own.
# Here it is zstd: FP32, both parts and the whole are files in zstd.

# %%
parts = ["pruned 90 %, fine-tuned", "static INT8"]
stack = record.product("compressed", "FP32", parts, "stack")
record.keep("MobileNetV2: pruning × INT8", "file", stack)
bound = with_positions(0.9, 8) / (with_positions(0.9, 32) * naive(0, 8))
print(f"predicted {stack.predicted}, measured {stack.measured}:", end=" ")
print(f"the whole is {stack.share} of the product")
print(f"at the bound of section 1 it would be {bound:.3f}×")
plot.waterfall(stack, "smaller")

# %% [markdown]
# What would another baseline have said?

# %%
from labkit.estimate.product import Product
from labkit.table import Table

baselines = {
    "FP32 as it lies in memory": record.get("FP32", "file"),
    "FP32 as shipped, in zstd": measure.file_sizes(shipped)["zstd"],
    "FP32 with its digits filled, in zstd": record.get("FP32", "compressed"),
}
alone = {part: record.get(part, "compressed") for part in parts}
rows, whole = [], record.get("stack", "compressed")
for name, start in baselines.items():
    product = Product.of_costs(name, start, alone, "stack", whole)
    rows.append([name, *map(str, (start, product.measured, product.share))])
rows.append(["the bound of section 1", "", "", f"{bound:.3f}×"])
Table(["baseline", "its size", "stack smaller", "share of the product"], rows)

# %% [markdown]
# The same stack, the same parts, and the share depends on how FP32 is written.
# *As it lies in memory*: zstd is a third technique, which shortens both parts and the whole.
# The product counts it twice, so the share is too low.
# *As shipped*: the baseline lacks digits that the fine-tuned network pays for.
# The factor of pruning is too small, so the share is too high.
# *With its digits filled*: one instrument, one kind of number.
# Only this share may be held against the bound.
#
# Section 1 said why a whole falls short of its product: the positions of the zeros cost the same number of bits before and after quantization.
# The bound takes the values as incompressible.
# zstd shortens them, too, and the fewer bits the values take, the larger the share of the positions.

# %%
integers = [q for q in int8.int8_state(stacked).values() if q.dtype == torch.int8]
values = torch.cat([q.flatten() for q in integers]).int()


def entropy(symbols: torch.Tensor) -> float:
    """Bits that a symbol carries, when each is coded for itself."""
    p = symbols.unique(return_counts=True)[1] / len(symbols)
    return -(p * p.log2()).sum().item()


bits, positions = entropy(values), entropy(values == 0)
print(f"an INT8 weight of the stack carries {bits:.2f} bits,", end=" ")
print(f"of which {positions:.2f} say where the zeros are")
print(f"{len(values) * bits / 8 / 1e3:.0f} kB at this bound,", end=" ")
print(f"{path.stat().st_size / 1e3:.0f} kB in the file:")
print("the rest is scales, biases, names, and what zstd misses")

# %%
recovered = [
    "FP32",
    "dynamic INT8",
    "static INT8",
    "pruned 60 %, BatchNorm again",
    "pruned 90 %, fine-tuned",
    "25 % of channels removed, fine-tuned",
    "stack",
]
plot.cost_quality(record, "compressed", "accuracy", rows=recovered)

# %% [markdown]
# ## 7 · Latency, taken in turn
#
# All run in every round, in an order drawn anew, and a speed-up is the median of the ratios taken round by round.
# FP32 is timed twice in each round: how far it differs from itself (*A/A*) widens every interval.
# FP32 and INT8 are compiled in the same way.

# %%
from IPython.display import display

for batch in settings.timing_batches:
    x = test_inputs[:batch]
    functions = {"FP32": base, "pruned 90 %": sparse, "channels removed": thin}
    functions |= {
        f"{name}, compiled": compiled(name, batch)
        for name in ("FP32", "channels removed", "static INT8", "stack")
    }
    timings = measure.time_in_turn(
        {name: lambda m=m: m(x) for name, m in functions.items()},
        settings.timing_rounds,
    )
    for name in functions:
        record.add(
            f"{name}, batch {batch}",
            latency=timings.latency(name),
            speedup=timings.ratio("FP32", name),
            speedup_over_compiled=timings.ratio("FP32, compiled", name),
        )
    for of, name in (("FP32", "eager"), ("FP32, compiled", "compiled")):
        speedup = timings.ratio(of, "static INT8, compiled")
        record.find(f"int8_speedup_over_{name}_batch_{batch}", speedup)
    aa = record.find(f"latency_batch_{batch}_aa", timings.against_itself)
    print(f"batch {batch}: FP32 takes {aa} the time of itself")
    display(plot.latencies(timings, baseline="FP32"))
vnni = "with" if torch.cpu._is_vnni_supported() else "without"
print("this CPU:", torch.backends.cpu.get_cpu_capability(), vnni, "VNNI")

# %% [markdown]
# Read each picture from the top.
#
# - **Zeros**: the pruned network does the same multiplications, nine in ten of them by zero.
#   Is its ratio farther from 1 than A/A is?
# - **Removed channels** buy time, because the arithmetic is gone.
# - **Compiling is a gain of its own.** It fuses BatchNorm and activations into the convolutions, and computes the same function.
#   A speed-up of INT8 that is quoted over eager FP32 contains it.
# - **What INT8 adds is the ratio to *compiled* FP32.** Below 1 it is a loss.
#   Four times as many numbers fit in a vector register, but they must be quantized and scaled back, and the float kernels may simply be better.
#   Compare the two batch sizes: does INT8 gain with more arithmetic, or lose?
# - **The stack** computes as many integers as INT8 alone: its zeros save bytes.

# %%
record.table("latency", "speedup", "speedup_over_compiled")

# %% [markdown]
# Is a layer with half of its channels twice as fast?
# Take the widest one, alone.

# %%
wide = base.features[18][0]  # 1 × 1, from 320 channels to 1280
half = torch.nn.Conv2d(320, 640, 1, bias=False).to(memory_format=torch.channels_last)
with torch.no_grad():
    x = base.features[:18](few)
timings = measure.time_in_turn(
    {"whole": lambda: wide(x), "half": lambda: half(x)}, settings.timing_rounds
)
half_layer = record.find("half_layer_speedup", timings.ratio("whole", "half"))
aa = record.find("layer_aa", timings.against_itself)
print(f"half of the layer is {half_layer} faster; the layer over itself {aa}")

# %% [markdown]
# ## 8 · The ledger
#
# Each claim stands in `claims.toml` with its source and a bound.
# A verdict is *holds* when the whole interval keeps the bound, *fails* when the whole interval breaks it, *undecided* when the interval contains it or is none of 95 %.
# A size and the loss at that size are judged together.

# %%
changed = agreement("pruned 60 %").through(lambda same: 100 - same, "%")
record.find("imagenet_changed_answers", changed)
for key, name in (
    ("imagenet_dynamic_int8_ratio", "dynamic INT8"),
    ("pruned_60_file_ratio", "pruned 60 %"),
):
    record.find(key, record.ratio("file", "ImageNet baseline", f"ImageNet {name}"))
record.find("product_share", stack.share)
record.find("stack_ratio", stack.measured)
record.find("pruned_90_ratio", stack.factors[parts[0]])
record.find("pruned_90_lost", record.get("pruned 90 %, fine-tuned", "lost"))
for name in ("stack", "static INT8", "pruned 60 %"):
    key = name.lower().replace(" ", "_").replace("_%", "")
    record.find(f"{key}_lost", record.get(name, "lost"))
again = record.get("pruned 60 %, BatchNorm again", "lost")
record.find("pruned_60_batchnorm_lost", again)
for name in ("dynamic", "static"):
    record.find(f"{name}_int8_ratio", record.ratio("file", "FP32", f"{name} INT8"))
last = f"batch {settings.timing_batches[-1]}"
for key, row, metric in (
    ("stack_speedup_over_eager", "stack, compiled", "speedup"),
    ("stack_speedup_over_compiled", "stack, compiled", "speedup_over_compiled"),
    ("zeros_speedup", "pruned 90 %", "speedup"),
    ("channels_speedup", "channels removed", "speedup"),
):
    record.find(key, record.get(f"{row}, {last}", metric))
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Where a promise fails, look here for the reason:
#
# - *Rates multiply*: as far as the two act on different bytes.
#   The positions of the zeros are paid once, at full price, and are a small part of a 32-bit file but a large part of an 8-bit one.
# - *INT8 is a quarter*: of what is quantized.
#   Dynamic INT8 leaves convolutions alone, and an exported INT8 graph keeps the float32 weights beside the integers unless somebody removes them, as `statically_quantized` does.
# - *Pruned weights need less space*: in the raw file a zero takes as many bits as any other number; something must encode it.
# - *Ten times at 90 %*: counts weights, and not where they are.
#   And what one run of training loses decides nothing: another seed may lose more.
# - *INT8 is faster*: a speed-up over eager FP32 contains what compiling gains.
#   On two CPUs that were tried, one with VNNI and one without, compiled INT8 was slower than compiled FP32 in batches of 50.
#   Why is open, so take the verdict for that of this machine.
# - *Half a layer*: half of the arithmetic is half of the time only if arithmetic is what takes the time.
# - *60 % is free*: BatchNorm must be corrected first.
#   On ImageNet this lab cannot say: see section 2.
#
# ## 9 · This run and the recorded ones

# %%
headline = (
    "file {stack_ratio} smaller, {stack_lost} of accuracy lost, "
    "{stack_speedup_over_eager} as fast as eager and "
    "{stack_speedup_over_compiled} as fast as compiled FP32"
)
lab.finish(headline)

# %% [markdown]
# ## 10 · Try, and remember
#
# 1. Prune 95 % and 98 %.
#    Where does fine-tuning no longer help?
#    Which layers are empty by then?
# 2. Quantize first and prune afterwards.
#    Does the order matter {cite}`harma2024interplay`?
# 3. Quantize the thin network too, and set it beside the stack: which is smaller, which is faster, which is better?
# 4. Remove the calibration batches but one.
#    How much accuracy does INT8 lose?
# 5. Measure the BatchNorm statistics of the pruned ImageNet network again, from other crops of the photographs.
#    Then do the same to the *unpruned* one.
#    What does that say about the batches that it takes?
# 6. Write the INT8 weights with an entropy coder instead of zstd.
#    How close do you come to the bound of section 6?
#
# Five lines to remember:
#
# - A size without an accuracy, and a speed-up without its baseline, are half a result {cite}`blalock2020state`.
# - After pruning, correct BatchNorm before you judge.
# - Zeros save space only when encoded, and time only when removed.
# - Dynamic INT8 is for Linear layers; convolutions need static INT8 and a compiler, and may still be slower than compiled FP32.
# - Effects multiply only as far as they remove different things, and the position of zeros is shared.
#   Whoever prints a product measures all of it with one instrument.
#
# **Where it leads.** Deep Compression goes on where this lab stops: shared weights, a sparse index and Huffman codes instead of zstd, down to the last bit.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
