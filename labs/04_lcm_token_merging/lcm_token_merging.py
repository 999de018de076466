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
# After this lab you can write the loop from noise to a picture; turn a diffusion model into one of four steps, and show that the adapter is what makes them work; see which tokens merge, and notice when that saves nothing; and take a speed-up apart into its parts.
#
# **You need to know:** PyTorch modules, convolutions, attention with queries, keys and values, and what a LoRA adapter is (Lab 03); nothing of diffusion.

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
from IPython.display import display

from labkit import claims, lab, measure, plot, runs, scale, show, zoo
from labkit.drawings import diffusion as drawings
from labkit.estimate.product import Product
from labkit.measure import Measurement, time_in_turn
from labkit.table import Table
from labkit.techniques.diffusion import lcm, samplers, timing, token_merging
from labkit.zoo import Variant

record, settings, device, files = lab.start(
    "04_lcm_token_merging",
    # At scale quick, standard and full.
    source=("embedded", "embedded", "hub" if scale.hub_reachable() else "embedded"),
    pictures=(3, 6, 6),  # for each sampler, to look at
    timing_rounds=(1, 6, 6),  # an interval of 95 % needs six
    resolutions=((1, 2), (1, 2), (1, 1.5)),  # times that of the model
)

# %% [markdown]
# ## 1 · Diffusion in one page
#
# A diffusion model {cite}`rombach2022latent` is a network that was trained to remove noise.
# It starts from pure noise, removes a little in each step, and ends with a picture that nobody has drawn before.
# - The **autoencoder** squeezes a picture into a small array, the **latent**, and decodes latents to pictures. All steps happen on latents, which are cheaper than pixels.
# - The **text encoder** turns the prompt into vectors.
# - The **U-Net** sees the noise: convolutions from fine to coarse and back, with attention among positions and to the prompt's vectors. One answer is an **evaluation**.
# - The **scheduler** says how much noise belongs to each time, and computes the next latent from what the U-Net predicts. Ours, **DPM-Solver++** {cite}`lu2022dpmpp`, needs about 25 steps.
#
# A noisy latent is a mixture, $x = a\,z + b\,\varepsilon$, of a clean latent $z$ and noise $\varepsilon$, with $a^2 + b^2 = 1$; $b$ falls from 1 to 0 on the way.
# Our U-Net predicts another mixture, $v = a\,\varepsilon - b\,z$, which has something to learn at every noise level: **v-prediction**.
# From it follows the picture behind the noise, $\hat z = a\,x - b\,v$.
# By hand: $z = 2$, $\varepsilon = 1$, $a = 0.6$, $b = 0.8$ give $x = 2$ and $v = 0.6 - 1.6 = -1$, and back, $\hat z = 1.2 + 0.8 = 2$.
#
# **Guidance** {cite}`ho2022classifier` asks the U-Net twice, without the prompt and with it, and starts at the first prediction and goes beyond the second.
# How far, says the **guidance scale**: at 1.5, predictions of 2 and 4 become $2 + 1.5\,(4 - 2) = 5$; 1 is no guidance.
#
# Our model draws clothes in eight colours on four backgrounds; it was trained from scratch and has the parts of Stable Diffusion at small size.

# %%
loaded = zoo.text_to_image(settings.source)
precision = torch.float16 if device == "cuda" else torch.float32
base = loaded.pipeline.to(device, precision)
unet = base.unet.to(memory_format=torch.channels_last)  # what convolutions like best
side, GUIDANCE = unet.config.sample_size, loaded.guidance
print(f"{loaded.origin}; U-Net of {measure.parameters(unet)} parameters")
text, empty = base.encode_prompt("a red ankle boot on black", device, 1, True)
solver = base.scheduler
solver.set_timesteps(25, device=device)
noise = torch.randn(1, unet.config.in_channels, side, side).to(device, precision)
latents, path = noise, []
with torch.no_grad():
    for time in solver.timesteps:
        both = unet(torch.cat([latents] * 2), time, torch.cat([empty, text])).sample
        without, prompted = both.chunk(2)
        predicted = without + GUIDANCE * (prompted - without)
        before, latents = latents, solver.step(predicted, time, latents).prev_sample
        path.append((before, solver.model_outputs[-1], time))  # x, z behind it, time
shown = (0, 4, 8, 12, 16, 24)
noisy, behind = (samplers.decoded(base, [path[i][k] for i in shown]) for k in (0, 1))
drawings.rows_of_pictures(
    {"the latent, decoded": noisy, "what the U-Net sees behind its noise": behind},
    "From noise to a picture: the latent loses its noise step by step, while the "
    "picture that the U-Net sees behind it turns from a blur into a sharp one.",
    [f"step {i + 1}" for i in shown],
)

# %% [markdown]
# At step 1 the U-Net sees noise alone, so the best it can say is the *mean* of all pictures that fit the prompt: a blur.
# Each step removes noise, fewer pictures fit, and the mean becomes one picture.
#
# **Ask yourself:** how many evaluations did this picture take, and what would one step give?
#
# <details><summary>Answer</summary>
#
# 25 guided steps get two answers each, in one call: 50 evaluations; one step would give the blur.
#
# </details>
#
# ## 2 · Three bills
#
# With $s$ steps, $g$ evaluations a step and a time $c$ for each,
#
# $$ T \approx s \cdot g \cdot c + \text{text encoder and decoder}. $$
#
# - **Steps.** A *consistency model* {cite}`song2023consistency` is trained to say, from any point of the path, where the path ends. Latent consistency distillation {cite}`luo2023lcm` makes one out of a finished model, and a LoRA adapter can hold it {cite}`luo2023lcmlora`.
# - **Guidance.** The distillation can learn the guided path: one evaluation a step, not two.
# - **Tokens.** Self-attention compares every position of the latent, a token, with every other. Many are alike: merge them before, and copy the result to all of them after {cite}`bolya2023tomesd`.
#
# By hand: 20 evaluations become 2; if encoder and decoder take as long as one, 21 become 3, which is 7 times.
# The drawing is computed: upwards $x / a$ of one pixel, black or white, across the noise left, $b / a$; a start above zero makes white likelier, so the mean is nearer to it.

# %%
display(drawings.one_leap())
lab.guess("lcm_speedup", "4 unguided steps, not 25 guided: times faster?", "×", None)
lab.guess("merging_gain", "half the tokens merged in these 4: times faster?", "×", None)
asked = "both, with a smaller U-Net, at full size on a GPU: times faster?"
lab.guess("full_size_article_stack", asked, "×", None)

# %% [markdown]
# ## 3 · A model that can be scored
#
# A small classifier, the **judge**, reads item, colour and background off a picture: were the prompts followed?
# Whether pictures *look* real, a **Fréchet distance** {cite}`heusel2017gans` says: the judge's features of real and of drawn pictures are described by means $m, n$ and covariances $A, B$, and
#
# $$ d = |m - n|^2 + \operatorname{tr}\!\left(A + B - 2\,(A B)^{1/2}\right). $$
#
# By hand, for one feature: means 0 and 1, standard deviations 2 and 4 give $(0 - 1)^2 + (2 - 4)^2 = 5$.
#
# From few pictures the covariance is badly estimated, and every error counts as distance: it is **biased upwards**.
# Here are real training pictures, which should lie at almost no distance from real ones.

# %%
scores = zoo.Scores(None if loaded.reference else [])  # of the model that ships
if scores:
    for name in ("test pictures", "autoencoder"):
        record.add(name, **scores.known(name))
    bias = zoo.distance_by_number(loaded, (50, 100, 200, 500))
    bias[2000] = scores.known("training pictures")["distance_2000"]
    display(drawings.bias(bias))
record.table()

# %% [markdown]
# So the few pictures that you draw are only to look at: distances and prompts are read from a recorded run of 2,000 pictures for each of eight seeds: `distance 2000`, and `prompt 2000`, the share of which the judge reads item, colour and background all right.
# Every picture of the model passes through the autoencoder, so what that does to real pictures is the **floor** above which distances are read.
#
# ## 4 · Four steps
#
# A consistency function leads from any point of the path to its end, the picture, where $t = 0$.
# At the end it must leave the picture as it is, whatever the network says; two factors see to that:
#
# $$ f(x, t) = c_{\text{skip}}(t)\, x + c_{\text{out}}(t)\, \hat z(x, t), \qquad c_{\text{skip}}(0) = 1,\; c_{\text{out}}(0) = 0. $$
#
# The **distillation** takes two neighbouring points of one guided path of our model, and asks model with adapter for the same end at both.
# Near the picture the end is known, and from there the agreement spreads back to the noise.
# Only the adapter is trained, by `labkit.recipes.text_to_image`.
# Sampling goes to the end in one leap, adds fresh noise, less than before, and leaps again.
# The rivals are the same leaps without the adapter, and the solver with as many evaluations.

# %%
from diffusers import LCMScheduler

bare = samplers.copied(base, base.unet)
bare.scheduler = LCMScheduler.from_config(base.scheduler.config)
distilled, unfused = samplers.copied(base), samplers.copied(base)
lcm.attach_lcm_(distilled, loaded.adapter, fuse=True)
lcm.attach_lcm_(unfused, loaded.adapter, fuse=False)
named = {"DPM-Solver++": base, "LCM without adapter": bare, "LCM-LoRA": distilled}
pipelines = samplers.Samplers(named)
show(lcm.boundary)

# %%
wanted = zoo.coloured_fashion_mnist("test", settings.pictures, lab.SEED + 1)
prompts = [zoo.PROMPTS[i] for i in zoo.prompt_index(wanted.labels)]
draw = partial(pipelines.draw, seed=lab.SEED)
BASE, UNGUIDED = Variant("DPM-Solver++", 25, GUIDANCE), Variant("DPM-Solver++", 25)
FOUR, BARE = Variant("LCM-LoRA", 4), Variant("LCM without adapter", 4)
RIVAL = Variant("DPM-Solver++", 4)
drawn = {str(v): draw(v, prompts) for v in (BASE, FOUR, BARE, RIVAL)}
display(drawings.rows_of_pictures(drawn, f"{'; '.join(drawn)}: {'; '.join(prompts)}."))
for variant in (BASE, UNGUIDED, FOUR, BARE, RIVAL):
    record.add(str(variant), **scores.known(variant))
record.table("prompt_2000", "distance_2000")

# %% [markdown]
# Without the adapter the leaps blur, since each lands at a mean; the prompts are still followed and would not have told.
# Guided pictures are read right more often than test pictures: guidance, like blur, draws the typical, and what it costs in variety, neither number shows by itself.
#
# **Beware:** the settings of this distillation were chosen among a dozen runs by the distance of their four-step pictures.
# The recorded run draws with other seeds, but the yardstick is the same, and the solver's steps were not tuned at all.
#
# **Fused or not?** An adapter can stay beside the weights, or its product can be added to them: then it is *fused*, without layers of its own.

# %%
beside = measure.parameters(unfused.unet).value / measure.parameters(unet).value - 1
share = record.find("adapter_share", Measurement.exact(100 * beside, "%"))
print(f"the adapter has {share} of the U-Net's parameters")
lab.guess("not_fused_times_plain", "unfused: time divided by plain time?", "×", None)

# %%
point = (noise, path[0][2], text)
networks = {"plain": unet, "not_fused": unfused.unet, "fused": distilled.unet}
evaluations = {name: partial(network, *point) for name, network in networks.items()}
timings = time_in_turn(evaluations, 10 * settings.timing_rounds)
for name in ("not_fused", "fused"):
    ratio = record.find(f"{name}_times_plain", timings.ratio(name, "plain"))
    print(f"{name}: {ratio} the time of plain")
print("plain against itself:", record.find("evaluation_aa", timings.against_itself))

# %% [markdown]
# How far plain differs from itself is noise of the machine; a smaller effect counts as none.
#
# <details><summary>Why <code>not_fused_times_plain</code>?</summary>
#
# The share of the parameters is the wrong guess.
# Each adapted layer calls two more layers and adds their result, and a call costs time, however small it is.
# Fused, the product of the two matrices is part of the weight, and no call is left.
#
# </details>
#
# ## 5 · Half the tokens
#
# The latent has one token for each position.
# Of each square of two by two tokens one is a *destination* and stays.
# Each of the other three looks in the whole picture for the destination most similar to it by the cosine; the most similar pairs merge into their mean, up to the share that was asked for.
# How many merge is chosen; *which* ones, the picture says.

# %%
display(show(token_merging.match))
latent, _, time = path[-1]
tokens = token_merging.tokens_compared(unet, latent, time, text)
matching = token_merging.match(tokens, side, side, ratio=0.5)
drawings.merged_tokens(behind[-1], matching, side, side)

# %% [markdown]
# This is section 1's boot at its last step, matched by the U-Net's own tokens; what is covered has merged away.
# The outline keeps its tokens, and plain parts lose most; a group, one colour on the right, is scattered over a part and is no patch of neighbours.
# Now count, and time four steps; as in the authors' library `tomesd`, only the layers that see most tokens merge.

# %%
HALF = Variant("LCM-LoRA", 4, merged=0.5)
merged = samplers.copied(distilled)
token_merging.merge_tokens_(merged, 0.5)
for name, pipeline in (("all tokens", distilled), ("half merged", merged)):
    seen = token_merging.tokens_seen(pipeline.unet, *point)
    print(f"{name}: self-attention sees {', '.join(map(str, seen.values()))}")
calls = {v: partial(draw, v, prompts[:1]) for v in (FOUR, HALF)}
timings = time_in_turn(calls, settings.timing_rounds, warmup=1)
record.find("merging_gain", timings.ratio(FOUR, HALF))
print(f"four steps against themselves: {timings.against_itself}")
for share in (0.25, 0.5, 0.75) if scores else ():
    farther = scores.apart("distance", Variant("LCM-LoRA", 4, merged=share), FOUR)
    print(f"{share:.0%} merged: {farther} farther from real pictures")

# %% [markdown]
# **Look at the dose.** If merging did harm because tokens are lost, more merging would do more harm; compare the three lines.
# Neither lost tokens nor a harm that is the same at every share explains them; it is not understood.
#
# <details><summary>Why <code>merging_gain</code>?</summary>
#
# Half the tokens are a quarter of the pairs, but only in self-attention, and only in the largest layers.
# Convolutions and most linear layers do as much as before.
# And finding the pairs and copying back has a price of its own, in every layer and every step.
#
# </details>
#
# When does it pay?
# *Plain* attention writes out all pairs of tokens; *fused* attention {cite}`dao2022flashattention` (ours so far) computes the same without, and leaves less to gain.
#
# **Ask yourself:** if self-attention and its linear layers take a quarter of the time, how much can merging gain at most?
#
# <details><summary>Answer</summary>
#
# If they cost nothing, three quarters are left: $1 / 0.75 \approx 1.33$ times; the search has its price, and more tokens make their share larger.
# The share printed below leaves out these linear layers, and counts attention to the prompt.
#
# </details>

# %%
shares = measure.time_by_kind(partial(unet, *point), on_gpu=device == "cuda")
print("attention:", record.find("attention_share", shares["attention"]), "of the time")
pays = []
for factor in settings.resolutions:
    size = int(side * factor)
    large = torch.randn(1, unet.config.in_channels, size, size).to(device, precision)
    for name in ("plain", "fused"):
        at, rounds = (large, *point[1:]), settings.timing_rounds
        timings = timing.evaluations_with_merging(base, at, name, rounds)
        gain = record.find(f"merging_{name}_{factor:g}", timings.ratio("all", "merged"))
        took = timings.latency("all")
        pays.append([f"{size**2:,} tokens, {name}", str(took), str(gain)])
Table(["one evaluation", "all tokens", "gain of merging half"], pays)

# %% [markdown]
# ## 6 · The stack: which part did the work?
#
# Each technique alone, then all together, one picture at a time, timed in turn.
# Beside them a small U-Net, distilled with blocks removed in the manner of BK-SDM {cite}`kim2024bksdm`: fewer layers in place of fewer steps.

# %%
PARTS = {
    "fewer steps": Variant("DPM-Solver++", 4, GUIDANCE),
    "no guidance": UNGUIDED,
    "token merging": Variant("DPM-Solver++", 25, GUIDANCE, 0.5),
}
SMALL = Variant("small, DPM-Solver++", 25, GUIDANCE)
timed = [BASE, *PARTS.values(), HALF, RIVAL, Variant("DPM-Solver++", 8)]
timed += [Variant("LCM-LoRA", n) for n in (2, 4, 8)]
if loaded.small:
    pipelines[SMALL.sampler] = samplers.with_unet(base, loaded.small)
    timed.append(SMALL)
    kept = measure.parameters(loaded.small).value / measure.parameters(unet).value
    record.find("small_removed", Measurement.exact(100 * (1 - kept), "%"))
for v in timed:
    draw(Variant(v.sampler, 1, v.guidance, v.merged), prompts[:1])  # allocates
calls = {str(v): partial(draw, v, prompts[:1]) for v in timed}
timings = time_in_turn(calls, settings.timing_rounds, warmup=0)
for v in timed:
    cost = timings.latency(str(v)), timings.ratio(str(BASE), str(v))
    record.add(str(v), latency=cost[0], speedup=cost[1], **scores.known(v))
record.find("lcm_speedup", timings.ratio(str(BASE), str(FOUR)))
print("baseline against itself:", record.find("generation_aa", timings.against_itself))
alone = {part: str(variant) for part, variant in PARTS.items()}
stack = Product.of_times(timings, str(BASE), alone, str(HALF))
record.keep("Text to image: steps × guidance × merging", "time", stack)
record.find("steps_speedup", stack.factors["fewer steps"])
record.find("guidance_speedup", stack.factors["no guidance"])
print("the whole over the product:", record.find("stack_share", stack.share))
plot.waterfall(stack, "faster")

# %% [markdown]
# Steps and guidance divide the same number of evaluations, so they multiply as long as nothing else takes time.
# What neither makes faster takes a larger share of the time of both, which pulls both below their product.
# This share is the median over rounds, not the quotient of two bars: an interval with both 1 and 0.95, section 9's bound, decides nothing.
#
# <details><summary>Why <code>lcm_speedup</code>?</summary>
#
# 25/4 forgets guidance, which doubles the evaluations of the baseline only.
# 12.5 counts a guided step as two evaluations, but they run as one batch, which seems to cost less than two: see `guidance speedup` in section 9.
# What is done once for a picture, in text encoder and decoder, counts more beside four evaluations than beside 50.
#
# </details>
#
# ## 7 · Quality beside cost
#
# Latency here, distance of the recorded run: up and left is better, the **front** is what no other beats in both, and the dotted line is the floor.

# %%
if scores:
    front = [str(v) for v in timed if v.guidance == 1 or v in (BASE, SMALL)]
    display(drawings.above_the_floor(record, front, "autoencoder"))

# %% [markdown]
# Which samplers lie on the front, and where does the solver catch up with the adapter, which was tuned on this axis?
#
# ## 8 · At full size
#
# An article {cite}`metaintelligence_stacking` stacks BK-SDM-Small, four steps of LCM-LoRA and merging of half the tokens, and promises more than ten times on a T4.
# `labkit.recipes.full_size_diffusion` timed Stable Diffusion 1.5 and BK-SDM-Small on a GPU with random weights: the time depends on the architecture alone, and there is no picture.
# One picture keeps a T4 busy; the larger GPU draws eight, and even so unguided steps wait for the CPU. No T4 was timed.

# %%
READ = "nvidia_h200"  # the recorded run
full = runs.gpu_run().record
rows = {
    "4 steps": "4 steps, guided",
    "no guidance": "25 steps, unguided",
    "BK-SDM-Small": "25 steps, guided, BK-SDM-Small",
    "token merging": "25 steps, guided, token merging",
    "all": "4 steps, unguided, BK-SDM-Small, token merging",
}
eager = {k: full.get(f"{v}, eager, batch 8", "speedup") for k, v in rows.items()}
whole = eager.pop("all")
article = Product("25 guided steps", "the article's stack", eager, whole)
record.find("full_size_article_stack", article.measured, READ)
record.find("full_size_article_product", article.predicted, READ)
plot.waterfall(article, "faster")

# %% [markdown]
# <details><summary>Why <code>full_size_article_stack</code>?</summary>
#
# The product is what somebody expects who multiplies the parts; the whole is what a user gets.
# A smaller U-Net saves little where only four evaluations are left, and the decoder is as slow as before.
#
# </details>
#
# That stack was timed and never made to draw: an adapter is made for the layers of one U-Net.
# The authors {cite}`luo2023lcmlora` promise plugging in for *fine-tuned* models, which keep the architecture.
# The next cell tries it on our small U-Net; whether the published adapter loads on BK-SDM-Small was not tried.
#
# The lines `merging half` time one evaluation, recorded and replayed without the CPU; run eagerly, one picture of 512 pixels gets slower, too.
# The table has one picture at a time, both sides under `torch.compile`; again no picture was seen.
# DeepCache {cite}`ma2024deepcache` reuses deep features from one step to the next, and needs steps that resemble each other.

# %%
if loaded.small:
    fit, layers = lcm.layers_that_fit(pipelines[SMALL.sampler], loaded.adapter)
    share = Measurement.exact(100 * fit / layers, "%")
    print("layers that fit:", record.find("adapter_fits_small", share))
for of in ("plain_512", "fused_512", "plain_1024", "fused_1024"):
    key = "full_size_merging_" + ("plain" if of == "plain_1024" else of)
    gain = record.find(key, full.findings[f"merging_{of}"], READ)
    print(f"merging half, {of.replace('_', ' attention, ')} pixels: {gain}")
compiled = {
    "25 steps, guided": "",
    "25 steps, guided, DeepCache": "full_size_deepcache",
    "25 steps, guided, BK-SDM-Small": "full_size_small",
    "4 steps, unguided": "full_size_lcm_compiled",
    "4 steps, unguided, token merging": "",
    "4 steps, unguided, BK-SDM-Small": "",
}
cells = []
for name, key in compiled.items():
    row = full.rows[f"{name}, compiled"].measurements
    cells.append([name, str(row["latency"]), str(row["over_compiled"])])
    if key:
        record.find(key, row["over_compiled"], READ)
Table(["compiled, on the GPU", "latency", "times faster"], cells)

# %% [markdown]
# ## 9 · The ledger
#
# Speed is measured here, or read from the run on a GPU; distances and prompts are read from the recorded scores, and running this lab again cannot change them.
# Adapter and small network were each trained once: what another training would give, no interval here says.

# %%
together = full.get("4 steps, unguided, BK-SDM-Small, compiled, batch 8", "speedup")
record.find("full_size_with_compiler", together, READ)
compared = (
    ("lcm_adds", "distance", FOUR, BASE),
    ("two_steps_add", "distance", Variant("LCM-LoRA", 2), BASE),
    ("lcm_adds_to_unguided", "distance", FOUR, UNGUIDED),
    ("lcm_adds_to_rival", "distance", FOUR, RIVAL),
    ("bare_adds", "distance", BARE, BASE),
    ("merged_adds", "distance", HALF, FOUR),
    ("small_adds", "distance", SMALL, BASE),
    ("merged_prompt_loss", "prompt", FOUR, HALF),
    ("lcm_follows_more_than_unguided", "prompt", FOUR, UNGUIDED),
)
for key, score, variant, than in compared if scores else ():
    record.find(key, scores.apart(score, variant, than), "text_to_image/score")
display(claims.judge("claims.toml", record))
headline = (
    "four steps: {lcm_speedup} as fast; merging on top: {merging_gain}; the article's: "
    "{full_size_article_stack}, its parts multiply to {full_size_article_product}"
)
lab.finish(headline)

# %% [markdown]
# Each condition stands in `claims.toml`; the second table has the recorded runs. (A distance of up to 0.1 more counts as none; round brackets leave a claim undecided, and so does a bound inside the interval.)
# - *Ten times by stacking*: the condition counts the compiler, and no merging; over a compiled baseline it stays below ten.
# - *Six times*: the bound is five and a half or more, and steps alone are at most $25/4$. Dropping guidance is the rest, and the article's own code drops it without saying so.
# - *Two to four steps*: is the whole interval of `lcm adds` above the bound, and does that of `lcm adds to unguided` reach 0.1? `lcm follows more than unguided` says which of those two follows its prompts.
# - *Merging*: with large pictures fused attention has taken most of the saving. With plain attention, as the authors had it, in one replayed evaluation, half of the tokens gain much less at 512 pixels here than there: this lab does not know why.
# - *Nearly as good*: the table of BK-SDM's own repository has an FID, a Fréchet distance, of 13.05 for the whole and 16.98 for Small {cite}`kim2024bksdm`.
#
# ## 10 · Try, and remember
#
# 1. Draw the same prompt with fifty seeds, with 25 guided steps and with four of the adapter. Which set is more varied, and which number in this lab would have told you?
# 2. Merge in the first two of the four steps only, then in the last two. Which costs more?
# 3. Draw the merged tokens at step 1. What do they follow before there is a picture?
# 4. Give the adapter other times to leap from than its scheduler's. Which of the four matters most?
#
# Five lines to remember:
# - The number of evaluations is the bill; steps and guidance are its factors.
# - One plain step goes to a mean, which is a blur; a consistency model is trained to go to the end.
# - The adapter makes four steps work, and it fits one architecture.
# - Merging pays for slow attention and many tokens: first use the fast attention.
# - Compare like with like, compiled with compiled, or your factor is somebody else's.
#
# **Where it leads.** Lab 05 asks in which order techniques are stacked, and what each of them adds.

# %%
lab.sources()
