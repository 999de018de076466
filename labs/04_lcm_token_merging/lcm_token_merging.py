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

from labkit import claims, lab, measure, plot, runs, scale, show, zoo
from labkit.estimate.product import Product
from labkit.measure import Measurement, mean_with_interval, time_in_turn
from labkit.table import Table
from labkit.techniques.diffusion import lcm, samplers, token_merging

record, settings, device, files = lab.start(
    "04_lcm_token_merging",
    # At scale quick, standard and full.
    source=("embedded", "embedded", "hub" if scale.hub_reachable() else "embedded"),
    pictures=(8, 12, 32),  # for each sampler
    timing_rounds=(2, 6, 6),  # an interval of 95 % needs six
    resolutions=((1, 2), (1, 2), (1, 1.5)),  # times that of the model
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
# The judge has limits of its own: it misreads real pictures, and even real pictures lie at some distance from other real ones.
# That distance is the *floor*, and every distance below is read above it.
# All pictures of the model pass through its autoencoder, so what the autoencoder does to real pictures is a floor, too.
#
# A distance of few pictures is too large: their covariance is estimated badly, and every error counts as distance.
# So compare only distances of equally many pictures.
# The next cell shows it with real test pictures, which should lie at no distance at all.
# Your own pictures are too few for a distance; this lab reads distances from a recorded run of 2,000 pictures for each of eight seeds.


# %%
from dataclasses import dataclass

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
SCORES = "text_to_image/score" if rows else ""  # where they are read


def recorded(key, variant):
    """A score in the recorded run, for each seed."""
    if isinstance(variant, str):  # real pictures
        return [row[key] for row in rows if row["name"] == variant]
    names = ("name", "steps", "guidance", "merged")
    values = (variant.sampler, variant.steps, variant.guidance, variant.merged)
    return [r[key] for r in rows if all(r.get(n) == v for n, v in zip(names, values))]


def known(variant):
    """What the judge says of the recorded run's pictures."""
    if not (far := recorded("distance", variant)):
        return {}
    prompt = [100 * right for right in recorded("prompt", variant)]
    return dict(
        prompt_2000=mean_with_interval(prompt, "%"),
        distance_2000=mean_with_interval(far, ""),
    )


def score(name, images, labels):
    """What the judge says of pictures, beside the recorded run."""
    read, features = loaded.judge.read(images)
    right = measure.accuracy(zoo.prompt_index(read), zoo.prompt_index(labels))
    far = zoo.frechet_distance(zoo.moments(features), reference)
    scores = dict(prompt=right, distance=mean_with_interval([far], ""))
    record.add(str(name), **scores, **known(name))


def apart(key, variant, than):
    """How much larger a score is, seed by seed; of this run where none is recorded."""
    pairs = [recorded(key, v) for v in (variant, than)]
    if not rows:
        pairs = [[record.get(str(v), key).value] for v in (variant, than)]
    unit, times = ("points", 100 if rows else 1) if key == "prompt" else ("", 1)
    return mean_with_interval([times * (a - b) for a, b in zip(*pairs)], unit)


for n in (20, 50) if rows else ():
    low, high = (
        recorded(f"distance_{n}_{end}", "test pictures") for end in ("low", "high")
    )
    print(f"{n:5} real pictures: distance {np.mean(low):.1f} to {np.mean(high):.1f}")

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
shown = ["prompt", *(("prompt_2000", "distance_2000") if rows else ("distance",))]
record.table(*shown)

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


each = [spent(*inputs) for _ in range(11)][1:]  # the first evaluation allocates
shares = {
    kind: measure.quartiles(np.array([run[kind] for run in each]), "%")
    for kind in each[0]
}
record.find("attention_share", shares["attention"])
Table(["one evaluation", "share of the time"], [[k, str(s)] for k, s in shares.items()])

# %% [markdown]
# Remember the share of attention: it is a large part of what merging tokens can save.
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


def judge(variant):
    drawn[variant] = draw(variant, prompts)
    score(variant, drawn[variant], wanted.labels)


if (
    reference is None
):  # the baseline's own pictures, of another seed, in place of real ones
    reference = zoo.moments(loaded.judge.read(draw(BASE, prompts, lab.SEED + 1))[1])
judge(BASE)
record.table(*shown)

# %% [markdown]
# In the recorded run the judge reads the guided pictures right more often than real test pictures, and those of 25 steps without guidance less often.
# So it is guidance that lifts them: it draws the typical, which is easier to read.
# What guidance costs in variety, neither number shows by itself.
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
# **Beware:** its guidance, rank and stride were chosen among a dozen runs, by the distance of its four-step pictures.
# The recorded run draws with other seeds than those, so that the luck of their noise is not in its distances.
# The yardstick is the same, and the steps of the solver were not tuned at all.
#
# Sampling then goes to the end in one leap, adds fresh noise for an earlier time, and leaps again.
# Does that need the adapter?
# The rivals are the same leaps without it, and the solver with as many evaluations.

# %%
FOUR = Variant("LCM-LoRA", 4)
BARE = Variant("LCM without adapter", 4)
RIVAL = Variant("DPM-Solver++", 4)
for variant in (BARE, FOUR, RIVAL):
    judge(variant)


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
def table(variants, metrics=shown):
    cells = [[str(v), *(str(record.get(str(v), m)) for m in metrics)] for v in variants]
    return Table(["", *(m.replace("_", " ") for m in metrics)], cells)


table((*LIMITS, BASE, FOUR, BARE, RIVAL))

# %% [markdown]
# Without the adapter the leaps blur: the network was trained to see the *mean* of all pictures behind the noise, and a mean is soft.
# Prompts are still followed, and prompt accuracy alone would not have noticed.
# With the adapter they take a twelfth of the evaluations of the baseline.
# Read how much of the baseline's quality is left off the table, and read it above the floor.
#
# ### The adapter, fused
#
# Fused, the adapter's product is added to the weights, and its layers are removed.

# %%
from functools import partial

unfused = copied(base)
lcm.attach_lcm_(unfused, loaded.adapter, fuse=False)
pipelines["LCM-LoRA, not fused"] = unfused
loose = draw(Variant("LCM-LoRA, not fused", 4), prompts[:2])
moved = (loose - draw(FOUR, prompts[:2])).abs().max().item()
print(f"not fused: largest difference of a pixel {moved:.1e}")
adapted = sum(p.numel() for n, p in unfused.unet.named_parameters() if "lora" in n)
share = Measurement.exact(100 * adapted / measure.parameters(unet).value, "%")
record.find("adapter_share", share)
print(f"the adapter has {share} of the U-Net's parameters")
one = tuple(part[:1] if part.dim() else part for part in inputs)
networks = {"plain": unet, "not fused": unfused.unet, "fused": distilled.unet}
evaluations = {name: partial(network, *one) for name, network in networks.items()}
timings = time_in_turn(evaluations, 15 * settings.timing_rounds)
for name in ("not fused", "fused"):
    key = f"{name.replace(' ', '_')}_times_plain"
    print(f"{name}: {record.find(key, timings.ratio(name, 'plain'))} the time of plain")
record.find("evaluation_aa", timings.against_itself)
print(f"plain against itself: {timings.against_itself}")

# %% [markdown]
# The last line times one network against itself.
# What it differs from 1 is the machine, and the other intervals of this run are widened by it.
# An effect that is smaller is none.
#
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
judge(HALF)
display(side_by_side([FOUR, HALF]))
table((*LIMITS, FOUR, HALF))

# %% [markdown]
# One line, no training: and is there no loss?
# The eight pictures above cannot say; section 6 counts.
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
        timings = time_in_turn(functions, settings.timing_rounds, warmup=1)
        gain = record.find(f"merging_{name}_{factor:g}", timings.ratio(0, 0.5))
        measured = (timings.latency(0), timings.latency(0.5), gain)
        measured = map(str, (*measured, timings.against_itself))
        pays.append([f"{size**2:,} tokens, {name}", *measured])
Table(["", "all tokens", "half merged", "gain", "all against all"], pays)

# %% [markdown]
# ## 6 · Steps, guidance, ratio
#
# What does each setting do to the pictures?
# The dotted line is the floor: real pictures through the autoencoder.

# %%
STEPS = (1, 2, 4, 8)
sweep = [Variant(s, n) for s in ("LCM-LoRA", "DPM-Solver++") for n in STEPS]
sweep += [Variant("LCM-LoRA", 4, 2.0), Variant("LCM-LoRA", 4, merged=0.75)]
for variant in sweep:
    if variant not in drawn:
        judge(variant)
FLOOR = np.mean(recorded("distance", "autoencoder")) if rows else 0


def curve(variants, x, ax):
    """Distance against x; of the recorded run, or else of what was drawn here."""
    series = {}
    for v in variants:
        if rows or v in drawn:
            far = known(v).get("distance_2000") or record.get(str(v), "distance")
            series.setdefault(v.sampler, {})[getattr(v, x)] = far
    plot.curves(series, x.replace("merged", "share merged"), "distance", ax)
    ax.axhline(FLOOR, linestyle=":", color="black")


figure, axes = plot.subplots(1, 3)
figure.set_size_inches(9, 3.4)
curve(sweep[:8], "evaluations", axes[0])
axes[0].set(xscale="log", yscale="log")
axes[0].set_xticks(STEPS, [str(n) for n in STEPS])
axes[0].set_xticks([], minor=True)
axes[0].set_yticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
axes[0].set_yticks([], minor=True)
curve([Variant("LCM-LoRA", 4, g) for g in (1.0, 1.5, 2.0)], "guidance", axes[1])
ratios = [Variant("LCM-LoRA", 4, merged=m) for m in (0.0, 0.25, 0.5, 0.75)]
curve(ratios, "merged", axes[2])
figure

# %%
side_by_side(
    [Variant("LCM-LoRA", 1), Variant("DPM-Solver++", 1), Variant("LCM-LoRA", 2)]
)

# %%
for variant in ratios[1:] if rows else ():
    print(f"{variant}: {apart('distance', variant, FOUR)} farther than with all tokens")

# %% [markdown]
# Guidance beside the adapter: the teacher was guided, and the student has learnt the guided path.
# Perhaps every leap applies it once more; this lab does not test that.
#
# **Look at the dose.**
# If merging did harm because tokens are lost, more merging would do more harm.
# Compare the three lines above.
# Any merging costs something, and three quarters cost least: neither lost tokens nor a fixed offset explains that.
# It is not understood.
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
timed = [BASE, *PARTS.values(), HALF, BARE, RIVAL, Variant("DPM-Solver++", 8)]
timed += [Variant("LCM-LoRA", n) for n in STEPS]
SMALL = Variant("small, DPM-Solver++", 25, GUIDANCE)
timed += [SMALL] * bool(loaded.small)
functions = {str(v): partial(draw, v, prompts[:1]) for v in timed}
timings = time_in_turn(functions, settings.timing_rounds, warmup=1)
for variant in timed:
    v = str(variant)
    record.add(v, latency=timings.latency(v), speedup=timings.ratio(str(BASE), v))
    record.add(v, **known(variant))
record.find("generation_aa", timings.against_itself)
print(f"the baseline against itself: {timings.against_itself}")
table(timed, ("latency", "speedup"))

# %%
parts = {part: str(variant) for part, variant in PARTS.items()}
stack = Product.of_times(timings, str(BASE), parts, str(HALF))
record.find("stack_speedup", stack.measured)
print("the whole over the product:", record.find("stack_share", stack.share))
record.keep("Text to image: steps × guidance × merging", "time", stack)
plot.waterfall(stack, "faster")

# %% [markdown]
# Which of the bars carry the whole?
# Steps and guidance each divide the number of evaluations, and would multiply if nothing else took time.
# The text encoder, the decoder and the loop, which none of the three makes faster, hardly count in 25 guided steps and do count in four.
# That may pull the whole below the product, and leaves merging a part of what is small by then.
# Does the interval of the share hold 1?
#
# ## 8 · The Pareto front
#
# Latency here, against the distance of 2,000 pictures in the recorded run.
# The dotted line is the floor.
# One and two steps of the solver would lie far below the picture.

# %%
quality = "distance_2000" if rows else "distance"
front = [str(v) for v in timed if v.guidance == 1 or v in (BASE, SMALL)]
front = [v for v in front if quality in record.rows[v].measurements]
figure = plot.cost_quality(record, "latency", quality, front, lower_is_better=True)
figure.axes[0].set_ylim(top=FLOOR - 0.1)
figure.axes[0].axhline(FLOOR, linestyle=":", color="black")
figure

# %% [markdown]
# Which samplers lie on the front, and where does the solver catch up with the adapter?
# The adapter was tuned on this axis and the solver was not.
# The small U-Net was distilled with blocks removed in the manner of BK-SDM {cite}`kim2024bksdm`.
# Does it save as much time as missing steps do, and what does it lose?
#
# ## 9 · At full size
#
# What a step takes depends on the architecture and not on the weights.
# `labkit.recipes.full_size_diffusion` times Stable Diffusion 1.5 and BK-SDM-Small on a GPU, with random weights: speed, and no picture.
# Like is compared with like: compiled over compiled, eager over eager, and each figure within one session.
#
# ### The article's stack
#
# An article {cite}`metaintelligence_stacking` stacks BK-SDM-Small, four steps of LCM-LoRA and merging of half the tokens, and promises more than ten times on a T4.
# A T4 is busy with one picture; a GPU as large as the recorded one needs several at a time, here eight.
# No T4 was timed.

# %%
READ = "nvidia_h200"  # the recorded run
full = runs.gpu_run().record
EIGHT = "25 steps, guided, eager, batch 8"
WHOLE = "4 steps, unguided, BK-SDM-Small, token merging, eager, batch 8"
parts = {
    "4 steps": "4 steps, guided, eager, batch 8",
    "no guidance": "25 steps, unguided, eager, batch 8",
    "BK-SDM-Small": "25 steps, guided, BK-SDM-Small, eager, batch 8",
    "token merging": "25 steps, guided, token merging, eager, batch 8",
}


def cost(name):
    """Time in units of the baseline's, timed in turn with it."""
    return full.get(name, "speedup").through(lambda speedup: 1 / speedup, "×")


alone = {part: cost(name) for part, name in parts.items()}
start = Measurement.exact(1, "×")
article = Product.of_costs(EIGHT, start, alone, "the article's stack", cost(WHOLE))
record.find("full_size_article_stack", article.measured, READ)
record.find("full_size_article_product", article.predicted, READ)
plot.waterfall(article, "faster")

# %% [markdown]
# Compare the last two bars with the promise of ten.
# The product of the parts is what somebody expects who multiplies; the whole is what a user gets.
#
# But nobody has assembled that stack here.
# An adapter is made of layers of one U-Net, and another U-Net has others:

# %%
if loaded.small:
    from safetensors.torch import load_file

    has, lacks = (
        {name: weight.shape for name, weight in network.named_parameters()}
        for network in (unet, small)
    )
    layers = {key.partition(".lora_")[0] for key in load_file(loaded.adapter)}
    layers = [layer.removeprefix("unet.") + ".weight" for layer in layers]
    fit = [has[layer] == lacks.get(layer) for layer in layers]
    share = Measurement.exact(100 * np.mean(fit), "%")
    print(f"{record.find('adapter_fits_small', share)} of the adapter's layers fit")
    try:
        lcm.attach_lcm_(pipelines[SMALL.sampler], loaded.adapter, fuse=True)
    except ValueError as error:
        print(f"ValueError: {error}")
    else:
        raise AssertionError("an adapter of another architecture was accepted")

# %% [markdown]
# The small U-Net needs an adapter that is distilled for it.
# The authors did so for a smaller network of their own choice: their abstract {cite}`luo2023lcmlora` names SSD-1B, and promises plugging in for *fine-tuned* models, which keep the architecture.
# Whether the published adapter loads on BK-SDM-Small was not tried here.
# So the bars above are times, and no picture stands behind the whole.
#
# ### Compiled
#
# One picture at a time leaves a large GPU waiting for launches, unless the network is compiled and captured in a graph.
# These rows are of one session.

# %%
COMPILED = "25 steps, guided, compiled"
compiled = {
    COMPILED: "",
    "25 steps, unguided, compiled": "",
    "25 steps, guided, DeepCache, compiled": "full_size_deepcache",
    "25 steps, guided, BK-SDM-Small, compiled": "full_size_small",
    "4 steps, unguided, compiled": "full_size_lcm_compiled",
    "4 steps, unguided, token merging, compiled": "",
    "4 steps, unguided, BK-SDM-Small, compiled": "",
    "4 steps, unguided, BK-SDM-Small, tiny decoder, compiled": "",
}
for name, key in compiled.items():
    if key:
        record.find(key, full.get(name, "over_compiled"), READ)
with_compiler = full.get(
    "4 steps, unguided, BK-SDM-Small, compiled, batch 8", "speedup"
)
record.find("full_size_with_compiler", with_compiler, READ)
metrics = ("latency", "over_compiled")
cells = [[name, *(str(full.get(name, m)) for m in metrics)] for name in compiled]
Table(["", "latency", "over compiled"], cells)

# %% [markdown]
# DeepCache {cite}`ma2024deepcache` reuses deep features from one step to the next, and needs steps that resemble each other: with four there is little to reuse.
# The last line has a tiny decoder in place of Stable Diffusion's own: how much does that save after four steps, and why not after 25?
#
# Merging, in one evaluation that is captured in a graph:

# %%
gains = []
for pixels in (512, 768, 1024):
    found = [full.findings[f"merging_{kind}_{pixels}"] for kind in ("plain", "fused")]
    gains.append([f"{pixels} pixels", *map(str, found)])
for key in ("plain_512", "fused_512", "fused_1024"):
    record.find(f"full_size_merging_{key}", full.findings[f"merging_{key}"], READ)
record.find("full_size_merging_plain", full.findings["merging_plain_1024"], READ)
Table(["gain of merging half", "plain attention", "fused attention"], gains)

# %% [markdown]
# ## 10 · The ledger
#
# Speed is measured here, or read from the run on a GPU.
# Distances and prompts are read from the recorded scores: running this lab again cannot change them.
# Their seeds are fresh: nothing was tuned on them.
# The adapter and the small network were each trained once: what another training would give, no interval here says.
# The adapter was tuned on the same kind of distance, and whatever is said below in its favour is said on its own yardstick.

# %%
record.find("lcm_speedup", timings.ratio(str(BASE), str(FOUR)))
record.find("steps_speedup", stack.factors["fewer steps"])
record.find("guidance_speedup", stack.factors["no guidance"])
record.find("merging_gain", timings.ratio(str(FOUR), str(HALF)))
compared = {
    "lcm_adds": (FOUR, BASE),
    "two_steps_add": (Variant("LCM-LoRA", 2), BASE),
    "lcm_adds_to_rival": (FOUR, RIVAL),
    "bare_adds": (BARE, BASE),
    "merged_adds": (HALF, FOUR),
}
if rows:  # without the recorded run these were drawn for their time only
    unguided = PARTS["no guidance"]
    compared |= {"lcm_adds_to_unguided": (FOUR, unguided), "small_adds": (SMALL, BASE)}
    followed = apart("prompt", FOUR, unguided)
    record.find("lcm_follows_more_than_unguided", followed, SCORES)
for key, (variant, than) in compared.items():
    record.find(key, apart("distance", variant, than), SCORES)
record.find("merged_prompt_loss", apart("prompt", FOUR, HALF), SCORES)
if loaded.small:
    kept = measure.parameters(small).value / measure.parameters(unet).value
    record.find("small_removed", Measurement.exact(100 * (1 - kept), "%"))
ledger = claims.judge("claims.toml", record)
ledger

# %% [markdown]
# Why, and what to look at:
#
# - *Ten times by stacking*: set `full size article stack` beside `full size article product` in the next section.
#   A smaller network saves little where only four evaluations are left, and merging had little to save before.
#   With the compiler counted as a part of the stack, much of the factor is the compiler's.
# - *Six times*: the bound is one of five and a half or more, and here it is more: steps alone are at most $25/4$.
#   Dropping guidance is the rest, and the article's own code drops it without saying so.
# - *Two to four steps*: is the whole interval of `lcm adds` above the bound?
#   And that of `lcm adds to unguided`? In the recorded run its lower end is just above zero: four steps are worse, just barely, and by how much is open.
#   `lcm follows more than unguided` says which of the two is read more often as what was asked for.
# - *Merging*: with large pictures fused attention has taken most of the saving, and finding the pairs costs time.
#   With plain attention, as the authors had it, half of the tokens gain much less at 512 pixels here than there: this lab does not know why.
# - *Nearly as good*: the table of BK-SDM's own repository has FID 13.05 for the whole and 16.98 for Small {cite}`kim2024bksdm`.
# - *DeepCache* and *the small network* at full size: speed only; nobody saw a picture.
#
# ## 11 · This run and the recorded ones

# %%
headline = (
    "four steps of LCM-LoRA: {lcm_speedup} as fast, {lcm_adds} farther from real "
    "pictures; merging: {merging_gain} on top; the article's stack at full size: "
    "{full_size_article_stack}, where its parts multiply to {full_size_article_product}"
)
lab.finish(headline)

# %% [markdown]
# ## 12 · Try, and remember
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
# - The adapter is what makes four steps work, and it fits one architecture.
# - Count tokens: a patch that does nothing says nothing.
# - Merging pays for slow attention and many tokens.
#   First use the fast attention.
# - Compare like with like, compiled with compiled, or your factor is somebody else's.
#
# **Where it leads.** Lab 05 asks in which order techniques are stacked, and what each of them adds.
#
# **Sources**, under the keys by which the text cites them:

# %%
lab.sources()
