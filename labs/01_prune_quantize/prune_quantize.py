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
# - prune a network by magnitude or by whole channels, and bring its accuracy back;
# - quantize it to INT8, dynamically and statically, and say which of its layers were touched;
# - measure size, latency and accuracy in a way that others can trust;
# - predict a compression rate before you measure it, and explain the gap.
#
# You need to know PyTorch, and what a convolution and BatchNorm do.
# Where a cell asks for a guess, write a number in place of `None` before you go on.

# %% tags=["hide-input"]
import os
import runpy

if not os.path.exists("claims.toml"):
    raise FileNotFoundError(f"""no claims.toml in {os.getcwd()}: a lab needs its folder.
In a clone, run it there, in labs/NN_name. Opened alone? Clone its whole repository.
(The owner types `labkit repository OWNER/NAME` once; then it fetches the rest.)""")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing

# %%
from functools import partial

import torch

from labkit import claims, lab, measure, plot, show, zoo
from labkit.drawings import pruning_and_rounding
from labkit.estimate.product import by_baseline
from labkit.stack.scored_files import ScoredFiles, add_latencies
from labkit.techniques.pruning import magnitude, recovery, structured
from labkit.techniques.quantization import int8, rounding
from labkit.techniques.storage import safetensors

record, settings, device, files = lab.start(
    "01_prune_quantize",  # settings at scale quick, standard and full
    source=("embedded", None, None),  # None is the first that answers
    imagenet_views=(40, 80, 400),
    test_images=(1000, 10_000, 10_000),
    sweep_images=(500, 500, 2000),
    sparsities=((0.6, 0.8), (0.4, 0.6, 0.8, 0.9), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    calibration_batches=(4, 6, 10),
    finetune_steps=(6, 80, 400),
    timing_batches=((50,), (1, 50), (1, 50)),
    timing_rounds=(10, 30, 60),
)

# %% [markdown]
# ## 1 · The idea, and what it promises
#
# A trained weight is stored in 32 bits, which is more than it needs.
# *Pruning* sets the weights that matter least to zero, and *quantization* rounds the others to integers of few bits.
# Deep Compression {cite}`han2016deep` stacks the two.
# If a fraction $s$ of the weights is zero, zeros cost nothing, and every other weight takes $b$ bits, the effects multiply: the file is $\frac{1}{1-s} \cdot \frac{32}{b}$ times smaller.
#
# But a file must also say *where* the zeros are.
# If they lie at random, that takes at least $H(s) = -s\log_2 s - (1-s)\log_2(1-s)$ bits per weight, and so the rate is at most
#
# $$ r(s, b) = \frac{32}{H(s) + (1-s)\,b} . $$
#
# Below, half of sixteen weights are pruned, so that $H = 1$: a bit for each weight says whether it is zero.


# %%
def with_positions(sparsity: float, bits: float) -> float:
    s = torch.tensor(sparsity)
    entropy = -(s * s.log2() + (1 - s) * (1 - s).log2()).item()
    return 32 / (entropy + (1 - sparsity) * bits)


pruned, both = with_positions(0.5, 32), with_positions(0.5, 8)
print(f"pruned {pruned:.2f} × INT8 4.00 promise {4 * pruned:.2f},", end=" ")
print(f"both reach {both:.2f}: {both / pruned / 4:.0%} of the product")
tenths = [9, -1, 4, -12, 2, 8, -3, 1, -7, 3, 11, -2, 1, -6, 2, 5]
pruning_and_rounding.four_files(torch.tensor(tenths).view(4, 4) / 10, 0.5)

# %% [markdown]
# Check it by hand: the eight smallest magnitudes go, and a step is 1.2 / 127, so that the largest magnitude becomes 127.
# (The step must be stored, too; the drawing leaves it out.)
# **The positions cost 16 bits before rounding and after it**: 6 % of the pruned file, and 20 % of the file with both.
# So the second technique removes a smaller fraction than it would alone.
#
# **Ask yourself:** at which sparsity do the positions cost as much as the 8-bit values themselves?
#
# <details><summary>Answer</summary>
#
# Where $H(s) = 8\,(1-s)$: at $s \approx 0.989$; beyond it most bits say where the weights are, and not what they are.
#
# </details>
#
# ## 2 · What the usual demonstration leaves out
#
# Many tutorials take an ImageNet network and prune 60 % of its weights by *global magnitude*: one threshold for the whole network.
# They quantize it to *dynamic INT8*: weights are rounded once, and the inputs of a layer anew in every call.
# They print four file sizes and stop.
# Here is the code of both techniques; a scale for each output channel keeps the steps small where the weights are small.

# %%
show(magnitude.global_masks, magnitude.keep_largest, rounding.quantize_tensor)

# %%
question = "60 % of the weights are zero: how many times smaller is the saved file?"
lab.guess("pruned_60_file_ratio", question, "×", None)
question = "Dynamic INT8, nothing pruned: how many times smaller is the saved file?"
lab.guess("imagenet_dynamic_int8_ratio", question, "×", None)

# %%
imagenet = zoo.imagenet_model()
imagenet.model.to(memory_format=torch.channels_last)  # as convolutions prefer it
photographs = zoo.natural_pictures()
crops = zoo.crops(photographs, settings.imagenet_views, seed=lab.SEED)
views = torch.stack([imagenet.preprocess(crop) for crop in crops])  # (N, 3, 224, 224)
photo = [i % len(photographs) for i in range(len(views))]  # which each view shows

sixty = magnitude.pruned(imagenet.model, magnitude.global_masks(imagenet.model, 0.6))
demo = {
    "baseline": imagenet.model,
    "pruned 60 %": sixty,
    "dynamic INT8": int8.dynamically_quantized(imagenet.model),
    "both": int8.dynamically_quantized(sixty),
}
same = {name: measure.predict(m, views, 8) for name, m in demo.items()}
for name, model in demo.items():
    path = safetensors.save_weights(model.state_dict(), files / "imagenet.safetensors")
    row = measure.file_sizes(path, "gzip")
    row["agreement"] = measure.agreement_by_source(same[name], same["baseline"], photo)
    record.add(f"ImageNet {name}", file=row.pop("raw"), **row)
start = "ImageNet baseline"
record.find("pruned_60_file_ratio", record.ratio("file", start, "ImageNet pruned 60 %"))
ratio = record.ratio("file", start, "ImageNet dynamic INT8")
record.find("imagenet_dynamic_int8_ratio", ratio)
print(imagenet.origin)
record.table("file", "gzip", "agreement")

# %% [markdown]
# **The column that is left out** is *agreement*: the share of views on which a model predicts the same class as the baseline; it needs no labels.
#
# **How sure is a figure?** Its brackets say which kind of interval it has:
#
# | Written | The interval | Can decide a claim |
# | --- | --- | --- |
# | 8.94 MB | none: the figure is *exact*, such as the bytes of a file | yes |
# | 2.3× [2.1, 2.5] | *95 % confidence*: of a hundred intervals made in this way, about 95 hold the true value | yes |
# | 12.3 ms (11.9 – 13.0) | weaker: the *quartiles*, between which half of all calls lie, the range of a few values, or what rests on one training | no |
#
# Take the claim "at least twice as fast".
# 2.3× [2.1, 2.5] lies above 2: it *holds*; 1.8× [1.7, 1.9] lies below: it *fails*.
# 2.1× [1.9, 2.3] contains 2, and 2.3× (2.1 – 2.5) has round brackets: either is *undecided*.
# More calls make a confidence interval narrower; quartiles, which describe a single call, stay as wide.
#
# What counts are *independent* observations.
# Views of one photograph are alike, so agreement rests on eight photographs (Student's t, which can reach beyond 100 %; eight equal values print no brackets, but are not exact).
# Accuracy rests on test images (Wilson {cite}`wilson1927probable`), a speed-up on rounds of timing.
# The page [Measuring](../../book/measuring.md) has the rest.
#
# <details><summary>Why <code>pruned_60_file_ratio</code>?</summary>
#
# A zero is a float32 like any other, and takes four bytes.
# Something must encode it before it saves anything: compare the column of gzip.
#
# </details>
#
# <details><summary>Why <code>imagenet_dynamic_int8_ratio</code>?</summary>
#
# INT8 is a quarter of what is quantized, and dynamic INT8 touches `Linear` layers only.
# Almost all layers of this network are convolutions; the next cell counts.
#
# </details>

# %%
parts = ["ImageNet pruned 60 %", "ImageNet dynamic INT8"]
gzipped = record.product("gzip", start, parts, "ImageNet both")
record.keep(f"{imagenet.origin.name}: pruning 60 % × dynamic INT8", "file", gzipped)
record.find("gzip_product_share", gzipped.share)
record.find("pruned_60_gzip_ratio", gzipped.factors[parts[0]])
print(f"gzip: predicted {gzipped.predicted}, measured {gzipped.measured}:", end=" ")
print(f"the whole is {gzipped.share} of the product")
linear = [m for m in imagenet.model.modules() if isinstance(m, torch.nn.Linear)]
share = sum(m.weight.numel() for m in linear) / measure.parameters(imagenet.model).value
print(f"{share:.1%} Linear weights, 4 bytes become 1: {1 / (1 - 0.75 * share):.2f}×")

said = {}
for p in photographs[:4]:
    said[p.name] = [f"{k}: {imagenet.first_guess(p.image, m)}" for k, m in demo.items()]
plot.pictures({p.name: p.image for p in photographs[:4]}, said)

# %% [markdown]
# The sizes nearly multiply, and the network is ruined (section 4 corrects; exercise 4 of section 10 tries that here): a size without a quality is half a result.
#
# **Ask yourself:** why does this whole come so near to its product?
#
# <details><summary>Answer</summary>
#
# Pruning shrinks the Linear layer as much as all convolutions together, so INT8 takes nearly the same share as alone: that multiplies.
# Only in the Linear layer do positions stand beside 8-bit values; in section 6 they do so everywhere.
#
# </details>
#
# ## 3 · A model whose accuracy we can measure
#
# From here on we use MobileNetV2 {cite}`sandler2018mobilenetv2` on Fashion-MNIST {cite}`xiao2017fashion`: ten classes, images enlarged to 48 × 48, scored on test images that no step has seen.
#
# Its weights ship in float16, which has 10 of float32's 23 bits of fraction, so that 13 are empty, and a compressor finds them.
# Fine-tuning fills them, and a pruned file would pay for digits that its baseline lacks.
# So they are filled at random before anything is measured.
# *Compressed* is the file in zstd {cite}`collet2021zstandard`, a compressor like gzip.

# %%
pretrained = zoo.fashion_mnist_model("mobilenet_v2")
shipped = safetensors.save_weights(pretrained.model.state_dict(), files / "shipped")
base = zoo.refill_(pretrained.model, torch.Generator().manual_seed(lab.SEED))
base.to(memory_format=torch.channels_last)
train, test = (zoo.fashion_mnist(part, settings.source) for part in ("train", "test"))
print(pretrained.origin, train.origin, test.origin, sep="\n")
test_inputs = zoo.to_input(test.images[: settings.test_images], pretrained.size)
test_labels = test.labels[: settings.test_images]
how = {"shape": (pretrained.size, pretrained.channels), "augment": zoo.mirrored}
batches = partial(zoo.random_batches, train, 128, **how)  # seed → inputs, labels
some = zip(range(settings.calibration_batches), batches(lab.SEED + 1))
calibration = [x for _, (x, _) in some]  # inputs without labels
rows = ScoredFiles(record, files, test_inputs, test_labels)  # writes, measures, scores
rows.keep("FP32", (), base)
record.table("file", "compressed", "accuracy")

# %% [markdown]
# ## 4 · Pruning, and the way back
#
# Pruning changes what a layer puts out, but the BatchNorm {cite}`ioffe2015batch` behind it still subtracts the mean and divides by the spread of the *unpruned* layer.
# Both can be measured again from a few unlabelled batches; no weight is trained.
# Fine-tuning does train, with the mask held: dropped weights return to zero after every step, or momentum would revive them.

# %%
show(recovery.reestimate_batchnorm_, recovery.finetune_)

# %%
names = "global", "global, BatchNorm again", "layer by layer, BatchNorm again"
curves = {name: {} for name in names}
few = slice(settings.sweep_images)
for s in settings.sparsities:
    chosen = magnitude.global_masks(base, s), magnitude.layer_masks(base, s)
    tried = [magnitude.pruned(base, chosen[i]) for i in (0, 0, 1)]
    for model in tried[1:]:
        recovery.reestimate_batchnorm_(model, calibration)
    for name, model in zip(names, tried):
        classes = measure.predict(model, test_inputs[few])
        curves[name][100 * s] = measure.accuracy(classes, test_labels[few])
plot.curves(curves, "sparsity of convolution and Linear weights (%)", "accuracy")

# %% [markdown]
# Accuracy falls off a cliff, and measuring BatchNorm again moves the cliff to the right without touching a weight.
# Layer by layer falls before global: a depthwise layer, one filter a channel, has few weights to spare and loses the same share.
#
# Zeros stay in the arithmetic: a convolution multiplies by them as by any other number.
# Removing whole channels {cite}`li2017pruning` leaves a smaller dense network instead.
# Channels that meet in an addition must go together; Torch-Pruning finds these groups {cite}`fang2023depgraph`.


# %%
def recover(model: torch.nn.Module, masks: dict, seed: int) -> torch.nn.Module:
    """BatchNorm statistics again, then fine-tuning under the mask."""
    recovery.reestimate_batchnorm_(model, calibration).to(device)
    there = ((x.to(device), y.to(device)) for x, y in batches(seed))
    masks = {name: mask.to(device) for name, mask in masks.items()}
    return recovery.finetune_(model, there, settings.finetune_steps, masks).cpu()


sixty = magnitude.pruned(base, magnitude.global_masks(base, 0.6))
rows.keep("pruned 60 %", ("global 60 %",), sixty)
recovery.reestimate_batchnorm_(sixty, calibration)
rows.keep("pruned 60 %, BatchNorm again", ("global 60 %", "BatchNorm"), sixty)

masks = magnitude.global_masks(base, 0.9)
sparse = recover(magnitude.pruned(base, masks), masks, lab.SEED + 2)
assert all((sparse.get_parameter(n)[~m] == 0).all() for n, m in masks.items())
rows.keep("pruned 90 %, fine-tuned", ("global 90 %", "fine-tuning"), sparse)

thin = structured.channels_pruned(base, calibration[0][:1], 0.25, keep=base.classifier)
thin = recover(thin.to(memory_format=torch.channels_last), {}, lab.SEED + 3)
rows.keep("25 % of channels removed, fine-tuned", ("channels", "fine-tuning"), thin)

for key, end in (("", ""), ("_batchnorm", ", BatchNorm again")):
    record.find(f"pruned_60{key}_lost", record.get(f"pruned 60 %{end}", "lost"))
for name, model in (("FP32", base), ("90 % zeros", sparse), ("fewer channels", thin)):
    print(f"{name}: {measure.flops(model, test_inputs[:1])} an image")
record.table("file", "compressed", "accuracy", "lost")

# %% [markdown]
# *Lost* is counted image by image against FP32, in points of accuracy; even no change gets an interval, from the number of images.
# Where training took part it has round brackets: another seed may lose more; the brackets of the accuracy leave the seed out.
#
# ## 5 · Static INT8: the convolutions, too
#
# *Static* quantization fixes the range of every activation beforehand, from a few *calibration* batches, so that whole convolutions run on integers {cite}`jacob2018quantization`.
# The exported graph only imitates that: between a dequantize and a quantize node it computes in float32, slowly.
# The integers come with the compiler, which fuses the three into one kernel.
# (Without VNNI instructions a CPU adds products of eight bits in sixteen, where two can overflow: there activations get seven bits.)

# %%
show(int8.statically_quantized, int8.compile_frozen)

# %%
graph = int8.exported(base, calibration[0])  # slow, once for all of its architecture
static = int8.statically_quantized(base, calibration, graph)
models = {"FP32": base, "channels removed": thin, "static INT8": static}
compiled = int8.Compiled(models, test_inputs)  # each once for a batch size
state = int8.int8_state(static)  # the tensors to save
rows.keep("static INT8", ("static INT8",), compiled("static INT8", 50), state, 50)
rows.keep("dynamic INT8", ("dynamic INT8",), int8.dynamically_quantized(base))
record.find("static_int8_lost", record.get("static INT8", "lost"))
record.find("static_int8_ratio", record.ratio("file", "FP32", "static INT8"))
record.find("dynamic_int8_ratio", record.ratio("file", "FP32", "dynamic INT8"))
record.table("file", "compressed", "accuracy", "lost")

# %% [markdown]
# ## 6 · The stack: prune → recover → INT8 → compressed file
#
# The network that was pruned to 90 % and fine-tuned is quantized and written in zstd.
# Then the file is read back into another network's graph, which must give the same outputs, or its size means nothing.
# Now both techniques act on the same bytes: what *share* of the product of its parts does the whole reach?
# It is 1 where effects multiply, and section 1 has the formula for your guess.

# %%
lab.guess(
    "product_share", "The whole, as a share of the product of the parts?", "×", None
)

# %%
models["stack"] = int8.statically_quantized(sparse, calibration, graph)
state, steps = int8.int8_state(models["stack"]), ("global 90 %", "fine-tuning", "INT8")
rows.keep("stack", steps, compiled("stack", 50), state, 50)

path = safetensors.save_weights(state, files / "stack.safetensors.zst")
again = int8.load_int8(safetensors.load_weights(path), static)  # only its architecture
with torch.no_grad():
    assert torch.equal(again(test_inputs[:50]), models["stack"](test_inputs[:50]))
whole = measure.Measurement.exact(path.stat().st_size, "bytes")
record.add("stack", compressed=whole)
parts = ["pruned 90 %, fine-tuned", "static INT8"]
stack = record.product("compressed", "FP32", parts, "stack")
record.keep("MobileNetV2: pruning × INT8", "file", stack)
record.find("product_share", stack.share)
record.find("stack_ratio", stack.measured)
record.find("stack_lost", record.get("stack", "lost"))
record.find("pruned_90_ratio", stack.factors[parts[0]])
record.find("pruned_90_lost", record.get(parts[0], "lost"))
plot.waterfall(stack, "smaller")

# %% [markdown]
# <details><summary>Why <code>product_share</code>?</summary>
#
# The positions of the zeros are paid once, at full price: a small part of a 32-bit file, and a large part of an 8-bit one.
# zstd shortens the values, too, and the fewer bits they take, the larger the part of the positions.
#
# </details>
#
# **What is the baseline?** One instrument must measure all four files, or it is itself a technique: above it is zstd, below FP32 is also measured in two more ways.
# In the drawing, *dominated* means: another file is no larger, and its point, whatever the bars, no worse.

# %%
baselines = {
    "FP32 as it lies in memory": record.get("FP32", "file"),
    "FP32 as shipped, in zstd": measure.file_sizes(shipped)["zstd"],
    "FP32 with its digits filled, in zstd": record.get("FP32", "compressed"),
}
formula = with_positions(0.9, 8) / (with_positions(0.9, 32) * 32 / 8)
print(f"the formula of section 1 says {formula:.3f} of the product")
alone = {part: record.get(part, "compressed") for part in parts}
print(by_baseline(baselines, alone, "stack", whole))
plot.cost_quality(record, "compressed", "accuracy")

# %% [markdown]
# - *As it lies in memory*: zstd shortens all but the baseline, so its gain is twice in the product, and the share is too low.
# - *As shipped*: the baseline lacks digits that the fine-tuned network pays for, so the share is too high.
# - *With its digits filled*: one instrument, one kind of number; only this share may be held against the formula.
#
# ## 7 · Latency, taken in turn
#
# All run in every round, in an order drawn anew; a speed-up is the median of the ratios taken round by round.
# FP32 runs twice in each round, and should take 1× the time of itself (*A/A*): what differs is noise, and widens every interval.
# *Eager* is PyTorch as it is, layer by layer; *compiled* is one program, and FP32 and INT8 are compiled alike.

# %%
question = "INT8 over FP32, both compiled, 50 images: how many times as fast?"
lab.guess("int8_speedup_over_compiled_batch_50", question, "×", None)

# %%
against = {"speedup": "FP32", "speedup_over_compiled": "FP32, compiled"}
for batch in settings.timing_batches:
    x = test_inputs[:batch]
    calls = {"FP32": base, "pruned 90 %": sparse, "channels removed": thin}
    calls |= {f"{name}, compiled": compiled(name, batch) for name in models}
    calls = {name: partial(model, x) for name, model in calls.items()}
    timings = measure.time_in_turn(calls, settings.timing_rounds)
    add_latencies(record, timings, f", batch {batch}", **against)
    for of, name in (("FP32", "eager"), ("FP32, compiled", "compiled")):
        speedup = timings.ratio(of, "static INT8, compiled")
        record.find(f"int8_speedup_over_{name}_batch_{batch}", speedup)
        record.find(f"stack_speedup_over_{name}", timings.ratio(of, "stack, compiled"))
    aa = record.find(f"latency_batch_{batch}_aa", timings.against_itself)
    print(f"batch {batch}, A/A {aa}")
record.find("zeros_speedup", timings.ratio("FP32", "pruned 90 %"))
record.find("channels_speedup", timings.ratio("FP32", "channels removed"))
half = torch.nn.Conv2d(320, 640, 1, bias=False).to(memory_format=torch.channels_last)
x = torch.randn(50, 320, 2, 2).to(memory_format=torch.channels_last)
pair = {"whole": partial(base.features[18][0], x), "half": partial(half, x)}
ratio = measure.time_in_turn(pair, settings.timing_rounds).ratio("whole", "half")
print("half of the widest layer:", record.find("half_layer_speedup", ratio), "as fast")
print(record.table("latency", "speedup", "speedup_over_compiled"))
plot.latencies(timings, baseline="FP32")

# %% [markdown]
# *Zeros*: a dense kernel multiplies by them all the same; is the ratio farther from 1 than A/A is?
# *Removed channels* buy time, because their arithmetic is gone (drawn: batches of 50, a dot for each round, a box for the quartiles).
# *Compiling* is a gain of its own, and a speed-up of INT8 over eager FP32 contains it.
# What INT8 adds is the ratio to *compiled* FP32.
#
# <details><summary>Why <code>int8_speedup_over_compiled_batch_50</code>?</summary>
#
# Four times as many 8-bit numbers fit in a vector register, which suggests a gain of up to four.
# But numbers must be quantized and scaled back between layers; what that takes was not measured.
# Some of our records said 0.7×: a program that was compiled again, without its weights frozen, computed in floats and did not say so; `compile_frozen` now raises an error.
#
# </details>
#
# ## 8 · The ledger
#
# Each claim stands in `claims.toml` with its source and a bound.
# Section 2 says when it *holds*, *fails* or is *undecided*; a claim that names a size and a loss has both judged together.

# %%
claims.judge("claims.toml", record)

# %% [markdown]
# Where a claim fails, this is why:
# - *Rates multiply*: where each removes the same fraction with and without the other; the positions break that.
# - *INT8 is a quarter*: of what is quantized, and once the float32 copies that an exported graph keeps are removed.
# - *Ten times at 90 %*: counts weights, and not where they are.
# - *INT8 is faster*: look at both batch sizes: a gain in batches need not show on one image.
# - *Half a layer*: half of the arithmetic is half of the time only if arithmetic is what takes the time. One run may decide where three, joined, do not.
#
# ## 9 · This run and the recorded ones

# %%
headline = (
    "file {stack_ratio} smaller, {stack_lost} of accuracy lost, "
    "{stack_speedup_over_eager} as fast as eager and "
    "{stack_speedup_over_compiled} as fast as compiled FP32, at batch 50"
)
lab.finish(headline)

# %% [markdown]
# ## 10 · Try, and remember
#
# 1. Prune 95 % and 98 %: where does fine-tuning no longer help, and which layers are empty by then?
# 2. Quantize first and prune afterwards: does the order matter {cite}`harma2024interplay`?
# 3. Quantize the thin network, too: is it smaller, faster or better than the stack?
# 4. Measure BatchNorm again, from other crops of the photographs, in the pruned ImageNet network and in the *unpruned* one: which data would be right?
# 5. Write the INT8 weights with an entropy coder instead of zstd: how close does the share come to the formula?
#
# Five lines to remember:
# - A size without an accuracy, and a speed-up without its baseline, are half a result {cite}`blalock2020state`.
# - After pruning, correct BatchNorm before you judge.
# - Zeros save space only when encoded, and time only when removed.
# - Dynamic INT8 is for Linear layers; convolutions need static INT8 and a compiler; time them against compiled FP32.
# - Effects multiply where each removes the same fraction with and without the other; whoever prints a product measures it with one instrument.
#
# **Where it leads.** Lab 02 goes on where this lab stops: shared weights, a sparse index and Huffman codes instead of zstd.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
