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
# - write a technique as a step, and list the orders that are possible;
# - compare two orders on the same test images, and see when a difference is only chance;
# - measure what two techniques do together beyond what each does alone;
# - take a stack apart by ablation, and choose one from a Pareto front by a rule.
#
# You should know pruning and BatchNorm (Lab 01), codebooks (Lab 02), NF4 and LoRA (Lab 03).

# %% tags=["hide-input"]
import os
import runpy

if not os.path.exists("claims.toml"):
    raise FileNotFoundError(f"""no claims.toml in {os.getcwd()}: a lab needs its folder.
In a clone, run it there, in labs/NN_name. Opened alone? Clone its whole repository.
(The owner types `labkit repository OWNER/NAME` once; then it fetches the rest.)""")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing

# %%
import math
from functools import partial

import torch
from IPython.display import display

from labkit import claims, lab, measure, plot, show, stack
from labkit.drawings import stacking as drawings
from labkit.measure import Measurement, difference
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text
from labkit.table import Table

record, settings, device, files = lab.start(
    "05_stacking",
    # At scale quick, standard and full. A source of None is the first that answers.
    source=("embedded", None, None),
    test_images=(500, 10_000, 10_000),
    held_out_blocks=(2, None, None),  # None: the first three of every topic
)
from_rows = partial(record.find, read_from="search")  # read, and not measured here

# %% [markdown]
# ## 1 · The idea
#
# A **stack** is several techniques, applied one after the other.
# Every stack $S$ loses $L(S)$ of quality against the model at the start, and has a file of some bytes.
# Three things are commonly said about stacks, and each can be measured: *one order is best* {cite}`mahadik2025systematic`, *sizes multiply*, and *losses add up* {cite}`metaintelligence_stacking`.
# Sizes multiply if a file that one step makes 3 times smaller, and another 4 times, is 12 times smaller after both.
# Losses add up if the **interaction** of two steps is zero:
#
# $$ I(a, b) = L(a, b) - L(a) - L(b) . $$
#
# {cite:t}`harma2024interplay` prove that it is not zero in general.
# Four numbers show why the order can matter: prune half of them, and round to halves.


# %%
def prune_half(w: torch.Tensor) -> torch.Tensor:
    kept = w.argsort(descending=True, stable=True)[:2]  # of equal numbers, the first
    return torch.zeros_like(w).index_copy(0, kept, w[kept])


def round_to_half(w: torch.Tensor) -> torch.Tensor:
    return (2 * w).round() / 2


w = torch.tensor([0.80, 0.95, 0.30, 1.10])
drawings.two_orders(w, prune_half, round_to_half)

# %% [markdown]
# Rounding makes equal what was different.
# If you prune afterwards, you no longer see which weight was larger, and may drop the largest of all, as here.
#
# **Ask yourself:** a third step trains the weights that are left: where would you put it?
#
# <details><summary>Answer</summary>
#
# After pruning: training can only repair what is broken already.
# Integers have no gradient, so here it comes before rounding, whose error stays.
#
# </details>
#
# ## 2 · A technique as a step
#
# A **step** is a function of the model, with its parameters chosen, and with a note of what it needs, refuses and leaves behind.
#
# | step, for the network of images | what it does | step, for the language model | what it does |
# | --- | --- | --- | --- |
# | `thin(part)` | removes channels | `cut(layers)` | removes layers |
# | `prune(part)` | zeros for small weights of all layers; `lamp`: small against the larger ones of their layer | `prune(part)` | zeros, by `wanda` (section 7) or `magnitude` |
# | `recover(batches)`, `distill(batches)` | trains, with labels or with a teacher | `lora(rank, batches)` | trains adapters |
# | `share(bits)`, `quantize` | few values by a codebook, or INT8 | `quantize` | INT8, or NF4 |
# | `fold`, `half` | merges BatchNorm into convolutions; all floats to 16 bits | | |
#
# `thin`, `prune`, `share` and `quantize` end by measuring BatchNorm's statistics again, on a few training images (Lab 01).

# %%
facts = frozenset({"BatchNorm"})  # what is known about the network at the start
try:
    stack.admit([images.quantize(), images.recover(100)], facts)
except stack.Refused as reason:
    print("refused:", reason)
four = [images.prune(0.8), images.recover(100), images.quantize(), images.fold()]
print(f"of the 24 orders of {', '.join(map(str, four))} these are possible:")
for order in stack.orders(four, facts):
    print("  " + " → ".join(map(str, order)))
show(images.prune, images.recover)

# %% [markdown]
# Training is unstable without BatchNorm (`needs`): impossible orders are refused before anything runs, the others have to be measured.
#
# ## 3 · The record, and two stacks of it here
#
# All orders with five seeds each, and a search over hundreds of stacks, took hours; their rows ship with this lab, one for every stack and seed.
# You run two of these stacks again, and check that they come out the same.
#
# - `file` counts the bytes of a file that loads again, with Huffman's code as in Lab 02.
# - `lost` is in points of accuracy, or in nats per token: 0.049 nats are 5 % of perplexity.
# - `latency` is the time over that of the model at the start, on a CPU, with weights unpacked: only shapes and `fold` change it. Its brackets are quartiles.
#
# The models are the MobileNetV2 {cite}`sandler2018mobilenetv2` of Lab 01 and the SmolLM2 {cite}`allal2025smollm2` of Lab 03, whose weights were rounded to four bits once; its file at the start stores 16.
# It is trained and tested on texts of Python's `help()`; blocks of one text are alike, so each text, a **topic**, counts once.

# %%
FOLDER = "recorded/search"
study = {"images": images.STUDY, "text": text.STUDY}
recorded = {task: stack.recorded(FOLDER, task, s.facts) for task, s in study.items()}
display(stack.origin(FOLDER, recorded))
size, blocks = settings.test_images, settings.held_out_blocks
here = {
    "images": images.ImageClassifier("mobilenet_v2", size, settings.source, device),
    "text": text.LanguageModelling(blocks, device=device),
}
runners = {}
for task, models in (("images", 8), ("text", 3)):  # that are kept in memory
    here[task].latencies |= stack.latencies(FOLDER, task)  # timed once, for the record
    runners[task] = stack.Runner(here[task], kept_models=models)
two = {"images": (images.prune(0.7), images.share(4)), "text": (text.quantize("nf4"),)}
again = [stack.repeat(runners[task], recorded[task], two[task]) for task in two]
record.find("again", Measurement.exact(100 * sum(r.equal for r in again) / 2, "%"))
head = ["stack", "lost", "recorded", "file", "recorded", "equal"]
Table(head, [each.cells for each in again])

# %% [markdown]
# Nothing is trained here, so the file must have the same size, to five digits.
# The loss may differ by five of 10,000 images, because another processor adds in another order.
# On fewer images or blocks than the record's, only the files are compared.
#
# ## 4 · In which order?
#
# First without training: what does pruning before the codebook gain, do their losses add up, and does the codebook cost more where more is pruned?

# %%
question = "70 % zeros, 16 values a layer: how many points does pruning first gain?"
lab.guess("prune_first_gain", question, "points", None)

# %%
p, more, q = images.prune(0.7), images.prune(0.8), images.share(4)
labels, right = here["images"].labels, {}
for steps in ((), (p,), (q,), (p, q), (q, p), (more,), (more, q)):
    predicted = here["images"].predictions(runners["images"].model(steps))
    right[steps] = 100.0 * (predicted == labels)  # points, image by image
cost = {step: right[step,] - right[step, q] for step in (p, more)}  # of the codebook
for key, each in (
    ("prune_first_gain", right[p, q] - right[q, p]),
    ("prune_share_interaction", right[p,] + right[q,] - right[p, q] - right[()]),
    ("share_costs_more_when_pruned", cost[more] - cost[p]),
):
    found = measure.mean_with_interval(each.tolist(), "points", "pictures")
    print(key, record.find(key, found))
names = "prune, then share", "share, then prune"
display(drawings.right_and_wrong(right[p, q] > 0, right[q, p] > 0, names))

p, q, nats = text.prune(0.3), text.quantize("nf4"), {(): here["text"].reference}
for steps in ((q,), (q, p), (p,), (p, q)):
    nats[steps] = here["text"].losses(runners["text"].model(steps))
for key, of, to in (
    ("text_prune_first_gain", nats[q, p], nats[p, q]),
    ("text_prune_quantize_interaction", nats[p, q] + nats[()], nats[p,] + nats[q,]),
):
    print(key, record.find(key, measure.loss_difference(of, to, here["text"].topics)))

# %% [markdown]
# <details><summary>Why <code>prune_first_gain</code>?</summary>
#
# In the four numbers, rounding made small weights equal to large ones.
# Here a layer has 16 values, and the weights near zero share a few small ones.
# Pruning takes those, whichever step comes first, so both orders drop nearly the same weights.
# And 16 values cost little: fitting them to the kept weights alone can gain little.
#
# </details>
#
# Two intervals side by side would overlap, and tell you nothing.
# But both stacks were tested on the *same* images, and are right and wrong on mostly the same ones.
# So they are **paired**: images on which both agree drop out, and only the others decide; the drawing counts them.
# The topics of the language model are paired in the same way.
#
# Now with training, from the record: each order was run with five seeds, so an interval holds two kinds of chance, of the seeds and of the test data.
#
# **Ask yourself:** in the network of images, *prune → distill → share* has the smallest mean loss.
# Will *prune → lora → quantize* be best for the language model, too?
#
# <details><summary>Answer</summary>
#
# No: in the second tree the orders that quantize *before* they train lose least.
# Adapters stay beside the integers, learn what rounding left, and are not rounded afterwards.
# The price is bytes: such a file holds the integers *and* the adapters.
#
# </details>

# %%
for task, much in (("images", 1), ("text", 0)):
    steps = study[task].steps
    orders = stack.every_order(recorded[task], steps, stack.SEEDS)
    display(drawings.tree(orders, much, "lost", "file"))
    key = {"images": "", "text": "text_"}[task] + "prune_recover_quantize_gain"
    gain = from_rows(key, stack.gain(orders, steps))
    print(" → ".join(map(str, steps)), "gains", gain, "over the best other order")

# %% [markdown]
# - **Training comes after what it is to repair.** (Orange: more than a point, or in the second tree more than nothing, is lost.)
#   In the first tree, the orders that prune after the last training are the worst by far; in the second, only the place of rounding shows.
# - **The place of the codebook matters less.** Before it, training moves all weights; after it, only the shared values.
# - **A loss below zero is better than the original.** The adapters saw text of the kind that is tested; the original had not.
#
# The best of five noisy orders looks better than it is, so the gains above have wider intervals: all five hold together 95 times in a hundred (Bonferroni's rule).
#
# ## 5 · Do they interact?
#
# Now all pairs of the image steps without training, in both orders; white in the map is a refused order, or no pair.

# %%
question = "How many points does the worst pair lose beyond the sum of both alone?"
lab.guess("largest_interaction", question, "points", None)
question = "70 % zeros, 16 values: what part of the sizes' product is reached?"
lab.guess("prune_share_product", question, "×", None)

# %%
found = stack.interactions(recorded["images"], images.STUDY.pairs, stack.SEEDS)
settled = [e for e in found if e.pair[0] != images.fold()]
weights = [e for e in settled if images.thin(0.125) not in e.pair]
for which, pairs in (("", found), ("_folded_last", settled), ("_of_weights", weights)):
    most = stack.largest([each.loss for each in pairs])
    from_rows(f"largest_interaction{which}", most)
    print(f"the worst of {len(pairs)} pairs loses {most} beyond the sum")
losses = {stack.named(each.pair): each.loss for each in found}
display(plot.heat_map(losses, "first the row, then the column: points beyond the sum"))
first = (images.prune(0.7), images.fold(), images.quantize())
then = (*first, images.distill(200))
pairs = stack.every_pair(recorded["images"], first, then, stack.SEEDS)
drawings.tree(pairs, 1, "lost")

# %% [markdown]
# <details><summary>Why <code>largest_interaction</code>?</summary>
#
# Folding alone changes no prediction, so it seems harmless everywhere.
# But the other steps end by measuring BatchNorm's statistics again, and that is a repair, although nothing is trained.
# After folding there is no BatchNorm, and so no repair.
# Folding also changes which weights are small; this lab does not separate the two causes.
#
# </details>
#
# In the heat map brackets mean that the interval holds zero; the record has no predictions to pair, so most of a point may hide in it.
# Above it stands the worst of all pairs, then without `fold` first, then also without `thin`; these three intervals are widened as in section 4.
#
# - **`fold` first ruins what changes many weights.** In the tree, the same two steps lose little in one order and very much in the other.
#   Eight bits change so little that they may come after.
# - **Channels and zeros interact.** Once channels are gone, the weights that are left probably do more, and pruning them hurts more.
# - **Zeros and few values add up.** Section 4 measured this pair more sharply, image by image.
#
# And the sizes: each factor below was measured alone, against the same start.

# %%
cells = {stack.named(each.pair): each for each in found}
zeros, channels = cells["prune", "share"], cells["thin", "share"]
from_rows("prune_share_product", zeros.share)
from_rows("channels_share_product", channels.share)
record.keep("MobileNetV2: pruning × codebook", "file", zeros.product)
record.keep("MobileNetV2: fewer channels × codebook", "file", channels.product)
for bits in ("half", "quantize", "share"):
    print(f"zeros, then {bits}: {cells['prune', bits].share} of the product of sizes")
print(f"channels, then share: {channels.share} of it")
plot.waterfall(zeros.product, "smaller")

# %% [markdown]
# <details><summary>Why <code>prune_share_product</code>?</summary>
#
# A pruned file stores the weights that were kept, and *where* they stood; a codebook shortens only the weights.
# With 5 bits a place, going from 32 to 4 bits leaves 9 of 37 bits, not 4 of 32: half of the product, before Huffman's code shortens what is left.
# Removed channels leave no places to store, so they nearly multiply with the bits.
#
# </details>
#
# ## 6 · What does each step add?
#
# **Ablation** asks twice: what does a step do *alone*, and what is missing when it is *left out* of the whole?
# Where the two answers differ, the steps interact.
# The rows are the steps in order; *in the whole* compares the whole with and without that step; a loss surely below zero is a gain.
#
# **Ask yourself:** `distill` makes no file smaller, so is it the step to leave out first?
#
# <details><summary>Answer</summary>
#
# No: it carries the stack, because without it no training repairs what the other steps break.
# The language model can do without `prune`: four-bit codes of zeros take nearly as many bytes as any others.
#
# </details>

# %%
for task, s in study.items():
    made = recorded[task].averaged(s.whole, stack.SEEDS)
    print(f"{task}, the whole: {made['file']}, lost {made['lost']}")
    display(stack.ablation(recorded[task], s.whole, stack.SEEDS))
whole = stack.product(recorded["images"], images.STUDY.whole, stack.SEEDS)
plot.waterfall(whole, "smaller")

# %% [markdown]
# What a step loses or saves alone says little about the stack: compare `prune` alone and in the whole, and the whole with the product.
#
# ## 7 · Recover, and choose what to drop
#
# Distillation {cite}`hinton2015distilling` trains on the predictions of the network as it was; fine-tuning on the labels; batches and learning rate are the same.
# But a recipe may also change a network that is *not* pruned: that is no recovery, so we subtract it.
#
# For the language model, two rules choose weights to drop, without training: magnitude compares the weights of a layer.
# Wanda {cite}`sun2024simple` multiplies each by the size of its input, on text of the kind that is tested, and compares within a row.

# %%
lost, rows = {}, recorded["images"].rows.averaged(stack.SEEDS)
for way in ("recover(200)", "distill(200)"):
    lost[way] = {0: rows[way,]["lost"]}
    lost[way] |= {
        100 * s: rows[f"prune({s}, global)", way]["lost"] for s in (0.7, 0.8, 0.9)
    }
    print(f"{way}: 80 % pruned loses {lost[way][80]}, not pruned at all {lost[way][0]}")
labels, teacher = (difference(each[80], each[0]) for each in lost.values())
gain = from_rows("distillation_net_gain", difference(labels, teacher))
print(f"labels minus teacher, each less its harm to the unpruned network: {gain}")
display(plot.curves(lost, "sparsity (%)", "accuracy lost"))

rows = recorded["text"].rows.averaged(stack.SEEDS, at_least=3)
lost = {" → ".join(steps): m["lost"] for steps, m in rows.items()}
table = []
for key, one, other in (
    ("magnitude_perplexity_10", "prune(0.1, magnitude)", ""),
    ("magnitude_perplexity_50", "prune(0.5, magnitude)", ""),
    ("wanda_perplexity_10", "prune(0.1, wanda)", ""),
    ("wanda_perplexity_50", "prune(0.5, wanda)", ""),
    ("magnitude_over_wanda_50", "prune(0.5, magnitude)", "prune(0.5, wanda)"),
    ("cut_perplexity", "cut(2)", ""),
    ("pipeline_perplexity", "cut(2) → quantize(int8) → lora(16, 100)", "lora(16, 100)"),
):
    nats = difference(lost[one], lost[other]) if other else lost[one]
    times = from_rows(key, nats.through(math.exp, "×"))
    table.append([one, other or "the start", str(times)])
Table(["SmolLM2", "against", "times the perplexity"], table)

# %% [markdown]
# The labels lose more, but harm the unpruned network (left end) as much: who repairs more is open.
# Few steps at this learning rate, on images that are not shifted and mirrored as in the first training, are a likely cause; it was not tested.
#
# In the table, both rules stay within 5 % where one weight in ten goes; where half go, neither is free, and magnitude loses far more.
#
# ## 8 · The front: which stack for which need?
#
# How much of each step, for the classifier, was searched by programs {cite}`akiba2019optuna`: a genetic algorithm {cite}`deb2002fast`, and one that models which choices did well {cite}`bergstra2011algorithms`.
# A stack is on the **Pareto front** if no other is at least as good in both loss and bytes, and better in one.
# You choose by a rule, which you write down before you look:
#
# - **Phone**: the smallest file that loses at most a point with its whole interval; for text, on average 5 % against the best in 16 bits.
# - **Nothing trained**: the same, by the whole interval, for those who cannot train.
# - **No codebook**: the same, without `share`: libraries have kernels for INT8, NF4 and 16 bits.

# %%
question = "At most one point lost: how many times smaller can the file become?"
lab.guess("images_smaller", question, "×", None)

# %%
in_16_bits = [m["lost"] for s, m in rows.items() if "quantize" not in str(s)]
adapted = from_rows("text_adapted", min(in_16_bits, key=lambda lost: lost.value))
print("SmolLM2 adapted in 16 bits, against the model at the start:", adapted)
table = []
for task, seeds, reference, end, most, worst in (
    ("images", stack.FRESH, None, "high", 1.0, 4),  # a point, with the whole interval
    ("text", stack.SEEDS, adapted, "value", 0.0488, 1.2),  # 5 % of perplexity
):
    can, everything = stack.candidates(recorded[task], seeds, reference)
    good = {s: m for s, m in can.items() if getattr(m["lost"], end) <= most}
    by_start, _ = stack.candidates(recorded[task], seeds)
    free = {s: m for s, m in by_start.items() if m["lost"].high <= most}
    train = {"recover", "distill", "lora"}
    needs = {
        "phone": good,
        "nothing trained": {s: free[s] for s in free if not train & {*stack.named(s)}},
        "no codebook": {s: good[s] for s in good if "share" not in stack.named(s)},
    }
    chosen = {need: stack.smallest_file(those) for need, those in needs.items()}
    for need, s in chosen.items():
        cells = {m: needs[need][s][m] for m in ("file", "smaller", "lost", "latency")}
        record.add(f"{task}, {need}", s, **cells)
        table.append([f"{task}, {need}", " → ".join(s), *map(str, cells.values())])
    for need, key in (("phone", task), ("nothing trained", f"{task}_untrained")):
        for metric in ("file", "smaller", "lost"):
            from_rows(f"{key}_{metric}", needs[need][chosen[need]][metric])
    display(plot.front_of(everything, can, chosen, most, worst))
Table(["need", "stack", "file", "smaller", "lost", "latency"], table)

# %% [markdown]
# <details><summary>Why <code>images_smaller</code>?</summary>
#
# No single step comes near: each alone either loses too much or saves too little.
# Zeros, few values and 16 bits each take a part, and training with a teacher repairs what they break: most weights go, and a kept one needs a short code and its place, not 32 bits.
#
# </details>
#
# Four warnings:
# - **The search chose by the test images on which it is reported.** It looked at seed 0, which is left out of these means; the luck of the images is still in them.
#   Only filled points count: they were run with at least three other seeds, or have no random step.
# - **The language model was not searched.** Its stacks are those of the sections above, chosen and reported on the same topics; better ones may exist.
# - **The zero of the second figure is the best model in 16 bits that was trained on the same text.** That training gains by itself, and a stack must not take credit for it.
#   In the table, *nothing trained* is held against the model at the start, which nobody has trained on that text either.
# - **For trained language models the mean decides.** Intervals of two of them side by side are wider than 5 % of perplexity, so this choice is not certain.
#
# ## 9 · The ledger

# %%
claims.judge("claims.toml", record)

# %% [markdown]
# Why promises of this kind fail, where they do:
# - *Losses add up*: not where one step takes away what had made the other harmless, as folding may (section 5).
# - *Sizes multiply*: not where two steps shorten the same bits, nor where the file also holds places of weights.
# - *Prune, recover, quantize*: its condition is that the weights themselves are trained; there the interval holds zero.
#   With adapters beside NF4, round first and then train; with INT8 the order hardly matters (not shown), because there is little to repair.
#
# *Undecided* means that the effect may be nothing, or as large as the end of its interval: no reason to choose.
#
# ## 10 · This run and the recorded ones

# %%
headline = (
    "MobileNetV2 {images_smaller} smaller at {images_lost} lost; SmolLM2 "
    "{text_smaller} smaller than in 16 bits at {text_lost} against the best adapted "
    "model, {text_untrained_smaller} without training at {text_untrained_lost}; "
    "all chosen on the data they are reported on; {again} of the stacks that were "
    "run again are as recorded"
)
lab.finish(headline)

# %% [markdown]
# **Try.** The outcome of none of these stands in this book.
#
# 1. Write a step that rounds every weight to a power of two: where in *prune → distill* does it belong?
# 2. Is `images.prune(0.9, "lamp")` twice, with a training between, better than once?
# 3. Let `recover` train on images that are shifted and mirrored: does the teacher still win?
# 4. Take the classifier's stack for the phone apart with `stack.ablation(runners["images"], …)`: which step can be left out?
#
# **Five lines to remember.**
# - What damages comes before what repairs; measuring BatchNorm again repairs, so fold after pruning.
# - Interactions are measured, not assumed, in both orders, and paired on the same test data where predictions are kept.
# - Sizes multiply only if no two steps shorten the same bits and nothing else is in the file: places do not shrink with the bits.
# - The step that saves no byte may carry the whole stack: ablate before you drop it.
# - Choose by a rule that was written down before, on other data than you report, from stacks with several seeds.
#
# **Where it leads.** The front was chosen by the images on which it is reported: how would you find out how much too good that makes it?
# Every claim that any lab has judged stands in one table of this book, the ledger.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
