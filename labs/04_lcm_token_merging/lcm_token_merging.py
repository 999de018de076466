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
# # Lab 04 · LCM-LoRA and token merging: fewer steps, fewer tokens
#
# To run this lab, clone its whole repository and open the notebook there.
#
# **25 steps become 4, half the tokens are merged: how much faster, how much worse, and which part did the work?**
#
# After this lab you can
#
# - draw pictures from text with a diffusion model, and score what it drew against what was asked for;
# - turn it into a model of four steps with an adapter, and show that the adapter is what makes them work;
# - merge tokens, count them, and notice when nothing was merged;
# - take a speed-up apart into fewer steps, no guidance and fewer tokens, and set the product against the whole;
# - say on which machine, at which resolution and beside which attention merging pays.
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

from labkit import claims, lab, measure, plot, scale, show, zoo
from labkit.estimate.product import Product
from labkit.measure import Measurement, mean_with_interval, time_in_turn
from labkit.runs import gpu_run
from labkit.table import Table
from labkit.techniques.diffusion import lcm, samplers, token_merging

record, settings, device, files = lab.start(
    "04_lcm_token_merging",
    # At scale quick, standard and full.
    source=("embedded", "embedded", "hub" if scale.hub_reachable() else "embedded"),
    pictures=(20, 50, 50),  # for each sampler that the argument rests on
    few_pictures=(20, 20, 20),  # for each of the others
    timing_rounds=(2, 8, 4),
    resolutions=((1, 2), (1, 1.5, 2), (1, 1.5)),  # times that of the model
)

# %% [markdown]
# ## 1 · The idea
#
# A diffusion model draws by asking a network over and over what in a noisy picture is noise {cite}`rombach2022latent`.
# Three bills can be cut:
#
# - **Steps.** A good solver {cite}`lu2022dpmpp` takes about 25. A *consistency model* {cite}`song2023consistency` is trained to say from anywhere on the path where the path ends.
#   Latent consistency distillation {cite}`luo2023lcm` makes one out of a finished model, and an adapter is enough to hold it {cite}`luo2023lcmlora`.
# - **Guidance** {cite}`ho2022classifier` asks the network twice in each step, with and without the prompt, and goes further in the direction from one to the other.
#   The distillation can take it in, so that four steps are four evaluations and not eight.
# - **Tokens.** Self-attention compares every position with every other.
#   Neighbours are often alike: merge them before, and copy the result to all of them after {cite}`bolya2023tomesd`.
#
# If the three were independent, they would multiply: with $s$ steps, $g$ evaluations a step and a time $t$ for each,
#
# $$ T \approx s \cdot g \cdot t + \text{text encoder and decoder}. $$
#
# **Ask yourself:** which of the terms does each technique touch, and what will be the largest when all three are small?
#
# ## 2 · A model that can be scored
#
# The model draws clothes in one of eight colours on one of four backgrounds.
# It has Stable Diffusion's own parts at small size, trained from scratch.
# A small classifier, the judge, reads item, colour and background off a picture: whether the prompt was followed can be counted.
# From the judge's features comes a Fréchet distance {cite}`heusel2017gans` to real pictures.
# With a GPU and the model hub the same cells run on Stable Diffusion 1.5, with CLIP {cite}`radford2021learning` as the judge.

# %%
loaded = zoo.text_to_image(settings.source)
precision = torch.float16 if device == "cuda" else torch.float32
base = loaded.pipeline.to(device, precision)
unet = base.unet.to(memory_format=torch.channels_last)  # what convolutions like best
side = unet.config.sample_size
words = base.text_encoder.config.hidden_size
print(loaded.origin)
print(f"U-Net of {measure.parameters(unet)} parameters, latents {side} x {side}")

wanted = zoo.coloured_fashion_mnist("test", settings.pictures, lab.SEED + 1)
prompts = [zoo.PROMPTS[i] for i in zoo.prompt_index(wanted.labels)]
print("such as:", *prompts[:4], sep="\n  ")


# %% [markdown]
# The judge has limits of its own, and every figure below must be read beside them: it misreads real pictures, and even real pictures lie at some distance from other real ones.
# A distance of few pictures is larger than one of many; compare only distances of equally many.
# Where thousands are needed, this lab cites the recorded run: 2,000 pictures for each of four seeds.


# %%
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Variant:
    """One way to draw."""

    sampler: str
    steps: int
    guidance: float = 1.0
    merged: float = 0.0

    def __str__(self):
        words = f"{self.sampler}, {self.steps} step" + "s" * (self.steps > 1)
        words += f", guided {self.guidance:g}" * (self.guidance > 1)
        return words + f", {self.merged:.0%} merged" * (self.merged > 0)

    @property
    def evaluations(self):
        return self.steps * (2 if self.guidance > 1 else 1)


# Distances of Stable Diffusion have nothing to be compared with in that file.
rows = zoo.recorded_scores() if loaded.reference else []


def recorded(key, variant):
    """A score in the recorded run, for each seed."""
    if isinstance(variant, str):  # real pictures
        return [row[key] for row in rows if row["name"] == variant]
    names = ("name", "steps", "guidance", "merged")
    values = (variant.sampler, variant.steps, variant.guidance, variant.merged)
    return [r[key] for r in rows if all(r.get(n) == v for n, v in zip(names, values))]


def score(name, images, labels):
    """What the judge says of pictures, and what the recorded run says."""
    read, features = loaded.judge.read(images)
    right = measure.accuracy(zoo.prompt_index(read), zoo.prompt_index(labels))
    moments = zoo.moments(features)
    far = zoo.frechet_distance(moments, reference)
    n = len(images)
    scores = dict(prompt=right, distance=Measurement(far, far, far, "", n))
    if lows := recorded(f"distance_{n}_low", name):
        low, high = np.mean(lows), np.mean(recorded(f"distance_{n}_high", name))
        few = Measurement((low + high) / 2, low, high, "", n)
        scores |= dict(distance_of_as_many=few)
    if many := recorded("distance", name):
        scores |= dict(
            prompt_2000=mean_with_interval(
                [100 * p for p in recorded("prompt", name)], "%"
            ),
            distance_2000=mean_with_interval(many, ""),
        )
    record.add(str(name), **scores)


LIMITS, reference = (), loaded.reference
GUIDANCE = loaded.guidance
BASE = Variant("DPM-Solver++", 25, GUIDANCE)
if loaded.reference:  # what the judge makes of real pictures
    training = zoo.coloured_fashion_mnist("train", settings.pictures, lab.SEED + 1)
    real = zoo.to_float(wanted.images)
    with torch.no_grad():
        passed = base.vae((2 * real - 1).to(device, precision)).sample.float().cpu()
    LIMITS = ("test pictures", "training pictures", "autoencoder")
    score("test pictures", real, wanted.labels)
    score("training pictures", zoo.to_float(training.images), training.labels)
    score("autoencoder", (passed.clamp(-1, 1) + 1) / 2, wanted.labels)
record

# %% [markdown]
# ## 3 · Twenty-five guided steps
#
# The baseline: DPM-Solver++ with guidance.
# What does its network spend its time on?

# %%
from torch.profiler import ProfilerActivity, profile

inputs = (
    torch.randn(2, unet.config.in_channels, side, side).to(device, precision),
    torch.tensor(500, device=device),
    torch.randn(2, 8, words).to(device, precision),
)
KINDS = {
    "convolution": ("convolution",),
    "linear layers": ("addmm", "::mm", "::linear", "::bmm"),
    "attention": ("attention", "softmax"),
    "norms": ("norm",),
    "activations and sums": ("silu", "gelu", "::add", "::mul"),
}


def spent(*inputs):
    """Share of one evaluation's time, in percent, by kind of operation."""
    gpu = device == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu
    with torch.no_grad(), profile(activities=activities) as profiled:
        unet(*inputs)
    shares = dict.fromkeys([*KINDS, "the rest"], 0.0)
    for event in profiled.key_averages():
        name = event.key.lower()
        kinds = (k for k, parts in KINDS.items() if any(p in name for p in parts))
        took = event.self_device_time_total if gpu else event.self_cpu_time_total
        shares[next(kinds, "the rest")] += took
    total = sum(shares.values())
    return {kind: 100 * took / total for kind, took in shares.items()}


runs = [spent(*inputs) for _ in range(11)][1:]  # the first evaluation allocates
shares = {}
for kind in runs[0]:
    low, median, high = np.quantile([run[kind] for run in runs], (0.25, 0.5, 0.75))
    shares[kind] = Measurement(median, low, high, "%", len(runs))
record.find("attention_share", shares["attention"])
Table(["one evaluation", "share of the time"], [[k, str(s)] for k, s in shares.items()])

# %% [markdown]
# Remember the share of attention: it bounds what merging tokens can save.
# In a small U-Net at a small resolution convolutions and linear layers do most of the work.

# %%
import copy
from functools import cache

from diffusers import LCMScheduler


def copied(pipeline, *shared):
    """A copy that has these parts in common with the pipeline, and takes no memory for
    them."""
    shared = (pipeline.vae, pipeline.text_encoder, *shared)
    return copy.deepcopy(pipeline, {id(part): part for part in shared})


bare = copied(base, base.unet)
bare.scheduler = LCMScheduler.from_config(base.scheduler.config)
distilled = copied(base)
lcm.attach_lcm_(distilled, loaded.adapter, fuse=True)
pipelines = {"DPM-Solver++": base, "LCM without adapter": bare, "LCM-LoRA": distilled}
if loaded.small:
    pipelines["small, DPM-Solver++"] = copied(base, base.unet)
    small = loaded.small.to(device, precision, memory_format=torch.channels_last)
    pipelines["small, DPM-Solver++"].unet = small


@cache
def patched(sampler, merged):
    pipeline = pipelines[sampler]
    if merged:
        pipeline = copied(pipeline, *pipeline.unet.parameters())
        token_merging.merge_tokens_(pipeline, merged)
    return pipeline


def draw(variant, prompts, seed=lab.SEED):
    pipeline = patched(variant.sampler, variant.merged)
    return samplers.generate(pipeline, prompts, variant.steps, variant.guidance, seed)


drawn = {}


def judge(variant, n):
    drawn[variant] = draw(variant, prompts[:n])
    score(variant, drawn[variant], wanted.labels[:n])


if (
    reference is None
):  # the baseline's own pictures, of another seed, in place of real ones
    reference = zoo.moments(loaded.judge.read(draw(BASE, prompts, lab.SEED + 1))[1])
judge(BASE, settings.pictures)
record.table("prompt", "distance", "prompt_2000", "distance_2000")

# %% [markdown]
# The model follows its prompts more often than the judge reads real pictures right: guidance draws the typical, which is easier to read.
# At this strength guidance brings the distance down as well; what it costs in variety, neither number shows by itself.
#
# ## 4 · Four steps
#
# A consistency function leads from any point of the path to its end.
# At the end it must leave the picture as it is, whatever the network says; two factors see to that:
#
# $$ f(x, t) = c_{\text{skip}}(t)\, x + c_{\text{out}}(t)\, \hat z(x, t), \qquad c_{\text{skip}}(0) = 1,\; c_{\text{out}}(0) = 0 $$
#
# where $\hat z$ is the picture that the network sees behind the noise.

# %%
from IPython.display import display

display(show(lcm.boundary))
times = torch.arange(0, 1000.0)
c_skip, c_out = lcm.boundary(times)
library = bare.scheduler.get_scalings_for_boundary_condition_discrete(times)
assert torch.allclose(c_skip, library[0]) and torch.allclose(c_out, library[1])
print(f"c_skip at times 0, 1, 2: {', '.join(f'{c:.4f}' for c in c_skip[:3])}")

# %% [markdown]
# The distillation makes two neighbouring points of one path agree about its end: where the teacher, guided, leads from one to the other, the student must say the same at both.
# The adapter was trained by `labkit.recipes.text_to_image`; its log lies beside the model (`labkit/zoo/assets/text_to_image`).
#
# Sampling then goes to the end in one leap, adds fresh noise for an earlier time, and leaps again.
# Does that need the adapter?
# The honest rivals are the same leaps without it, and the solver with as many evaluations.

# %%
FOUR = Variant("LCM-LoRA", 4)
BARE = Variant("LCM without adapter", 4)
RIVAL = Variant("DPM-Solver++", 4)
for variant in (BARE, FOUR, RIVAL):
    judge(variant, settings.pictures)


def side_by_side(variants, n=8):
    """The first pictures of each, from the same noise."""
    figure, axes = plot.subplots(len(variants), n, squeeze=False)
    figure.set_size_inches(7.5, 1.2 * len(variants))
    figure.get_layout_engine().set(h_pad=0.12)
    for line, variant in zip(axes, variants):
        for ax, image in zip(line, drawn[variant]):
            ax.imshow(image.permute(1, 2, 0), interpolation="nearest")
            ax.axis("off")
        # A title would widen the first column to its own width.
        where = dict(transform=line[0].transAxes, in_layout=False)
        line[0].text(0, 1.07, str(variant), fontsize=9, **where)
    asked = "; ".join(prompts[:n])
    names = ", ".join(str(variant) for variant in variants)
    figure.alt = f"Pictures of {names}, one row each, for the prompts: {asked}."
    return figure


side_by_side([BASE, FOUR, BARE, RIVAL])

# %%
columns = ("prompt", "distance", "distance_of_as_many", "prompt_2000", "distance_2000")
shown = [column for column in columns if column in record.rows[str(BASE)].measurements]


def table(variants, metrics=shown):
    cells = [[str(v), *(str(record.get(str(v), m)) for m in metrics)] for v in variants]
    return Table(["", *(m.replace("_", " ") for m in metrics)], cells)


table((*LIMITS, BASE, FOUR, BARE, RIVAL))

# %% [markdown]
# Without the adapter the leaps blur: the network was trained to see the *mean* of all pictures behind the noise, and a mean is soft.
# Prompts are still followed, and prompt accuracy alone would not have noticed.
# With the adapter the distance comes near the baseline's at a twelfth of the evaluations.
#
# ### The adapter, fused
#
# Fused, the adapter's product is added to the weights.
# Its layers are then empty, and still called, until they are removed.

# %%
from functools import partial

unfused = copied(base)
lcm.attach_lcm_(unfused, loaded.adapter, fuse=False)
fused = copied(unfused)
fused.fuse_lora()
pipelines |= {"LCM-LoRA, not fused": unfused, "LCM-LoRA, fused only": fused}
LOOSE, EMPTY = Variant("LCM-LoRA, not fused", 4), Variant("LCM-LoRA, fused only", 4)
for variant in (LOOSE, EMPTY):
    moved = (draw(variant, prompts[:2]) - draw(FOUR, prompts[:2])).abs().max().item()
    print(f"{variant}: largest difference of a pixel {moved:.1e}")
adapted = sum(p.numel() for n, p in unfused.unet.named_parameters() if "lora" in n)
share = Measurement.exact(100 * adapted / measure.parameters(unet).value, "%")
record.find("adapter_share", share)
print(f"the adapter has {share} of the U-Net's parameters")
one = tuple(part[:1] if part.dim() else part for part in inputs)
networks = {"without adapter": unet, "not fused": unfused.unet, "fused": fused.unet}
networks["fused, removed"] = distilled.unet
evaluations = {name: partial(network, *one) for name, network in networks.items()}
timings = time_in_turn(evaluations, 15 * settings.timing_rounds)
for name in [*networks][1:]:
    key = name.replace(", ", "_").replace(" ", "_") + "_times_plain"
    # The mean and its interval: what an adapter adds is less than a round varies.
    ratios = timings[name] / timings["without adapter"]
    record.find(key, mean_with_interval(ratios, "×"))
cells = [
    [name, str(timings.latency(name)), str(timings.ratio(name, "without adapter"))]
    for name in networks
]
Table(["adapter", "one evaluation", "times that without"], cells)

# %% [markdown]
# ## 5 · Half the tokens
#
# Of each square of two by two tokens one stays.
# Every other looks for the most similar of those that stay, and the most similar pairs merge.

# %%
show(token_merging.match, token_merging.Matching.merge)

# %%
import tomesd

tokens = torch.randn(1, side * side, 64, dtype=torch.float64)
matching = token_merging.match(tokens, side, side, ratio=0.5)
ours = matching.unmerge(matching.merge(tokens))
pair = tomesd.merge.bipartite_soft_matching_random2d(
    tokens, side, side, 2, 2, int(0.5 * side * side), no_rand=True
)
assert torch.allclose(ours, pair[1](pair[0](tokens)))
print(
    f"{tokens.shape[1]} tokens, merged: {matching.merge(tokens).shape[1]};",
    "as tomesd does",
)

HALF = Variant("LCM-LoRA", 4, merged=0.5)
seen = {"before": token_merging.tokens_seen(distilled.unet, *inputs)}
token_merging.merge_tokens_(distilled, 0.5)
seen["merged"] = token_merging.tokens_seen(distilled.unet, *inputs)
token_merging.merge_tokens_(distilled, 0)
most = {name: max(counts.values()) for name, counts in seen.items()}
layers = sum(seen["before"][name] > seen["merged"][name] for name in seen["before"])
print(f"tokens at the largest self-attention: {most}; {layers} layers see fewer")
judge(HALF, settings.pictures)
display(side_by_side([FOUR, HALF]))
table((*LIMITS, FOUR, HALF))

# %% [markdown]
# One line, no training: and is there no loss?
# Look at the distances of many pictures, not at the eight above.
#
# ### When does it pay?
#
# Merging has a price, the search for pairs, and saves where attention is expensive: at many tokens, and beside an attention that is slow.
# *Plain* attention writes out all pairs of tokens; *fused* attention {cite}`dao2022flashattention` never does.
# Here is one evaluation at several resolutions.

# %%
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

pays = []
for factor in settings.resolutions:
    size = int(side * factor)
    at = (torch.randn(1, *inputs[0].shape[1:2], size, size), inputs[1], inputs[2][:1])
    at = (at[0].to(device, precision), *at[1:])
    for name, processor in (("plain", AttnProcessor), ("fused", AttnProcessor2_0)):
        functions = {}
        for ratio in (0, 0.5):
            other = copied(base, *base.unet.parameters())
            other.unet.set_attn_processor(processor())
            token_merging.merge_tokens_(other, ratio)
            functions[ratio] = partial(other.unet, *at)
        timings = time_in_turn(functions, settings.timing_rounds + 1, warmup=1)
        gain = timings.ratio(0, 0.5)
        record.find(f"merging_{name}_{size * base.vae_scale_factor}", gain)
        latencies = [str(timings.latency(ratio)) for ratio in (0, 0.5)]
        pays.append([f"{size**2:,} tokens, {name}", *latencies, str(gain)])
Table(["", "all tokens", "half merged", "gain"], pays)

# %% [markdown]
# ## 6 · Steps, guidance, ratio
#
# What does each setting do to the pictures?
# The curves come from the recorded run; the table sets a few pictures of your own machine beside the interval in which as many pictures of the recorded run lie.

# %%
STEPS = (1, 2, 4, 8)
sweep = [Variant(s, n) for s in ("LCM-LoRA", "DPM-Solver++") for n in STEPS]
sweep += [Variant("LCM-LoRA", 4, 2.0), Variant("LCM-LoRA", 4, merged=0.75)]
for variant in sweep:
    if variant not in drawn:
        judge(variant, settings.few_pictures)


def curve(variants, x):
    """{x: distance}; of the recorded run, or else of those that were drawn here."""
    if rows:
        far = [mean_with_interval(recorded("distance", v), "") for v in variants]
    else:
        variants = [v for v in variants if v in drawn]
        far = [record.get(str(v), "distance") for v in variants]
    return {getattr(v, x): distance for v, distance in zip(variants, far)}


figure, axes = plot.subplots(1, 3)
figure.set_size_inches(9, 3.4)
by_steps = {
    sampler: curve([Variant(sampler, n) for n in STEPS], "evaluations")
    for sampler in ("LCM-LoRA", "DPM-Solver++")
}
plot.curves(by_steps, "evaluations", "distance", axes[0])
axes[0].set(xscale="log", yscale="log")
axes[0].set_xticks(STEPS, [str(n) for n in STEPS])
axes[0].set_xticks([], minor=True)
axes[0].set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
axes[0].set_yticks([], minor=True)
guided = [Variant("LCM-LoRA", 4, g) for g in (1.0, 1.5, 2.0)]
plot.curves(
    {"LCM-LoRA, 4 steps": curve(guided, "guidance")}, "guidance", "distance", axes[1]
)
ratios = [Variant("LCM-LoRA", 4, merged=m) for m in (0.0, 0.25, 0.5, 0.75)]
plot.curves(
    {"LCM-LoRA, 4 steps": curve(ratios, "merged")}, "share merged", "distance", axes[2]
)
figure

# %%
side_by_side(
    [Variant("LCM-LoRA", 1), Variant("DPM-Solver++", 1), Variant("LCM-LoRA", 2)]
)

# %%
inside = []
if rows:
    for variant in drawn:
        if "distance_of_as_many" in record.rows[str(variant)].measurements:
            interval = record.get(str(variant), "distance_of_as_many")
            far = record.get(str(variant), "distance").value
            inside.append(interval.low <= far <= interval.high)
    record.find("inside_recorded", Measurement.exact(100 * np.mean(inside), "%"))
    print(f"{sum(inside)} of {len(inside)} distances lie inside the recorded 95 %")
table((*LIMITS, *drawn))

# %% [markdown]
# With the adapter, guidance is too much of a good thing: the teacher was guided, and the student has taken that in.
# Each leap applies it again, so even none is some.
#
# ## 7 · Which part did the work?
#
# Each technique alone, then all together, one picture at a time, timed in turn.

# %%
PARTS = {
    "fewer steps": Variant("DPM-Solver++", 4, GUIDANCE),
    "no guidance": Variant("DPM-Solver++", 25),
    "token merging": Variant("DPM-Solver++", 25, GUIDANCE, 0.5),
}
timed = [BASE, *PARTS.values(), FOUR, HALF, LOOSE, EMPTY, BARE, RIVAL]
timed += [v for v in sweep if v.guidance == 1 and v not in timed]
timed += [Variant("small, DPM-Solver++", n, GUIDANCE) for n in (25, 4) if loaded.small]
functions = {str(v): partial(draw, v, prompts[:1]) for v in timed}
timings = time_in_turn(functions, settings.timing_rounds, warmup=0)  # all ran before
for variant in timed:
    name = str(variant)
    speedup = timings.ratio(str(BASE), name)
    record.add(name, latency=timings.latency(name), speedup=speedup)
    if rows and recorded("distance", variant):
        many = mean_with_interval(recorded("distance", variant), "")
        record.add(name, distance_2000=many)
table(timed, ("latency", "speedup"))

# %%
factors = {
    part: timings.ratio(str(BASE), str(variant)) for part, variant in PARTS.items()
}
stack = Product(str(BASE), str(HALF), factors, timings.ratio(str(BASE), str(HALF)))
record.find("stack_speedup", stack.measured)
# Each round by itself: what slowed it down slowed down the whole and the parts.
guided = timings[str(BASE)]
alone = np.prod([guided / timings[str(part)] for part in PARTS.values()], axis=0)
low, share, high = np.quantile(guided / timings[str(HALF)] / alone, (0.25, 0.5, 0.75))
share = Measurement(share, low, high, "×", len(guided))
print("the whole over the product, round by round:", record.find("stack_share", share))
title = "Text to image: steps × guidance × merging"
record.keep(title, "time", replace(stack, paired=share))
plot.waterfall(stack, "faster")

# %% [markdown]
# Steps and guidance carry the whole.
# Each divides the number of evaluations, and they would multiply if nothing else took time.
# The text encoder, the decoder and the loop, which none of the three makes faster, hardly count in 25 guided steps and do count in four.
# So the whole stays below the product, and merging saves a part of what is small by then.
#
# ## 8 · The Pareto front
#
# Latency here, against the distance of 2,000 pictures in the recorded run.
# One and two steps of the solver would lie far below the picture.

# %%
quality = "distance_2000" if rows else "distance"
front = [BASE, PARTS["no guidance"], HALF, RIVAL, BARE, Variant("DPM-Solver++", 8)]
front += [Variant("LCM-LoRA", n) for n in STEPS]
front += [v for v in timed if v.sampler.startswith("small")]
front = [str(v) for v in front if quality in record.rows[str(v)].measurements]
plot.cost_quality(record, "latency", quality, front, lower_is_better=True)

# %% [markdown]
# Up to four steps with the adapter are cheaper than anything of similar quality.
# At eight the solver has caught up, and for the best pictures there is no way around the baseline.
# The small U-Net, distilled with blocks removed in the manner of BK-SDM {cite}`kim2024bksdm`, saves less time than the missing steps do, and loses more.
#
# ## 9 · At full size
#
# What a step takes depends on the architecture and not on the weights.
# `labkit.recipes.full_size_diffusion` times Stable Diffusion 1.5 and BK-SDM-Small with random weights on a GPU, each technique alone and together, eager, as a CUDA graph and compiled.

# %%

full = gpu_run().record
EAGER, COMPILED = "25 steps, guided, eager", "25 steps, guided, compiled"
listed = [
    EAGER,
    "25 steps, unguided, eager",
    "4 steps, guided, eager",
    "4 steps, unguided, eager",
    "25 steps, guided, token merging, eager",
    "25 steps, guided, DeepCache, eager",
    "25 steps, guided, BK-SDM-Small, eager",
    "4 steps, unguided, BK-SDM-Small, eager",
    "25 steps, guided, graph",
    COMPILED,
    "25 steps, guided, DeepCache, compiled",
    "4 steps, unguided, compiled",
    "4 steps, unguided, token merging, compiled",
    "4 steps, unguided, BK-SDM-Small, compiled",
    "4 steps, unguided, BK-SDM-Small, token merging, compiled",
    "4 steps, unguided, BK-SDM-Small, tiny decoder, compiled",
]


def full_table(names, *metrics):
    cells = [
        [name, *(str(full.rows[name].measurements.get(m, "")) for m in metrics)]
        for name in names
    ]
    return Table(["", *(m.replace("_", " ") for m in metrics)], cells)


full_table(listed, "latency", "speedup", "over_compiled")

# %% [markdown]
# The eager baseline was timed in several sessions and drifted between them: trust the factors over the compiled one.
# At batch 1 the eager network waits for its launches: half the arithmetic, without guidance, saves nothing at all.
# Compiled and captured in a graph, the same saving is real.
# So the first optimization of a GPU is to keep it busy, and every factor measured before that is a factor of something else.
#
# DeepCache {cite}`ma2024deepcache` reuses deep features from one step to the next, and needs steps that resemble each other: with four there is nothing to reuse.

# %%
eight = [name for name in full.rows if name.endswith("batch 8")]
display(full_table(eight, "per_picture", "speedup", "over_compiled"))
captured = [name for name in full.rows if name.startswith("one") and "graph" in name]
full_table(captured, "tokens", "operations", "latency", "gain of merging")

# %% [markdown]
# On the GPU merging pays beside plain attention and beyond the resolution of the model.
# At that resolution, where the promise was measured on an older card, it gains little beside plain attention and loses beside fused attention, where finding the pairs costs more than the smaller attention saves.

# %%
fastest = full.findings["fastest_batch_1_speedup"]
honest = full.findings["fastest_batch_1_over_compiled"]
record.find("full_size_speedup", fastest)
record.find("full_size_over_compiled", honest)
parts = {
    "compiled": full.get(COMPILED, "speedup"),
    "4 steps": full.ratio("latency", COMPILED, "4 steps, guided, compiled"),
    "no guidance": full.ratio("latency", COMPILED, "25 steps, unguided, compiled"),
    "BK-SDM-Small": full.ratio(
        "latency", COMPILED, "25 steps, guided, BK-SDM-Small, compiled"
    ),
}
best = Product(EAGER, full.headline.split(":")[0], parts, fastest)
print(full.headline)
print(f"over the compiled baseline: {honest}")
plot.waterfall(best, "faster")

# %% [markdown]
# The fastest combination with Stable Diffusion's own decoder leaves merging out.
# The fewer the evaluations, the more of the time goes to what nobody had touched, the decoder first of all.
# The last line of the first table has a tiny decoder in its place.

# %%
shares = ("network share", "decoder share", "text share", "loop share")
full_table([EAGER, "4 steps, unguided, eager"], *shares)

# %% [markdown]
#
# ## 10 · What goes wrong, and what to do
#
# Mistakes that would cost you an evening, and how they announce themselves:


# %%
class WithoutUNet:
    """Such as the pipelines of transformer models."""


attempts = {
    "unknown words": lambda: loaded.check("a red dragon on black"),
    "an empty prompt": lambda: draw(FOUR, [" "]),
    "guidance out of range": lambda: draw(Variant("LCM-LoRA", 4, 7.5), prompts[:1]),
    "nothing to patch": lambda: token_merging.merge_tokens_(WithoutUNet(), 0.5),
    "a ratio of 1": lambda: token_merging.merge_tokens_(base, 1.0),
    "a size that does not fit": lambda: samplers.generate(
        base, prompts[:1], 1, 1, 0, side + 1
    ),
}
if loaded.small:
    attempts["an adapter of another architecture"] = lambda: lcm.attach_lcm_(
        pipelines["small, DPM-Solver++"], loaded.adapter, fuse=True
    )
else:
    del attempts["unknown words"]  # Stable Diffusion knows dragons
for what, attempt in attempts.items():
    try:
        attempt()
    except ValueError as error:
        print(f"{what}: {error}\n")
    else:
        raise AssertionError(f"{what}: accepted")

# %% [markdown]
# ## 11 · The ledger


# %%
def by_seed(key, variant):
    """A score for each seed of the recorded run; of this run where that has none."""
    if scores := recorded(key, variant):
        return scores
    here = record.get(str(variant), key).value
    return [here / 100 if key == "prompt" else here]


def times_worse(variant, than):
    pairs = zip(by_seed("distance", variant), by_seed("distance", than))
    return mean_with_interval([a / b for a, b in pairs], "×")


record.find("lcm_speedup", timings.ratio(str(BASE), str(FOUR)))
record.find("steps_speedup", factors["fewer steps"])
record.find("guidance_speedup", factors["no guidance"])
record.find("merging_gain", timings.ratio(str(FOUR), str(HALF)))
record.find("full_size_merging_plain", full.findings["merging_plain_1024"])
record.find("lcm_times_distance", times_worse(FOUR, BASE))
if rows:  # without the recorded run these pictures were drawn for their time only
    record.find("lcm_times_unguided", times_worse(FOUR, PARTS["no guidance"]))
record.find("lcm_times_rival", times_worse(FOUR, RIVAL))
record.find("bare_times_distance", times_worse(BARE, BASE))
record.find("merged_times_distance", times_worse(HALF, FOUR))
pairs = zip(by_seed("prompt", FOUR), by_seed("prompt", HALF))
lost = mean_with_interval([100 * (a - b) for a, b in pairs], "pt")
record.find("merged_prompt_loss", lost)
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Why the promises that fail do fail:
#
# - *Ten times by stacking*: steps and guidance come near it; merging adds little or nothing to that here.
#   On a large GPU a smaller network in place of merging comes nearer and does not reach it, compiled against compiled.
#   Over an eager baseline the factor is far above ten, and then the compiler is part of it.
# - *Merging adds 1.3 to 1.8 times*: on this GPU only beside plain attention and beyond the model's own resolution.
#   Fused attention has taken most of that saving already.
#   On two cores enough tokens pay beside fused attention, too: see the table in section 5.
# - *No loss*: the prompt is followed as before, and the pictures lie further from real ones.
# - *Four steps as good as twenty-five*: not as good as guided ones, and as good as unguided ones.
#   Guidance brings the baseline the rest; without the adapter four steps are far worse than either.
#
# ## 12 · This run and the recorded ones

# %%
found = record.findings
headline = (
    f"4 steps by LCM-LoRA {found['lcm_speedup'].value:.1f}× faster at "
    f"{found['lcm_times_distance'].value:.2f}× the distance; merging adds "
    f"{found['merging_gain'].value:.2f}×; at full size on a GPU "
    f"{fastest.value:.0f}× over eager, {honest.value:.1f}× over compiled"
)
lab.finish(headline)

# %% [markdown]
# ## 13 · Try, and remember
#
# 1. Draw the same prompt with fifty seeds, with 25 guided steps and with four of the adapter.
#    Which set is more varied?
#    Which number in this lab would have told you?
# 2. Merge in the first two of the four steps only, then in the last two.
#    Which costs more distance?
# 3. Give the adapter other times to leap from than its scheduler's.
#    Which of the four matters most?
# 4. Predict the latency of three steps without guidance before you measure it.
#    What did you forget?
# 5. Train the adapter anew with a teacher of another guidance, and find out why the best guidance for four steps is not the best for 25.
#
# Five lines to remember:
#
# - The number of evaluations is the bill; steps and guidance are its factors.
# - The adapter is what makes four steps work, and fused it costs nothing.
# - Count tokens: a patch that does nothing says nothing.
# - Merging pays for slow attention and many tokens.
#   First use the fast attention.
# - Compare with the compiled baseline and with the best rival of the same cost, or your factor is somebody else's.
#
# **Where it leads.** Lab 05 asks in which order techniques are stacked, and what each of them adds.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
