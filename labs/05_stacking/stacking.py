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
# # Lab 05 · Stacking: order, interaction, ablation, choice
#
# To run this lab, clone its whole repository and open the notebook there.
#
# **Given pruning, distillation, quantization and adapters: in which order, how much of each, and what does each one add to the stack?**
#
# After this lab you can
#
# - write a technique as a step that says what it needs and what it leaves behind;
# - run all admissible orders of some steps, and say why the others are refused;
# - measure an interaction: what two techniques do together beyond what each does alone;
# - take a stack apart by ablation, and find the step that carries it and the one that only looks busy;
# - search for a Pareto front, read it, and choose a stack for a need.
#
# Labs 01 to 03 explain the techniques.
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

from labkit import claims, lab, measure, plot, show, stack
from labkit.estimate.product import Product
from labkit.measure import Measurement, difference, mean_with_interval, ratio
from labkit.runs import recorded_runs
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text
from labkit.table import Table

record, settings, device, files = lab.start(
    "05_stacking",
    # At scale quick, standard and full. A source of None is the first that answers.
    source=("embedded", None, None),
    test_images=(500, 10_000, 10_000),
    held_out_blocks=(2, 44, 44),
    image_stacks_again=(2, 3, 4),  # how many of the recorded stacks are run here, too
    text_stacks_again=(2, 2, 4),
)

# %% [markdown]
# ## 1 · The idea
#
# A stack is a composition: the model $m$ becomes $s_k(\dots s_2(s_1(m)))$.
# For every stack $S$ there is a loss $L(S)$ against the model at the start, and a size $B(S)$.
# Three things are commonly said about it, and each is a formula.
#
# - *Order does not matter*, or one order is best: compare $L(s_2 \circ s_1)$ with $L(s_1 \circ s_2)$.
# - *Techniques are orthogonal*: together they lose no more than the sum of what each loses alone {cite}`harma2024interplay`.
#   So the **interaction** is not above zero; *losses add up* where it is zero,
#
# $$ I(a, b) = L(a, b) - L(a) - L(b) . $$
#
# - *Effects multiply*: with the factor $r(S) = B(\varnothing) / B(S)$ {cite}`han2016deep`, the share of the product that is reached is one,
#
# $$ \frac{r(a, b)}{r(a)\, r(b)} = 1 . $$
#
# Even four numbers show that order can matter.
# Prune half of them, and round to halves:


# %%
def prune_half(w: torch.Tensor) -> torch.Tensor:
    kept = w.topk(2).indices  # of equal numbers, one or the other
    return torch.zeros_like(w).index_copy(0, kept, w[kept])


def round_to_half(w: torch.Tensor) -> torch.Tensor:
    return (2 * w).round() / 2


w = torch.tensor([0.80, 0.95, 0.30, 1.10])
for first, second in ((prune_half, round_to_half), (round_to_half, prune_half)):
    print(f"{first.__name__}, {second.__name__}: {second(first(w)).tolist()}")

# %% [markdown]
# Rounding makes equal what was different.
# Whoever prunes afterwards can no longer see which weight was the larger one, and may drop the wrong one.
#
# **Ask yourself:** training after pruning lets the other weights make up for the lost ones.
# Which of *prune*, *train*, *quantize* has to come before which?
#
# ## 2 · A technique as a step
#
# A step is a function of the model with its parameters chosen.
# Beside it stands what it leaves behind, what it needs, and with what it cannot work.
# So an order that makes no sense is refused before anything runs, with the reason.

# %%
show(images.prune, images.recover)

# %%
steps = [images.quantize(), images.recover(100)]
facts = frozenset({"BatchNorm"})  # what is known about the network at the start
try:
    stack.admit(steps, facts)
except stack.Refused as reason:
    print("refused:", reason)
four = [images.prune(0.8), images.recover(100), images.quantize(), images.fold()]
admitted = stack.orders(four, facts)
print(f"of 24 orders of {', '.join(map(str, four))} these can be done:")
for order in admitted:
    print("  " + " → ".join(map(str, order)))

# %% [markdown]
# A step of your own takes ten lines.
# This one rounds every weight to a power of two, so that a multiplication becomes a shift:


# %%
@stack.step(gives=["codebooks"], refuses={"integers": "they lie on a grid already"})
def powers_of_two(model, task, smallest: int = -10):
    """Round weights to ± a power of two, or to zero below the smallest."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            w = module.weight.data
            rounded = w.sign() * 2 ** w.abs().log2().round()
            module.weight.data = rounded * (w.abs() >= 2.0**smallest)
    return images.settle_(model, task)


# %% [markdown]
# ## 3 · The record
#
# All orders with five seeds each and a search over hundreds of stacks take hours on two cores.
# They were run once, and their rows ship with this lab, one for every stack and seed.
# What is computed below comes from these rows; in section 4 you run some of them again and see whether they are true.

# %%
import json
from pathlib import Path

from IPython.display import display

FOLDER = Path("recorded/search")
recorded, about = {}, []
for task, known_facts in (("images", facts), ("text", frozenset())):
    rows = stack.Rows(recorded=[FOLDER / f"{task}.jsonl"])
    recorded[task] = stack.Runner(stack.Recorded(rows, known_facts), rows)
    origin = json.loads((FOLDER / f"{task}_about.json").read_text())
    machine = origin["environment"]["gpu"] or origin["environment"]["processor"]
    counts = f"{len(rows.all())} rows of {len(rows.averaged())} stacks"
    samplers = origin["search"]["samplers"].items()
    trials = ", ".join(f"{number} by {sampler}" for sampler, number in samplers)
    about.append([recorded[task].task.name, counts, trials, machine])
display(Table(["model and data", "recorded", "trials of the search", "on"], about))
print("commands:", *origin["commands"], sep="\n  ")

# %% [markdown]
# A row says `file` (bytes that load again), `smaller` (times smaller than four bytes per parameter), `lost` (points of accuracy, or nats per token: 0.049 nats are 5 % of perplexity) and `latency` (times that of the model at the start, on a CPU).
# Latency depends on the architecture alone as long as weights are unpacked when they are loaded, so it was timed once for each.
# SmolLM2's file at the start holds 16 bits per parameter, so that its `smaller` is above two before anything is done.
#
# The first model is the MobileNetV2 {cite}`sandler2018mobilenetv2` of Lab 01; the second is the SmolLM2 {cite}`allal2025smollm2` of Lab 03, whose weights had been through four bits before.
#
# ## 4 · Some of it again
#
# The same steps, run here.
# A runner keeps what it computed: of stacks that begin alike, the common beginning is run once.

# %%
import tempfile

scratch = tempfile.TemporaryDirectory()  # rows of this run
here = {
    "images": images.ImageClassifier(
        "mobilenet_v2", settings.test_images, settings.source, device
    ),
    "text": text.LanguageModelling(settings.held_out_blocks, device=device),
}
again = {
    "images": [
        (images.prune(0.7), images.share(4)),
        (images.share(4), images.prune(0.7)),
        (images.prune(0.85), images.distill(200), images.share(4)),
        (images.prune(0.85), images.share(4), images.distill(200)),
    ][: settings.image_stacks_again],
    "text": [
        (text.prune(0.3), text.quantize("nf4")),
        (text.quantize("nf4"), text.prune(0.3)),
        (text.quantize("nf4"),),
        (text.quantize("int8"),),
    ][: settings.text_stacks_again],
}
runners, table, inside, names = {}, [], [], {"images": "points", "text": "nats"}


def agrees(new: Measurement, old: Measurement, as_many: bool) -> bool:
    """Whether the loss lies, or on fewer data may lie, where the record says."""
    if as_many:
        return old.low <= new.value <= old.high
    return old.low <= new.high and new.low <= old.high


for task, stacks in again.items():
    runner = stack.Runner(here[task], stack.Rows(Path(scratch.name, task)), 3)
    runner.run_all(stacks, [lab.SEED], every_step=False)
    runners[task] = runner
    as_many = here[task].name == recorded[task].task.name
    for steps in stacks:
        new = runner.averaged(steps, [lab.SEED])
        old = recorded[task].averaged(steps, [lab.SEED])
        inside.append(agrees(new["lost"], old["lost"], as_many))
        sizes = [m["file"].short for m in (new, old)]
        row = [" → ".join(map(str, steps)), str(new["lost"]), str(old["lost"]), *sizes]
        table.append([*row, "yes" if inside[-1] else "no"])
record.find("inside", Measurement.exact(100 * sum(inside) / len(inside), "%"))
print(f"{sum(inside)} of {len(inside)} losses lie where the record says")
head = ["stack", "lost", "recorded", "file", "recorded", "inside"]
Table(head, table)

# %% [markdown]
# The record's interval is that of its own images and blocks.
# On as many of them a loss has to lie inside it; on fewer, the two intervals have to meet.
# The sizes of stacks without training are the same.
# Those with training are a few percent larger here if they end in 32 bits: the record's began from the weights as they ship, rounded to 16 bits, and what training never moves still compresses.
#
# And your own step, in a stack:

# %%
own = [images.prune(0.7), powers_of_two(), images.half()]
row = runners["images"].run(own, lab.SEED, every_step=False)[-1].measurements
print(" → ".join(map(str, own)), row["lost"], row["smaller"], sep=", ")

# %% [markdown]
# ## 5 · In which order?
#
# Prune, train, and let the weights share few values: six orders, each with five seeds.
# Then the same question to the language model: prune, train adapters, quantize.


# %%
def short(step: stack.Step) -> str:
    """The name of a step without its parameters."""
    return str(step).partition("(")[0]


def study(task: str, steps: tuple) -> dict[str, dict[str, Measurement]]:
    """Every order of the steps: what was recorded, averaged over the seeds."""
    runner = recorded[task]
    found = {}
    for order in stack.orders(steps, runner.task.facts):
        name = " → ".join(map(short, order))
        found[name] = runner.averaged(order, stack.SEEDS)
    return dict(sorted(found.items(), key=lambda item: item[1]["lost"].value))


orders = {
    "images": study("images", images.STUDY.steps),
    "text": study("text", text.STUDY.steps),
}
figure, axes = plot.subplots(2, 1)
figure.set_size_inches(7.5, 5)
for ax, (task, found) in zip(axes, orders.items()):
    rows = {f"{name}: {m['file'].short}": m["lost"] for name, m in found.items()}
    plot.intervals({"": rows}, "lost", ax=ax)
figure

# %% [markdown]
# Two lessons of different kind:
#
# - **Training has to come after what it is to repair.** In the upper picture the three orders that prune *after* the last training are the three bad ones.
#   Beside that the place of the codebook is a smaller matter, yet not a small one: a budget of one point holds for one of the three good orders only, the one that trains before the weights share values.
# - **A file tells what an order really made.** In the lower picture the orders that quantize before they train look best.
#   They keep their adapters *beside* the integers: nothing is rounded after training, and the file is larger by the adapters.
#   The orders that train first merge, and round what was learned.
#   Below zero means better than the original: the training has seen text of the same kind, which the original had not.
#   Compare with adapters on the unpruned model in 16 bits, further down.
#
# And the pure question, without training: does it matter whether zeros come before or after few values?
# Such differences are small, and two stacks that are tested on the same images are right and wrong on mostly the same ones.
# So they are compared image by image and block by block, on the models of this run: two intervals side by side would hide what this shows.

# %%
p, q = images.prune(0.7), images.share(4)
predictions = {}
for order in ((p, q), (q, p)):
    predictions[order] = here["images"].predictions(runners["images"].model(order))
gain = measure.accuracy_loss(
    predictions[q, p], predictions[p, q], here["images"].labels
)
record.find("prune_first_gain", gain)
print(f"images: pruning first gains {gain}")

p, q = text.prune(0.3), text.quantize("nf4")
nats = {(): here["text"].reference}
for steps in ((q, p), (q,), (p, q), (p,)):  # first those of which a part is kept
    nats[steps] = here["text"].losses(runners["text"].model(steps))
gain = mean_with_interval((nats[q, p] - nats[p, q]).tolist(), "nats")
record.find("text_prune_first_gain", gain)
print(f"text: pruning first gains {gain}", end="; ")
beyond = nats[p, q] - nats[p,] - nats[q,] + nats[()]
beyond = mean_with_interval(beyond.tolist(), "nats")
record.find("text_prune_quantize_interaction", beyond)
print(f"both lose {beyond} beyond the sum of each")


def gain_of(task: str, *best: stack.Step) -> Measurement:
    """What the best of the other orders loses more than this one."""
    name = " → ".join(map(short, best))
    others = [m["lost"] for other, m in orders[task].items() if other != name]
    best_other = min(others, key=lambda m: m.value)
    return difference(best_other, orders[task][name]["lost"])


p, r, q = images.STUDY.steps
gain = record.find("prune_recover_quantize_gain", gain_of("images", p, r, q))
print(f"prune, recover, quantize against the best other order: {gain}", end=" and ")
p, r, q = text.STUDY.steps
gain = record.find("text_prune_recover_quantize_gain", gain_of("text", p, r, q))
print(gain)

# %% [markdown]
# ## 6 · Do they interact?
#
# For every pair, in every order that is admitted: the loss together minus the sum apart, and the share of the product that the size reaches.
# The row is done first, then the column.
# Brackets, and no colour, mean that the interval holds the neutral value.
# Here the intervals are those of the recorded rows, which keep no predictions, side by side: an effect of less than half a point may hide in them.

# %%
PAIRS = {
    "images": images.STUDY.pairs,
    "text": [step for step in text.STUDY.pairs if "magnitude" not in str(step)],
}
found = {
    task: stack.interactions(recorded[task], steps, stack.SEEDS)
    for task, steps in PAIRS.items()
}
for task, interactions in found.items():
    figure, axes = plot.subplots(2, 1)
    figure.set_size_inches(8, 7 if task == "images" else 5.6)
    named = [tuple(map(str, each.pair)) for each in interactions]
    losses = dict(zip(named, (each.loss for each in interactions)))
    shares = dict(zip(named, (each.share for each in interactions)))
    title = f"{task}: lost beyond the sum ({names[task]})"
    plot.heat_map(losses, title, ax=axes[0])
    title = f"{task}: share of the product of sizes (×)"
    plot.heat_map(shares, title, neutral=1, ax=axes[1])
    display(figure)

# %% [markdown]
# - **Once BatchNorm is folded, zeros, a codebook or fewer channels ruin the network.** Folding alone loses nothing, and pruning alone little, but only because every step here ends by measuring BatchNorm's statistics again.
#   That is a repair, though nothing is trained; once BatchNorm is folded there is nothing left to measure again.
#   So *without training* is not *without repair*, and of the two orders one is good and one useless.
#   Eight bits change so little that they may come after.
# - **Channels and weights do interact.** Once channels are gone, the weights that are left do more, and pruning them hurts more than before, in either order.
# - **Pruning and few values hardly do** here, as {cite}`han2016deep` reports; {cite}`harma2024interplay` finds errors beyond the sum in language models, and section 5 measured ours block by block.
# - **Sizes multiply less, the fewer bits are left.** The places of the weights that were kept cost the same whatever bits a weight has, and BatchNorm stays in 32: of a file of few bits they are a larger part.
#   Channels leave no places to store, and multiply with the bits nearly.
# - In the language model, pruning before layers are cut costs more than after: the rule that chooses the layers {cite}`men2024shortgpt` looks at a network that pruning has changed.
# - Rounding to 16 bits saves much of a 32-bit file and little of one that has few values left.

# %%
cells = {tuple(map(short, e.pair)): e for e in found["images"]}
record.find("prune_quantize_interaction", cells["prune", "quantize"].loss)
for bits in ("half", "quantize", "share"):
    print(f"zeros, then {bits}: {cells['prune', bits].share} of the product of sizes")
zeros, channels = cells["prune", "share"], cells["thin", "share"]
record.find("prune_share_product", zeros.share)
record.find("channels_share_product", channels.share)
record.keep("MobileNetV2: pruning × codebook", "file", zeros.product)
record.keep("MobileNetV2: fewer channels × codebook", "file", channels.product)


def largest(pairs: list) -> Measurement:
    """The largest interaction in loss of these pairs."""
    worst = max(pairs, key=lambda each: each.loss.value)
    print(" → ".join(map(str, worst.pair)), "lose beyond the sum:", worst.loss)
    return worst.loss


settled = [e for e in found["images"] if short(e.pair[0]) != "fold"]
weights = [e for e in settled if "thin" not in map(short, e.pair)]
for which, pairs in {
    "": found["images"],
    "_folded_last": settled,
    "_of_weights": weights,
}.items():
    record.find(f"largest_interaction{which}", largest(pairs))

# %% [markdown]
# ## 7 · What does each step add?
#
# Ablation asks twice: what does a step do *alone*, and what is missing when it is *left out* of the whole?
# Where the two results differ, the steps interact.

# %%
ablations = {
    "images": images.STUDY.whole,
    "text": text.STUDY.whole,
}


def cell(measured: Measurement | None) -> str:
    return str(measured or "not admissible")


for task, whole in ablations.items():
    effects = stack.ablate(recorded[task], whole, stack.SEEDS)
    made = recorded[task].averaged(whole, stack.SEEDS)
    print(f"{task}, the whole: {made['file']}, lost {made['lost']}")
    rows = [
        [str(e.step)]
        + [cell(m) for m in (e.alone_smaller, e.alone_lost, e.smaller, e.lost)]
        + [e.needed]
        for e in effects
    ]
    head = ["step", "alone: smaller", "alone: lost", "adds: smaller", "adds: lost"]
    display(Table([*head, "why it cannot be left out"], rows))
    figure, axes = plot.subplots(2, 1)
    figure.set_size_inches(7.5, 5)
    for ax, metric, neutral in zip(axes, ("smaller", "lost"), (1, 0)):
        parts = {"alone": f"alone_{metric}", "added to the rest": metric}
        found = {
            part: {str(e.step): m for e in effects if (m := getattr(e, field))}
            for part, field in parts.items()
        }
        plot.intervals(found, metric, neutral, ax)
    display(figure)
    start = recorded[task].averaged((), stack.SEEDS)
    factors = {str(e.step): e.alone_smaller for e in effects if e.alone_smaller}
    measured = ratio(start["file"], made["file"])
    together = Product("the start", "the whole", factors, measured)
    display(plot.waterfall(together, "smaller"))

# %% [markdown]
# - **The step that saves no byte carries the stack.** Training makes no file smaller, and what it adds to the loss is far below zero: in both models no other step matters as much.
# - **What a step loses alone says little about what it costs in the stack.** Pruning alone ruins the network; in the stack, with training behind it, it costs about nothing.
# - **What a step saves alone it does not save in the stack.** The waterfalls show the product that independent steps would reach, and the whole.
# - In the language model pruning makes a file of four-bit codes hardly smaller: this step can be left out.
#
# ## 8 · Recover: with labels or with a teacher, by magnitude or by activation
#
# Distillation {cite}`hinton2015distilling` trains on the predictions of the network as it was; fine-tuning on the labels.
# The same pruned networks, as many batches of the same size, the same learning rate:

# %%
SPARSITIES = (0.7, 0.8, 0.9)


def trained(train, steps: int) -> dict[float, Measurement]:
    """Points lost by sparsity, in percent."""
    found = {}
    for sparsity in SPARSITIES:
        recipe = (images.prune(sparsity), train(steps))
        measured = recorded["images"].averaged(recipe, stack.SEEDS)
        found[100 * sparsity] = measured["lost"]
    return found


ways = {
    f"{way.__name__}, {steps} steps": trained(way, steps)
    for way in (images.recover, images.distill)
    for steps in (50, 200)
}
recover, distill = ways["recover, 200 steps"], ways["distill, 200 steps"]
record.find("distillation_gain", difference(recover[80], distill[80]))
untrained = {70: recorded["images"].averaged([images.prune(0.7)])["lost"]}
untrained[80] = recorded["images"].averaged([images.prune(0.8)])["lost"]
print("not trained at all:", *(f"{s} %: {m}" for s, m in untrained.items()), sep="\n  ")
whole = recorded["images"].averaged([images.recover(200), images.half()], [lab.SEED])
print(f"labels on the network that is not pruned, 200 steps: {whole['lost']} lost")
record.find("lost_by_labels_unpruned", whole["lost"])
plot.curves(ways, "sparsity (%)", "accuracy lost")

# %% [markdown]
# The teacher wins everywhere, and a quarter of the steps with it is worth more than all of them with labels.
# Before you believe that this is about pruning, read what stands above the picture: at 70 % the pruned network loses *less* without any training than with labels, and labels harm even the network that is whole.
# So what the teacher wins here is mostly what this recipe itself costs: a few steps at this learning rate, on images that are not shifted and mirrored as they were when the network was trained.
# Which of the two it is was not measured; the teacher's predictions hold the network where it was, and the labels do not.
# The comparison is with this recipe, and not with fine-tuning at its best.
#
# At higher sparsity both fail, because global magnitude empties a layer, through which nothing can be trained: Lab 02 shows the rule that prevents it, and the search below found it, too.
#
# For the language model, two rules to choose what to drop, without any training.
# Wanda {cite}`sun2024simple` multiplies each weight by the size of the input that it meets:

# %%
rules = {
    by: {
        100 * sparsity: recorded["text"].averaged([text.prune(sparsity, by)])["lost"]
        for sparsity in (0.1, 0.3, 0.5)
    }
    for by in ("magnitude", "wanda")
}
record.find("wanda_gain", difference(rules["magnitude"][50], rules["wanda"][50]))
plot.curves(rules, "sparsity (%)", "lost")

# %% [markdown]
# ## 9 · Search
#
# How much of each?
# Nobody knows beforehand, so it is searched {cite}`akiba2019optuna`: a genetic algorithm {cite}`deb2002fast` and a sampler that models which choices did well {cite}`bergstra2011algorithms`, the trials of both in the table of section 3, propose stacks from this space, and all that no other beats in loss, bytes and latency at once stay on the front.

# %%
show(images.STUDY.space)

# %% [markdown]
# Any number of processes may work on one study; one that is killed loses the trial it was at.
# In two terminals:
#
# ```
# python -m labkit.recipes.stack_studies search --task images --out found --worker 0
# python -m labkit.recipes.stack_studies search --task images --out found --worker 1
# ```
#
# For several machines give `labkit.stack.search.search` the address of a database as its storage.
#
# What was found, every stack of the record a point.
# Only stacks that were run with three seeds or more, or that no seed changes, can be chosen, and only among them is the front drawn: the best of hundreds of single runs is a lucky one.
# It is the front of loss and bytes; what only its latency keeps on the front of all three is grey.

# %%
from collections import Counter

ALLOWED = {"images": 1.0, "text": 0.0488}  # a point, or 5 % of perplexity
choices = {}
for task, runner in recorded.items():
    everything = runner.rows.averaged()
    seeds = Counter(row.steps for row in runner.rows.all())
    fixed = {row.steps for row in runner.rows.all() if row.seed is None}
    can = {s: m for s, m in everything.items() if seeds[s] >= 3 or s in fixed}
    good = {s: m for s, m in can.items() if m["lost"].high <= ALLOWED[task]}
    plain = {
        s: m for s, m in good.items() if "quantize" in str(s) and "share" not in str(s)
    }
    untrained = {s: m for s, m in good.items() if s in fixed}
    best = min(can.values(), key=lambda m: m["lost"].value)["lost"]
    close = {s: m for s, m in can.items() if m["lost"].value <= best.high}
    fastest = min((m["latency"] for m in good.values()), key=lambda m: m.value)
    quick = {s: m for s, m in good.items() if m["latency"].low <= fastest.high}
    suited = {"phone": good, "phone, nothing trained": untrained, "laptop": quick}
    suited |= {"T4": plain, "server": close}
    choices[task] = {
        need: min(stacks.items(), key=lambda item: item[1]["file"].value)
        for need, stacks in suited.items()
    }
    shown = {s: m for s, m in everything.items() if m["lost"].value < 4}
    points = [(m["file"], m["lost"]) for m in shown.values()]
    trusted = [i for i, steps in enumerate(shown) if steps in can]
    places = {}
    for need, (steps, _) in choices[task].items():
        index = list(shown).index(steps)
        together = next((n for n, i in places.items() if i == index), None)
        places.pop(together, None)
        places[f"{together}, {need}" if together else need] = index
    display(plot.front(points, trusted, places, "file", "lost"))

# %% [markdown]
# ### Which stack for which need?
#
# - **Phone**: every byte is downloaded.
#   The smallest file that loses at most a point, or 5 % of perplexity, with its whole interval.
#   Once more without any step that trains, for whoever has no data.
# - **Laptop**: answers have to come.
#   Of the fastest that lose no more, the smallest.
# - **T4**: what a GPU's library starts from.
#   Weights in INT8 or NF4, and no codebooks.
#   What the card then holds is larger than the file, whose zeros are encoded; and its kernels for convolutions in INT8 round the activations, too, which no stack here does.
#   This lab ran on no T4: its row is a choice by format, not a measurement.
# - **Server**: quality first.
#   The smallest among all whose mean lies in the interval of the best.

# %%
rows = []
for task, needs_of in choices.items():
    for need, (steps, m) in needs_of.items():
        record.add(
            f"{task}, {need}",
            steps,
            file=m["file"],
            smaller=m["smaller"],
            lost=m["lost"],
            latency=m["latency"],
        )
        cells = [str(m[metric]) for metric in ("file", "smaller", "lost", "latency")]
        rows.append([task, need, " → ".join(steps), *cells])
Table(["model", "for", "stack", "file", "smaller", "lost", "latency"], rows)

# %%
quantized = recorded_runs("../01_prune_quantize")["standard"].record.findings
speed = quantized["stack_speedup_over_compiled"]
print(f"Lab 01's record: MobileNetV2 in INT8 arithmetic is {speed} faster than FP32,")
print("both compiled. Here weights are few bits in the file only.")
adapted = recorded["text"].averaged([text.lora(16, 100)], stack.SEEDS)["lost"]
print(f"the language model with adapters in 16 bits and nothing else: {adapted}")
beyond = difference(choices["text"]["phone"][1]["lost"], adapted)
record.find("text_lost_to_adapted", beyond)
print("the language model for the phone against it, lost:", beyond)

# %% [markdown]
# If your model is to be adapted anyway, hold the language model's losses against the last two lines: what is below zero is what adapters do on any model, and for the phone the four bits cost all of the distance to it, far more than 5 % of perplexity.
# The row in which nothing is trained needs no such caveat.
#
# The fastest rows gain from a folded BatchNorm, which cost no accuracy, and the space of the search never folds: no stack that was trained could profit.
# A search finds what its space holds.
#
# ## 10 · The ledger

# %%
phone = choices["images"]["phone"][1]
record.find("images_smaller", phone["smaller"])
record.find("images_lost", phone["lost"])
small_text = choices["text"]["phone"][1]
record.find("text_file", small_text["file"])
record.find("text_lost", small_text["lost"])
untrained_text = choices["text"]["phone, nothing trained"][1]
record.find("text_untrained_file", untrained_text["file"])
record.find("text_untrained_lost", untrained_text["lost"])
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Why the promises that fail do fail:
#
# - *Losses add up*: not where one takes away what had made the other harmless.
#   Removed channels are slack that pruning would have used, and a folded BatchNorm can no longer be measured again.
# - *Effects multiply*: not what is in the file beside the bits of the weights, the places of those that were kept above all.
#   The fewer bits, the more that is.
# - *Prune, recover, quantize*: the best order if training changes the weights themselves.
#   Adapters beside integers are a way out that the rule does not know: they are trained on what rounding left, and are never rounded with it.
#   They cost their bytes.
#
# And where a verdict is *undecided*, even the same images or blocks, one by one, do not tell the order or the interaction from none: a difference so small is no reason to choose.
#
# ## 11 · This run and the recorded ones

# %%
found = record.findings
headline = (
    f"MobileNetV2 {found['images_smaller'].value:.0f}× smaller at "
    f"{found['images_lost'].value:.2f} points lost; SmolLM2 in "
    f"{found['text_file'].value / 1e6:.0f} MB at {found['text_lost'].value:+.3f} nats, "
    f"{found['text_untrained_file'].value / 1e6:.0f} MB without training; "
    f"{sum(inside)} of {len(inside)} stacks that were run again "
    "lie where the record says"
)
lab.finish(headline)

# %% [markdown]
# ## 12 · Try, and remember
#
# 1. Put `powers_of_two` into the order study with `prune` and `distill`.
#    Where does it belong?
# 2. Take the stack for the phone apart with `stack.ablate`.
#    Which step would you leave out first?
# 3. Add `images.prune(0.9, "lamp")` twice in a row, with a training between.
#    Is it better than once?
# 4. Write a step that quantizes to four bits with one scale a channel.
#    Is it on the front?
# 5. Choose a stack for a need of your own: write down the rule *before* you look at the front.
# 6. Fold BatchNorm after the training of the stack for the T4, before its weights become integers.
#    What does it gain, and what does it lose?
# 7. Let `recover` train on images that are shifted and mirrored.
#    Does the teacher still win?
# 8. The front was chosen among hundreds of stacks by the images on which it is reported.
#    How would you find out how much too good that makes it?
#
# Five lines to remember:
#
# - Whatever loses must come before what repairs, and measuring BatchNorm again is a repair: fold after it.
# - Interactions are measured, not assumed, and in both orders: channels and weights have one, zeros and bits almost none.
# - Sizes multiply only as far as nothing else is in the file: places of weights do not shrink with their bits.
# - Ablate: the step that saves nothing may carry everything, and one that saves much alone may add nothing.
# - Choose by a rule that was written down before, from points with more than one seed.
#
# **Where it leads.** Every claim that any lab has judged stands in one table of this book: the ledger.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
