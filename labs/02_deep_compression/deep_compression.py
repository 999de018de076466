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
# # Lab 02 · Deep Compression, down to the last bit
#
# To run this lab, clone its whole repository and open the notebook there.
#
# **A paper says 40 times smaller without loss. Does the file exist, does it load again, and which of its bytes did each step save?**
#
# After this lab you can
#
# - prune a network while it trains, and choose how much of each layer stays;
# - share weights through a codebook, and train the codebook on;
# - build a canonical Huffman code, and say how close it comes to the entropy;
# - lay out a file that holds all this, and account for every byte in it;
# - tell a product of rates that proves something from one that proves nothing.
#
# Lab 01 explains pruning and entropy.
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

from labkit import claims, lab, measure, plot, show, zoo
from labkit.measure import Measurement, averaged, mean_with_interval
from labkit.techniques.pruning import magnitude, recovery

record, settings, device, files = lab.start(
    "02_deep_compression",
    device="cpu",
    # At scale quick, standard and full. A source of None is the first that answers.
    source=("embedded", None, None),
    digits_source=("package", None, None),
    test_images=(2000, 10_000, 10_000),
    scan_images=(500, 2000, 2000),
    seeds=(1, 3, 3),
    sparsities=((0.9,), (0.8, 0.9, 0.95, 0.98), (0.8, 0.9, 0.95, 0.98)),
    retraining_steps=(60, 1500, 2000),
    bits=((2, 4), (2, 3, 4, 5, 6), (2, 3, 4, 5, 6)),
    centroid_steps=(5, 120, 200),
    digits_steps=(60, 500, 700),
    mobilenet_steps=(4, 100, 150),
    timing_rounds=(20, 100, 100),
)

# %% [markdown]
# ## 1 · The idea, and the number it promises
#
# Deep Compression {cite}`han2016deep` takes three steps.
# *Prune*: keep the fraction $d$ of the weights.
# *Share*: let the kept weights of a layer take their values from a codebook, so that each is a code of $b$ bits.
# *Encode*: write codes and positions with Huffman's code.
# A weight costs its code, and its *position*: the distance from the kept weight before it, in $p$ bits.
# Where a distance needs more than $p$ bits, a *filler* is stored between, a weight of zero; let there be $f$ of them.
# A layer of $n$ weights shrinks from $32 n$ bits to $(d\,n + f)(b + p)$ and a codebook of $2^b$ values:
#
# $$ r = \frac{32\,n}{(d\,n + f)(b + p) + 32 \cdot 2^b} \qquad\text{and not}\qquad r_\text{naive} = \frac{1}{d} \cdot \frac{32}{b} $$
#
# Take the paper's LeNet-300-100: it keeps 8 % of the weights, with 6 bits for a code and 5 for a position.
# Fillers and codebook are left out.


# %%
def rate(density: float, code: float, position: float) -> float:
    return 32 / (density * (code + position))


print(f"naive product {rate(0.08, 6, 0):.0f}, with positions {rate(0.08, 6, 5):.0f}")
print("the paper's table: 32, and 40 with Huffman codes")

# %% [markdown]
# **Ask yourself:** the position costs almost as much as the code.
# What happens to it if you prune *more*: do distances get shorter or longer?
#
# ## 2 · The networks
#
# The paper's LeNet-300-100 and LeNet-5 {cite}`lecun1998gradient`, and a small VGG {cite}`simonyan2015very` with six convolutions and a large classifier, all trained on Fashion-MNIST {cite}`xiao2017fashion` by `labkit.recipes.classifiers`.
# The test images were used for no training.
# Lower accuracy than on the paper's MNIST is to be expected: this data set is harder.
# Section 8 goes back to digits.

# %%
NAMES = {"lenet_300_100": "LeNet-300-100", "lenet_5": "LeNet-5", "vgg_9": "VGG-9"}
train = zoo.fashion_mnist("train", settings.source)
test = zoo.fashion_mnist("test", settings.source)
inputs = zoo.to_input(test.images[: settings.test_images], 28, channels=1)
labels = test.labels[: settings.test_images]
print(train.origin, test.origin, sep="\n")


def batches(data: zoo.ImageSet, seed: int, shape: tuple[int, int] = (28, 1)):
    """Random training batches (inputs, labels), without end."""
    return zoo.random_batches(data, 64, seed, shape)


dense, right = {}, {}  # the networks as trained, and their predictions
for name, title in NAMES.items():
    trained = zoo.fashion_mnist_model(name)
    print(trained.origin)
    dense[name] = trained.model.to(memory_format=torch.channels_last)
    right[name] = measure.predict(dense[name], inputs)
    record.add(
        title,
        parameters=measure.parameters(dense[name]),
        # What every rate below is measured against: four bytes for each parameter.
        file=Measurement.exact(4 * measure.parameters(dense[name]).value, "bytes"),
        accuracy=measure.accuracy(right[name], labels),
    )
record.table("parameters", "file", "accuracy")

# %% [markdown]
# ## 3 · Prune
#
# ### 3.1 Which layers are sensitive?
#
# Prune one layer of LeNet-5, leave the others dense, do not retrain, and look.
# The layer that suffers first should keep most.

# %%
scan = slice(settings.scan_images)


def accuracy(model: nn.Module) -> Measurement:
    return measure.accuracy(measure.predict(model, inputs[scan]), labels[scan])


sensitivity = {}
for layer, weight in magnitude.prunable(dense["lenet_5"]).items():
    title = f"{layer.removesuffix('.weight')}, {weight.numel():,} weights"
    sensitivity[title] = {0: accuracy(dense["lenet_5"])}
    for sparsity in (0.5, 0.7, 0.8, 0.9, 0.95):
        masks = {layer: magnitude.layer_masks(dense["lenet_5"], sparsity)[layer]}
        pruned = magnitude.pruned(dense["lenet_5"], masks)
        sensitivity[title][100 * sparsity] = accuracy(pruned)
plot.curves(sensitivity, "sparsity of this layer alone (%)", "accuracy")

# %% [markdown]
# The first layer suffers most, the large fully connected layer least.
# Choosing a sparsity for every layer by hand from such curves is what the paper did.
# LAMP {cite}`lee2021layer` derives one ranking for the whole network: a weight counts as much as its share of the energy that would be left in its layer once all smaller weights are gone.

# %%
show(magnitude.lamp_masks)

# %%
tiny = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False))
tiny[0].weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
tiny[1].weight.data = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
for rule in (magnitude.global_masks, magnitude.lamp_masks):
    kept = [mask.flatten().int().tolist() for mask in rule(tiny, 0.5).values()]
    print(f"{rule.__name__:12}", *kept)

# %% [markdown]
# Global magnitude empties the layer whose weights happen to be ten times smaller; LAMP sees that both are the same layer up to scale.
#
# ### 3.2 One shot, in rounds, or gradually?
#
# Pruned weights must be made up for by the others, so the network is retrained.
# Three ways, with the same number of training steps: all weights at once and then training; three rounds of pruning and training, as Han and others did {cite}`han2015learning`; or a little more every 20 steps while training goes on {cite}`zhu2017prune`.

# %%
show(recovery.prune_gradually_)


# %%
import copy


def in_rounds(
    model: nn.Module, sparsity: float, rounds: int, seed: int = lab.SEED
) -> nn.Module:
    """Prune and retrain, in rounds that each drop the same share of what is left."""
    steps = settings.retraining_steps // rounds
    for i in range(1, rounds + 1):
        masks = magnitude.lamp_masks(model, 1 - (1 - sparsity) ** (i / rounds))
        magnitude.apply_masks_(model, masks)
        data = batches(train, 10 * seed + i)
        recovery.finetune_(model, data, steps, masks, lr=0.02, weight_decay=5e-4)
    return model


def gradual(model: nn.Module, sparsity: float) -> nn.Module:
    data, steps = batches(train, lab.SEED + 1), settings.retraining_steps
    return recovery.prune_gradually_(model, data, steps, sparsity, lr=0.02)


ways = {
    "one shot": lambda model, sparsity: in_rounds(model, sparsity, 1),
    "three rounds": lambda model, sparsity: in_rounds(model, sparsity, 3),
    "gradually": gradual,
}
retrained = {way: {} for way in ways}
for way, recipe in ways.items():
    for sparsity in settings.sparsities:
        model = recipe(copy.deepcopy(dense["lenet_300_100"]), sparsity)
        predicted = measure.predict(model, inputs)
        lost = measure.accuracy_loss(predicted, right["lenet_300_100"], labels)
        retrained[way][100 * sparsity] = record.find(f"{way} {sparsity:.0%}", lost)

most, by_order = settings.sparsities[-1], []
for seed in range(settings.seeds):
    at_once, thrice = (
        measure.predict(
            in_rounds(copy.deepcopy(dense["lenet_300_100"]), most, rounds, seed), inputs
        )
        for rounds in (1, 3)
    )
    by_order.append(measure.accuracy_loss(at_once, thrice, labels))
worse = record.find("one_shot_worse_than_rounds", averaged(by_order, over="orders"))
print(f"at {most:.0%}, over {settings.seeds} orders of the training images,", end=" ")
print(f"one shot loses {worse} more than three rounds")
plot.curves(retrained, "sparsity of LeNet-300-100 (%)", "accuracy lost")

# %% [markdown]
# Where little is pruned, one shot already repairs while the others still prune.
# Where much is pruned, the others let the network adapt on the way.
# Which of the two weighs more, at the left end and at the right?
# Each curve is one training run, and its interval that of the test images alone.
# So two curves decide nothing: only the line printed above them rests on several runs.
# Its interval is Student's t over the runs, widened by what the test images leave open.
#
# ### 3.3 Retraining takes longer than pruning
#
# The convolutional networks need many more steps than two cores take in minutes.
# So the pruned networks of the next sections ship with the lab: the same function `prune_gradually_`, up to 20,000 steps on one GPU, three seeds each, by `labkit.recipes.pruned_classifiers`.
# Its settings were chosen by looking at test accuracy, so the scores of these networks may be slightly flattered.
# They are stored in the format that section 6 explains; loading them is its first test.


# %%
from labkit.techniques.storage import deep_compression, huffman


def pruned_network(name: str, seed: int) -> nn.Module:
    """A network pruned while it trained on; its weights ship in half precision."""
    half = deep_compression.load_(zoo.pruned_file(name, seed), zoo.network(name).half())
    model = half.float().eval().to(memory_format=torch.channels_last)
    # Half precision leaves few different values, from which a float32 file
    # must not profit: fill the digits that it cut off.
    return zoo.refill_(model)


pruned = {
    name: [pruned_network(name, seed) for seed in range(settings.seeds)]
    for name in NAMES
}


def kept(model: nn.Module) -> float:
    """Share of the convolution and Linear weights that is not zero."""
    weights = magnitude.prunable(model).values()
    return sum(w.count_nonzero() for w in weights).item() / sum(
        map(torch.numel, weights)
    )


def lost(name: str, models: list[nn.Module]) -> Measurement:
    """Points of accuracy lost against the dense network: mean over the seeds, with
    an interval that holds what the seeds do and what the images leave open."""
    losses = [
        measure.accuracy_loss(measure.predict(m, inputs), right[name], labels)
        for m in models
    ]
    return averaged(losses)


quality = {}  # points of accuracy lost
for name, models in pruned.items():
    quality[name, "pruned"] = lost(name, models)
    print(f"{NAMES[name]}: {kept(models[0]):.1%} of the weights kept,", end=" ")
    print(f"{quality[name, 'pruned']} lost")

# %% [markdown]
# ## 4 · Share
#
# ### 4.1 A codebook by k-means
#
# In one dimension a cluster is an interval, so k-means needs no distance matrix: sort once, and each round is a search for the midpoints between centroids.

# %%
from labkit.techniques.quantization import codebook

show(codebook.initial_centroids, codebook.kmeans)

# %%
eight = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0])
for how in ("linear", "density"):
    start = codebook.initial_centroids(eight, 3, how)
    centroids, codes = codebook.kmeans(eight, start)
    print(
        f"{how}: from {start.tolist()} to {centroids.tolist()}, codes {codes.tolist()}"
    )

# %% [markdown]
# From a linear start the large weight gets a centroid of its own, and one of the three ends up empty and is dropped.
# From a start by density it takes k-means to move a centroid out to the large weight, and the small ones are told apart.
# On a real layer:

# %%
layer = pruned["lenet_300_100"][0].ip1.weight.detach().flatten()
layer = layer[layer != 0]
figure, axes = plot.subplots(3, 1, sharex=True)
figure.set_size_inches(7.5, 5.2)
for ax, how in zip(axes, ("linear", "density", "random")):
    centroids, codes = codebook.kmeans(
        layer, codebook.initial_centroids(layer, 15, how, lab.SEED)
    )
    error = ((centroids[codes] - layer) ** 2).mean().sqrt() / layer.std()
    ax.hist(layer.numpy(), 100, color=plot.SKY)
    ax.vlines(centroids, 0, ax.get_ylim()[1], color="black", linewidth=1)
    ax.set(ylabel="weights", title=f"{how}: error {error:.3f} standard deviations")
axes[-1].set_xlabel("value of the kept weights of ip1; lines are the centroids left")
figure.alt = "Histogram of weights with centroids after k-means from three starts."
figure

# %% [markdown]
# ### 4.2 How many bits, and from which start?
#
# The paper finds a linear start best, because large weights are few but important.
# One of the $2^b$ values is zero, for the pruned weights.
# All weights of LeNet-300-100 are shared, with $b$ bits, and nothing is trained.

# %%
STARTS = ("linear", "density", "random")


def shared(model: nn.Module, bits: int, how: str = "linear", seed: int = 0):
    """A copy with `bits` for the weights and 5 for the biases, and its codebooks."""
    model = copy.deepcopy(model)
    names = dict(model.named_parameters())
    widths = {name: bits if p.dim() > 1 else 5 for name, p in names.items()}
    return model, codebook.share_(model, widths, how, seed)


starts, predictions = {how: {} for how in STARTS}, {}
for bits in settings.bits:
    for how in STARTS:
        models = [
            shared(model, bits, how, seed)[0]
            for seed, model in enumerate(pruned["lenet_300_100"])
        ]
        predictions[how, bits] = [measure.predict(m, inputs) for m in models]
        starts[how][bits] = lost("lenet_300_100", models)
plot.curves(starts, "bits of a code", "accuracy lost, untrained")

# %%
for bits in settings.bits:
    for how in ("density", "random"):
        pairs = zip(predictions[how, bits], predictions["linear", bits])
        worse = averaged([measure.accuracy_loss(a, b, labels) for a, b in pairs])
        record.find(f"{how}_worse_than_linear_{bits}_bits", worse)
        print(f"{bits} bits: a {how} start loses {worse} more than a linear one")

# %% [markdown]
# ### 4.3 Train the codebook on
#
# All weights with the same code move together: the gradient of a centroid is the sum of theirs.
# The dense network is the teacher {cite}`hinton2015distilling`: its predictions say more about an image than the label does.

# %%
show(codebook.Codebook, codebook.finetune_centroids_)

# %%
book = codebook.Codebook(
    centroids=torch.tensor([-1.0, 2.0]),
    codes=torch.tensor([0, 1, 0]),
    kept=torch.tensor([0, 2, 3]),
    shape=torch.Size([2, 2]),
)
gradient = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
print(
    "weight", book.weight().tolist(), "gradient of centroids", book.gradient(gradient)
)
assert book.gradient(gradient).tolist() == [1001, 100]  # 1 + 1000, and 100


# %%
from labkit.techniques.distillation import soft_targets

show(soft_targets.distillation_loss)


# %%
def trained_on(name: str, model: nn.Module, codebooks: dict, seed: int) -> nn.Module:
    """Fine-tune the centroids. Dropout is off: the masks have taken that capacity."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    data = soft_targets.with_teacher(batches(train, seed), dense[name])
    loss, steps = soft_targets.distillation_loss, settings.centroid_steps
    codebook.finetune_centroids_(model, codebooks, data, steps, loss=loss)
    return model


trained = {}
for bits in settings.bits:
    models = [
        trained_on("lenet_300_100", *shared(model, bits), seed)
        for seed, model in enumerate(pruned["lenet_300_100"])
    ]
    trained[bits] = lost("lenet_300_100", models)
both = {"linear start, untrained": starts["linear"], "trained on": trained}
plot.curves(both, "bits of a code", "accuracy lost")

# %% [markdown]
# ## 5 · Encode
#
# Codes of fixed width spend as much on a rare value as on a frequent one.
# Huffman's code {cite}`huffman1952method` gives frequent ones fewer bits.
# A *canonical* code is known from its lengths alone: short codes first, equally long ones in the order of their symbols, each the one before plus one.
# So the table in the file holds a length a symbol, and no codes.

# %%
show(huffman.canonical_codes, huffman.decode)

# %%
import numpy as np

symbols = np.array([0] * 8 + [1] * 4 + [2] * 2 + [3, 4])
lengths = huffman.code_lengths(np.bincount(symbols))
for symbol, (code, length) in enumerate(zip(huffman.canonical_codes(lengths), lengths)):
    print(symbol, f"occurs {(symbols == symbol).sum()} times, code {code:0{length}b}")
mean = lengths[symbols].mean()
print(f"{mean} bits per symbol; entropy {huffman.entropy(symbols)}; fixed width 3")
assert mean == huffman.entropy(symbols)  # all frequencies are powers of 1/2

# %% [markdown]
# Decoding is sequential by nature: where a code begins is known once the one before has been read.
# The file holds the same codes, dealt out to lanes: its reader decodes one symbol of *every* lane in each step, so that NumPy has vectors to work on.
#
# The widths below were chosen by looking at test images, as the settings of section 3.3 were.
# All networks have seen all training images, so there was nothing else to choose on: the losses may be slightly flattered.
# The shared weights of a real layer:

# %%
BITS = {"lenet_300_100": 4, "lenet_5": 5, "vgg_9": 5}
compressed = {
    name: [
        trained_on(name, *shared(model, BITS[name]), seed)
        for seed, model in enumerate(models)
    ]
    for name, models in pruned.items()
}
path = deep_compression.save(compressed["lenet_300_100"][0], files / "lenet_300_100.dc")
entry = deep_compression.contents(path)[0]
print(f"{entry.name}: {entry.kept:,} weights kept, {entry.levels} values")
for stream, width in (("weights", entry.weight_bits), ("index", entry.index_bits)):
    data = entry.streams[stream]
    lengths = huffman.code_lengths(np.bincount(data))
    coded = huffman.encode(data, lengths)
    assert (huffman.decode(coded, lengths) == data).all()
    in_file = 8 * entry.parts[stream] / len(data)
    print(f"  {stream}: {width} bits fixed,", end=" ")
    print(f"{len(coded) / len(data):.2f} Huffman-coded,", end=" ")
    print(f"{in_file:.2f} with the table, entropy {huffman.entropy(data):.2f}")

# %% [markdown]
# ## 6 · The file
#
# ### 6.1 Positions
#
# The index stores distances.
# A distance that does not fit the width is bridged by a *filler*: a stored zero.
# Three bits reach eight places far:

# %%
show(deep_compression.relative_index)

# %%
positions = np.array([1, 4, 15])  # the paper's figure 2
index, is_weight = deep_compression.relative_index(positions, index_bits=3)
print("distances - 1:", index.tolist(), "of which weights:", is_weight.tolist())
print("read back:", deep_compression.absolute_index(index)[is_weight].tolist())
assert deep_compression.absolute_index(index)[is_weight].tolist() == positions.tolist()

# %% [markdown]
# ### 6.2 Save, load, compare
#
# `deep_compression.save` needs no notes from the training.
# It looks at every tensor, writes it in each of its forms, and keeps the smallest: values or a codebook with codes; all positions or an index, along rows or columns, with the best width; Huffman's code or fixed width.
# The same bits come back, so the outputs must be equal, not close.

# %%
again = deep_compression.load_(path, zoo.network("lenet_300_100")).eval()
with torch.no_grad():
    assert torch.equal(again(inputs), compressed["lenet_300_100"][0](inputs))
print(f"{path.stat().st_size:,} bytes load into a network with equal outputs")

broken = bytearray(path.read_bytes())
broken[1000] ^= 1
for what, data, architecture in (
    ("one bit flipped", bytes(broken), "lenet_300_100"),
    ("cut in half", path.read_bytes()[: path.stat().st_size // 2], "lenet_300_100"),
    ("another network", path.read_bytes(), "lenet_5"),
):
    (files / "broken.dc").write_bytes(data)
    try:
        deep_compression.load_(files / "broken.dc", zoo.network(architecture))
    except ValueError as error:
        print(f"{what}: {str(error).replace(str(files) + '/', '')}")
    else:
        raise AssertionError(f"{what} was not noticed")

# %% [markdown]
# ### 6.3 Every network, every step, every byte
#
# Each step is a file: pruned; pruned and shared, with symbols of fixed width; pruned, shared and Huffman-coded.
# A rate is the bytes of all float32 parameters over those of the file.
# Means are over the seeds.

# %%
STEPS = ("pruned", "pruned, shared", "pruned, shared, Huffman")
parts = {}  # (network, step) → bytes by part, of the first seed
for name, title in NAMES.items():
    # The last two steps hold the same network.
    quality[name, STEPS[1]] = quality[name, STEPS[2]] = lost(name, compressed[name])
    versions = dict(zip(STEPS, (pruned[name], compressed[name], compressed[name])))
    for step, models in versions.items():
        paths = [
            deep_compression.save(
                model, files / f"{name} {step} {i}.dc", huffman="H" in step
            )
            for i, model in enumerate(models)
        ]
        sizes = [path.stat().st_size for path in paths]
        entries = deep_compression.contents(paths[0])
        parts[title, step] = {
            part: sum(e.parts[part] for e in entries) for part in entries[0].parts
        }
        parts[title, step]["overhead"] += deep_compression.HEADER_BYTES
        assert sum(parts[title, step].values()) == sizes[0]
        whole = record.get(title, "file").value
        record.add(
            f"{title} {step}",
            tuple(step.split(", ")),
            file=mean_with_interval(sizes, "bytes"),
            rate=mean_with_interval([whole / size for size in sizes], "×"),
            lost=quality[name, step],
        )
record.table("file", "rate", "lost")

# %%
figure, axes = plot.subplots(1, 3)
looks = {
    "weights": (plot.BLUE, ""),
    "index": (plot.ORANGE, "//"),
    "codebook": (plot.GREEN, ".."),
    "overhead": (plot.GREY, ""),
}
for ax, title in zip(axes, NAMES.values()):
    base = np.zeros(3)
    for part, (color, hatch) in looks.items():
        heights = np.array([parts[title, step][part] for step in STEPS]) / 1e3
        ax.bar(
            range(3),
            heights,
            0.7,
            base,
            color=color,
            hatch=hatch,
            label=part,
            edgecolor="white",
        )
        base += heights
    ax.set_xticks(range(3), ["pruned", "shared", "Huffman"])
    ax.set(title=title, ylabel="file (kB)")
    ax.grid(axis="x", visible=False)
axes[0].legend()
last = {title: parts[title, STEPS[-1]] for title in NAMES.values()}
shares = {t: f"{p['index'] / sum(p.values()):.0%}" for t, p in last.items()}
figure.alt = f"Bytes by part after each step. Share of the index in the end: {shares}."
print("share of the index in the finished file:", shares)
figure

# %% [markdown]
# Sharing shrinks the values and leaves the index as it was, so that it becomes about half of the file.
# Huffman's code takes the larger share from the index: distances are farther from equally frequent than codes.
# Codebooks, table and checksums are too small to see.
#
# ### 6.4 Two products, of which one proves something
#
# Divide each file by the next, and multiply.

# %%
savings = {}
for name, title in NAMES.items():
    sizes = [record.get(title, "file")]
    sizes += [record.get(f"{title} {step}", "file") for step in STEPS]
    on_top = [measure.ratio(a, b) for a, b in zip(sizes, sizes[1:])]
    record.find(f"{name}_pruned_rate", record.get(f"{title} {STEPS[0]}", "rate"))
    record.find(f"{name}_pruned_lost", record.get(f"{title} {STEPS[0]}", "lost"))
    record.find(f"{name}_shared_on_top", on_top[1])
    print(f"{title}: {' × '.join(factor.short for factor in on_top)}", end=" ")
    print(f"= {measure.ratio(sizes[0], sizes[-1]).short}")
    saved = []
    for i in range(settings.seeds):
        fixed, coded = (
            (files / f"{name} {step} {i}.dc").stat().st_size for step in STEPS[1:]
        )
        saved.append(100 * (1 - coded / fixed))
    savings[name] = mean_with_interval(saved, "%")
    print(f"  Huffman's code saves {savings[name]}")

# %% [markdown]
# "Not 9 + 4 + 1.3, but 9 × 4 × 1.3": so an article concludes that effects multiply {cite}`metaintelligence_stacking`.
# But factors taken *one upon the other* multiply by definition: every size between cancels.
# Any three steps do so, those that get in each other's way, too.
#
# A claim would be that factors measured *alone* multiply, each against the same start.
# So share the dense network, unpruned, and set both parts beside the whole.
# All four files are written by `deep_compression.save` with Huffman's code.
# The code is the instrument here, and no third part: of float32 weights hardly two are alike, and alone it finds nothing.

# %%
from labkit.estimate.product import Product

# Tables 2 to 5 of the paper: the rate when pruned and shared, and with Huffman's code
PAPER_RATES = {
    "lenet_300_100": (32, 40),
    "lenet_5": (33, 39),
    "alexnet": (27, 35),
    "vgg_16": (31, 49),
}


def file_bytes(model: nn.Module, coded: bool = True) -> int:
    path = deep_compression.save(model, files / "alone.dc", huffman=coded)
    return path.stat().st_size


stacks = {}
for name, title in NAMES.items():
    start = zoo.refill_(copy.deepcopy(dense[name]))  # as the pruned ones were
    plain, coded = (file_bytes(start, coded) for coded in (False, True))
    print(f"{title}: Huffman's code alone {plain / coded:.3f}×,", end=" ")
    alone = trained_on(name, *shared(start, BITS[name]), lab.SEED)
    predicted = measure.predict(alone, inputs)
    record.add(
        f"{title} shared, Huffman",
        ("shared", "Huffman"),
        file=Measurement.exact(file_bytes(alone), "bytes"),
        lost=measure.accuracy_loss(predicted, right[name], labels),
    )
    parts_alone = {
        "pruning": mean_with_interval(list(map(file_bytes, pruned[name])), "bytes"),
        "codebook": record.get(f"{title} shared, Huffman", "file"),
    }
    whole = record.get(f"{title} {STEPS[-1]}", "file")
    coded = Measurement.exact(coded, "bytes")
    stacks[name] = Product.of_costs("float32", coded, parts_alone, "both", whole)
    record.keep(f"{title}: pruning × codebook", "file", stacks[name])
    print(f"the whole is {stacks[name].share} of the product")
plot.waterfall(stacks["lenet_5"], "smaller")

# %% [markdown]
# The dense network pays for no positions, and the pruned one pays for them beside values of 32 bits, where they are little.
# In the whole they stand beside codes of a few bits.
# And they cost *more* for each kept weight the more is pruned: at density $d$ at least $H(d)/d$ bits if they lie at random, with $H$ the binary entropy.

# %%
from labkit.table import Table

rows = []
for name, title in NAMES.items():
    entries = deep_compression.contents(files / f"{name} {STEPS[-1]} 0.dc")
    numbers = sum(entry.kept for entry in entries)
    weights, index = (
        8 * sum(entry.parts[part] for entry in entries) / numbers
        for part in ("weights", "index")
    )
    d = kept(compressed[name][0])
    bound = -(np.log2(d) + (1 - d) / d * np.log2(1 - d))  # H(d) / d
    rows.append([title, f"{d:.1%}", f"{weights:.2f}", f"{index:.2f}", f"{bound:.2f}"])
head = ["bits for each kept number", "kept", "code", "position", "at random, H(d)/d"]
Table(head, rows)

# %% [markdown]
# The measured positions stay below the bound for zeros scattered at random: layers differ in density, and rows and columns of a layer do, too.
#
# ## 7 · Beside the paper's tables
#
# Layer by layer: share of the weights kept, bits of a code and of a distance before and after Huffman, and what is left of the layer.
# The paper's figures are from its tables 2 and 3; its task was MNIST.
# An index width of 0 means that the layer is stored densely, because that is smaller.

# %%
PAPER = {
    "lenet_300_100": {
        "ip1.weight": "8 %, 6 → 4.4, 5 → 3.7, 2.32 %",
        "ip2.weight": "9 %, 6 → 4.4, 5 → 4.3, 3.04 %",
        "ip3.weight": "26 %, 6 → 4.3, 5 → 3.2, 12.70 %",
    },
    "lenet_5": {
        "conv1.weight": "66 %, 8 → 7.2, 5 → 1.5, 67.45 %",
        "conv2.weight": "12 %, 8 → 7.2, 5 → 3.9, 5.28 %",
        "ip1.weight": "8 %, 5 → 4.5, 5 → 4.5, 2.45 %",
        "ip2.weight": "19 %, 5 → 5.2, 5 → 3.7, 6.13 %",
    },
}
rows = []
for name, paper in PAPER.items():
    for entry in deep_compression.contents(files / f"{name} {STEPS[-1]} 0.dc"):
        if entry.name in paper:
            cells = (
                f"{100 * entry.kept / np.prod(entry.shape):.0f} %",
                f"{entry.weight_bits} → {entry.coded_weight_bits:.1f}",
                f"{entry.index_bits} → {entry.coded_index_bits:.1f}",
                f"{100 / entry.rate:.2f} %",
            )
            layer = f"{NAMES[name]} {entry.name.removesuffix('.weight')}"
            rows.append([layer, paper[entry.name], ", ".join(cells)])
Table(["layer", "paper: kept, code, distance, left", "this run"], rows)

# %% [markdown]
# ## 8 · The paper's own task: digits
#
# The whole recipe from nothing, in seconds, on handwritten digits {cite}`lecun1998gradient`: train, prune gradually, share with 5 bits, encode.
# Where MNIST cannot be reached these are 5,000 of its images, 1,000 of them for testing: one image is a tenth of a point, so read the intervals.
# The paper's dense LeNet-300-100 reads 98.4 % right, its LeNet-5 99.2 % (table 1).
# Look at the first column: as far as yours read less, this is not the paper's task, and a loss of nothing says less.

# %%
digits, tested = (zoo.digits(s, settings.digits_source) for s in ("train", "test"))
print(digits.origin, tested.origin, sep="\n")
digit_inputs = zoo.to_input(tested.images, 28, channels=1)
for name, sparsity, lr in (("lenet_300_100", 0.92, 0.05), ("lenet_5", 0.93, 0.01)):
    rates, losses, accuracies = [], [], []
    for seed in range(settings.seeds):
        torch.manual_seed(seed)
        model = zoo.network(name).to(memory_format=torch.channels_last)
        steps = settings.digits_steps
        recovery.finetune_(model, batches(digits, seed), steps, lr=lr)
        before = measure.predict(model, digit_inputs)
        recovery.prune_gradually_(
            model, batches(digits, seed + 10), steps, sparsity, lr
        )
        model, codebooks = shared(model, 5)
        data = batches(digits, seed + 20)
        codebook.finetune_centroids_(model, codebooks, data, settings.centroid_steps)
        path = deep_compression.save(model, files / "digits.dc")
        whole = 4 * measure.parameters(model).value
        rates.append(whole / path.stat().st_size)
        after = measure.predict(model, digit_inputs)
        losses.append(measure.accuracy_loss(after, before, tested.labels))
        accuracies.append(measure.accuracy(before, tested.labels).value)
    record.add(
        f"{NAMES[name]} on digits",
        ("pruned", "shared", "Huffman"),
        dense_accuracy=mean_with_interval(accuracies, "%"),
        rate=mean_with_interval(rates, "×"),
        lost=averaged(losses),
    )
record.table("dense_accuracy", "rate", "lost")

# %% [markdown]
# ## 9 · A network that was small to begin with
#
# A shorter recipe on the MobileNetV2 of Lab 01 {cite}`sandler2018mobilenetv2`: pruned by global magnitude to 85 % at once, fine-tuned, shared with 5 bits, and the codebooks not trained on.
# Its BatchNorm parameters stay as they are.

# %%
mobilenet = zoo.fashion_mnist_model("mobilenet_v2")
base = mobilenet.model.to(memory_format=torch.channels_last)
shape = mobilenet.size, mobilenet.channels
large = zoo.to_input(test.images[: settings.test_images], *shape)
reference = measure.predict(base, large)

masks = magnitude.global_masks(base, 0.85)
small = magnitude.pruned(base, masks)
calibration = [x for (x, _), _ in zip(batches(train, lab.SEED, shape), range(8))]
recovery.reestimate_batchnorm_(small, calibration)
data = batches(train, lab.SEED + 1, shape)
recovery.finetune_(small, data, settings.mobilenet_steps, masks)
codebook.share_(small, {name: 5 for name in magnitude.prunable(small)})
recovery.reestimate_batchnorm_(small, calibration)
path = deep_compression.save(small, files / "mobilenet_v2.dc")
entries = deep_compression.contents(path)
whole = sum(e.dense_bytes for e in entries)  # BatchNorm's statistics, too
predicted = measure.predict(small, large)
points = measure.accuracy_loss(
    predicted, reference, test.labels[: settings.test_images]
)
record.add("MobileNetV2", file=Measurement.exact(whole, "bytes"))
record.add(
    "MobileNetV2 pruned, shared, Huffman",
    ("pruned", "shared", "Huffman"),
    file=Measurement.exact(path.stat().st_size, "bytes"),
    rate=Measurement.exact(whole / path.stat().st_size, "×"),
    lost=averaged([points]),  # one run of training
)
plain = sum(e.bytes for e in entries if e.levels == 0)
share = sum(e.dense_bytes for e in entries if e.levels == 0) / whole
print(f"BatchNorm and biases: {share:.1%} of the bytes before,", end=" ")
print(f"{plain / path.stat().st_size:.0%} of the file")
record.table("file", "rate", "lost")

# %% [markdown]
# Such a rate belongs to a recipe, and not to a network: this one prunes less, trains hardly at all, and does not train the codebooks.
# The record of Lab 05 has the same network at a better one.
# And what nobody counts, BatchNorm, becomes visible once the rest is gone.
#
# ## 10 · Beyond Huffman
#
# Huffman's code spends whole bits on a symbol.
# Asymmetric numeral systems {cite}`duda2013asymmetric` do not, and come near the entropy.
# The library `constriction` {cite}`bamler2022constriction` encodes the same streams; each pays two bytes per symbol for its table of frequencies.


# %%
import constriction


def ans_bytes(symbols: np.ndarray) -> int:
    """Bytes of a stream under ANS, with its table; decoded again to be sure."""
    values, codes = np.unique(symbols, return_inverse=True)
    if len(values) < 2:
        return (len(symbols) + 7) // 8  # one bit per symbol: nothing to model
    # Frequencies in 16 bits, as they would stand in a file
    shares = np.maximum(1, np.bincount(codes) * 65_535 // len(codes))
    model = constriction.stream.model.Categorical(
        (shares / shares.sum()).astype(np.float64), perfect=False
    )
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(codes.astype(np.int32), model)
    words = coder.get_compressed()
    decoder = constriction.stream.stack.AnsCoder(words)
    assert (decoder.decode(model, len(codes)) == codes).all()
    return words.nbytes + 2 * len(values)


for name, title in NAMES.items():
    sizes, bounds = [], []
    for i in range(settings.seeds):
        path = files / f"{name} {STEPS[-1]} {i}.dc"
        size, bound = path.stat().st_size, path.stat().st_size
        for entry in deep_compression.contents(path):
            streams = entry.streams if entry.levels else {}
            for part, stream in streams.items():
                if len(stream):
                    # Where Huffman's stream is the smaller one, it stays.
                    size += min(0, ans_bytes(stream) - entry.parts[part])
                    ideal = huffman.entropy(stream) * len(stream) / 8
                    bound += ideal - entry.parts[part]
        sizes.append(size)
        bounds.append(bound)
    whole = record.get(title, "file").value
    for coder, results in (("ANS", sizes), ("entropy, no tables", bounds)):
        record.add(
            f"{title} pruned, shared, {coder}",
            ("pruned", "shared", coder),
            file=mean_with_interval(results, "bytes"),
            rate=mean_with_interval([whole / size for size in results], "×"),
            lost=record.get(f"{title} {STEPS[-1]}", "lost"),
        )
record.table("file", "rate", "lost")

# %% [markdown]
# The row of the entropy is a bound, not a file.
# Both coders take every symbol as independent of its neighbours; a better *model* of the streams was not tried.
#
# ## 11 · Is it faster, too?
#
# LeNet-300-100 and the classifier of VGG-9, dense, pruned but dense in memory, and with the weights in compressed sparse rows (CSR), which is what a sparse kernel wants.


# %%
from IPython.display import display


class SparseLinear(nn.Module):
    """A Linear layer with its weight in compressed sparse rows."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.weight = layer.weight.detach().to_sparse_csr()
        self.bias = layer.bias.detach()[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (features, batch)
        return self.weight @ x + self.bias


def perceptron(model: nn.Module, wrap=lambda layer: layer) -> nn.Sequential:
    """The Linear layers of a network with ReLU between them."""
    layers = [wrap(m) for m in model.modules() if isinstance(m, nn.Linear)]
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])


for name in ("lenet_300_100", "vgg_9"):
    forms = {
        "dense": perceptron(dense[name]),
        "pruned": perceptron(compressed[name][0]),
        "pruned, CSR": perceptron(compressed[name][0], SparseLinear),
    }
    for batch in (1, 64):
        x = torch.rand(batch, forms["dense"][0].in_features)
        columns = x.T.contiguous()
        torch.testing.assert_close(
            forms["pruned, CSR"](columns).T, forms["pruned"](x), rtol=1e-4, atol=1e-4
        )
        timings = measure.time_in_turn(
            {
                form: lambda m=model, x=columns if "CSR" in form else x: m(x)
                for form, model in forms.items()
            },
            settings.timing_rounds,
        )
        aa = record.find(f"{name}_batch_{batch}_aa", timings.against_itself)
        print(f"{NAMES[name]}, batch {batch}: dense takes {aa} the time of itself")
        for form in forms:
            record.add(
                f"{NAMES[name]} classifier, {form}, batch {batch}",
                latency=timings.latency(form),
                speedup=timings.ratio("dense", form),
            )
display(plot.latencies(timings, baseline="dense"))
record.table("latency", "speedup")

# %% [markdown]
# *Pruned* computes what *dense* does, zeros and all.
# How far its ratio is from 1, and *dense* from itself, tells what to think of a gain of that size.

# %% [markdown]
# ## 12 · The ledger

# %%
for name in NAMES:
    last = f"{NAMES[name]} {STEPS[-1]}"
    record.find(f"{name}_rate", record.get(last, "rate"))
    record.find(f"{name}_lost", record.get(last, "lost"))
    record.find(f"{name}_product_share", stacks[name].share)
    record.find(f"{name}_huffman_saving", savings[name])
for name, (fixed, coded) in PAPER_RATES.items():
    saving = Measurement.exact(100 * (coded - fixed) / coded, "%")
    record.find(f"paper_huffman_saving_{name}", saving, read_from="the paper's tables")
for form, key in (("pruned", "zeros"), ("pruned, CSR", "csr")):
    for batch in (1, 64):
        row = f"VGG-9 classifier, {form}, batch {batch}"
        record.find(f"{key}_speedup_batch_{batch}", record.get(row, "speedup"))
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Where a promise fails or stays undecided, look here for the reason:
#
# - *Without loss*: a loss is what the dense network has over the pruned one, so it depends on how well the dense one was trained.
#   All pruned networks trained on for thousands of steps, and the dense ones did not.
#   And ten thousand test images leave open a few tenths of a point, and few seeds leave open more.
# - *The rates multiply*: the positions are paid once, and pruning more makes each of them dearer.
# - *Four times on top*: the codes shrink by more than that, the positions not at all.
# - *Huffman saves 20 to 30 %*: it saves what fixed widths waste.
#   The paper's own four networks lie on both sides of the range.
#   Its VGG-16 has wider codes in the convolutions than VGG-9 has here, and those waste more.
# - *Linear is best*: at four bits the codebooks differ, and three networks cannot tell their accuracies apart.
# - *Fewer weights, less time*: a dense kernel does the same multiplications with zeros.
#   If *pruned* still differs from *dense* by more than A/A, that is the memory or the caches, and CSR carries as much doubt.
#   A sparse kernel reads an index for every weight.
#   The paper gains with one image, on matrices too large for any cache; such are not here.
#   Whether one image gains differs from machine to machine, so take its verdict for that of this run alone.
#
# ## 13 · This run and the recorded ones

# %%
headline = "; ".join(
    f"{title} {{{name}_rate}} smaller, {{{name}_lost}} of accuracy lost"
    for name, title in NAMES.items()
)
lab.finish(headline, "rate", "lost", "share", "saving", "on_top", "batch_1", "batch_64")

# %% [markdown]
# ## 14 · Try, and remember
#
# 1. Share LeNet-5 with 8 bits in the convolutions and 4 in the Linear layers.
#    Is the file smaller, is it better?
# 2. Fix `index_bits=5` as the paper did.
#    How many fillers does each layer store, and what do they cost?
# 3. Write the positions as a bitmask instead, one bit per weight, and Huffman-code bytes of it.
#    From which density on does the index win?
# 4. Sort the hidden units of LeNet-300-100 by how many weights they keep: the function is the same, is the file?
# 5. Train the LeNet-300-100 on digits four times longer and compress it again.
#    What happens to the points lost, and why is that not the compression's fault?
#
# Five lines to remember:
#
# - A rate without a file that loads again is a calculation.
# - When much must go, prune in rounds, and give retraining its time.
# - Factors taken one upon the other multiply by definition; only parts measured alone can fail to.
# - After sharing, positions are a large part of the file, and pruning more makes each dearer.
# - Huffman's code costs nothing in quality, and gains what the fixed width wasted.
# - "Without loss" is a statement about the reference, too.
#
# **Where it leads.** Language models cannot be retrained in minutes: Lab 03 quantizes one to four bits and trains small adapters on top.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
