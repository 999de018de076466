# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [raw]
# # ASSIGNMENT CONFIG
# init_cell: false
# check_all_cell: false
# export_cell: false
# requirements:
#   - numpy
#   - torch
# tests:
#   ok_format: false

# %% [markdown]
# # Assignment 03 · Adapters, four bits, and where the memory goes
#
# You count bytes before they are needed, keep large weights out of the rounding, measure what merging loses, find
# parameters that never learn, and decide from losses whether four bits cost anything. Five exercises, 25 points, about
# 100 minutes. Each stands alone.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded.
#
# | Exercise | Section of Lab 03 |
# | --- | --- |
# | 1 · Bytes before they are needed | 1, the idea, and 8, where the memory goes |
# | 2 · The largest stay aside | 3, sixteen numbers |
# | 3 · Does a merged adapter survive? | 6, merge and round |
# | 4 · Parameters that never learn | 5, adapters |
# | 5 · What do the losses decide? | 7, trained to the end |

# %%
import math

import torch

# %% [markdown]
# **Before exercise 1, a guess:** a model has 6.5 billion weights in linear layers and 0.3 billion parameters elsewhere, its
# adapters 0.16 billion numbers. How many times more bytes does full fine-tuning keep than QLoRA, in weights, gradients
# and optimizer together? Write your number in place of `None`. It is not graded; the function of exercise 1 computes
# it, and the cell below the exercise sets both side by side.

# %%
GUESS = None

# %% [raw]
# # BEGIN QUESTION
# name: training_bytes
# points: 5

# %% [markdown]
# ## 1 · Bytes before they are needed
#
# *medium, 20 minutes, 5 points*
#
# A model has `linear` weights in linear layers, a multiple of 16,384, and `other` parameters elsewhere (embeddings,
# norms). An adapter would have `adapters` numbers. Return the bytes of a training step as a dictionary with the keys
# `"weights"`, `"gradients"` and `"optimizer"`, for each `method`:
#
# - `"full"` trains all of the model, in bfloat16, without an adapter, whatever `adapters` says.
# - `"LoRA"` freezes the model, in bfloat16, and trains the adapter, in float32.
# - `"QLoRA"` does the same, but the linear layers are in 4 bits with double quantization: a constant of 8 bits for
#   every block of 64 weights, and a float32 for every 256 constants.
#
# An adapter's numbers count among the weights. A gradient has the dtype of the number that it belongs to. AdamW keeps
# two moments of each trained number, here always in float32. Not counted: activations, logits, workspace, the
# optimizer's count of steps, the levels of the format.
#
# Example: 16,384 linear, 1,000 other, 200 of an adapter. LoRA: weights $2 \cdot 17384 + 4 \cdot 200 = 35{,}568$,
# gradients 800, optimizer 1,600 bytes.
#
# <details><summary>Hint</summary>
#
# Two questions for every group of numbers: how many bytes is one, and is it trained? What is frozen has neither a
# gradient nor moments.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def training_bytes(method, linear, other, adapters):
    """Bytes of weights, gradients and optimizer state of a training step.

    method: "full", "LoRA" or "QLoRA". linear, other, adapters: how many numbers there are
    of each kind. Returns a dictionary of three numbers.
    """
    # BEGIN SOLUTION
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        blocks = linear // 64
        model = linear // 2 + blocks + 4 * (blocks // 256) + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_small_model_by_hand(training_bytes):
    for method, expected, why in (
        ("full", (34_768, 34_768, 139_072), "17,384 numbers of 2, 2 and 4 + 4 bytes"),
        ("LoRA", (35_568, 800, 1_600), "what is frozen has no gradient, no moments"),
        ("QLoRA", (11_252, 800, 1_600), "weights: 8192 + 256 + 4 + 2000 + 800"),
    ):
        got = training_bytes(method, 16_384, 1_000, 200)
        expected = dict(zip(("weights", "gradients", "optimizer"), expected))
        assert got == expected, f"{method}, {why}: expected {expected}, got {got}"
        assert all(getattr(n, "ndim", 0) == 0 for n in got.values()), f"numbers: {got}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_real_backward_pass_leaves_the_predicted_gradients(training_bytes):
    import torch

    half = dict(dtype=torch.bfloat16)
    embedding = torch.nn.Embedding(10, 128, **half).requires_grad_(False)
    linear = torch.nn.Linear(128, 128, bias=False, **half).requires_grad_(False)
    A = torch.nn.Parameter(torch.ones(4, 128))
    B = torch.nn.Parameter(torch.zeros(128, 4))
    x = embedding(torch.arange(10))
    (linear(x).float() + x.float() @ A.T @ B.T).square().sum().backward()
    held = (embedding.weight, linear.weight, A, B)
    expected = {
        "weights": sum(p.nbytes for p in held),
        "gradients": sum(p.grad.nbytes for p in held if p.grad is not None),
    }
    got = training_bytes("LoRA", 128 * 128, 10 * 128, 8 * 128)
    got = {part: got[part] for part in expected}
    assert got == expected, f"beside a layer PyTorch holds {expected}; predicted {got}"


# %%
"""# BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_any_counts(training_bytes):
    import random

    draw = random.Random(5)
    for _ in range(20):
        linear, other = 16_384 * draw.randint(1, 10**6), draw.randint(0, 10**9)
        adapters = draw.randint(1, 10**8)
        for method, bits, trained, size in (
            ("full", 16, linear + other, 2),
            ("LoRA", 16, adapters, 4),
            ("QLoRA", 4 + 8 / 64 + 32 / 16_384, adapters, 4),
        ):
            weights = linear * bits / 8 + 2 * other + 4 * adapters * (method != "full")
            got = training_bytes(method, linear, other, adapters)
            for part, expected in (
                ("weights", weights),
                ("gradients", size * trained),
                ("optimizer", 8 * trained),
            ):
                assert abs(got[part] - expected) < 1, f"{part} of {method}: {got[part]}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %%
if GUESS is not None:
    numbers = 6_500_007_936, 300_000_000, 160_000_000
    full, four_bits = (
        sum(training_bytes(method, *numbers).values()) for method in ("full", "QLoRA")
    )
    print(f"you said {GUESS} times; computed {full / four_bits:.1f} times")

# %% [raw]
# # BEGIN QUESTION
# name: round_aside
# points: 5

# %% [markdown]
# ## 2 · The largest stay aside
#
# *medium, 20 minutes, 5 points*
#
# One large weight spoils its whole block. So keep the largest out of the rounding: of each block, the `aside` weights of
# largest magnitude stay exactly as they are. The *others* are rounded as in NF4: divided by the largest magnitude among
# the others, each takes the nearest level, and the result is multiplied again. Return what is stored stands for,
# float32 in the shape of `weight`.
#
# `weight` is float32 (blocks, block), a block in each row. `levels` is float32 (k,), ascending, its ends are −1 and 1, and 0
# is one of them. `aside` is a whole number from 0 (plain rounding) to block (nothing is rounded). Of equal magnitudes,
# any may stay aside; in the middle between two levels, either will do. Others that are all zero stay zero. Weights may
# be tiny. `weight` is not changed.
#
# Example: levels −1, −0.5, 0, 0.5, 1, the block 8, 0.4, −0.3, 0.1, and `aside` 1. The 8 stays; the others are divided by
# 0.4, become 1, −0.75, 0.25, and give 0.4, −0.4 or −0.2, and 0 or 0.2. With `aside` 0 all three would become 0.
#
# <details><summary>Hint</summary>
#
# `topk` of the magnitudes gives the places of the largest, and `scatter` writes there. What would an absmax of 0
# divide?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def round_aside(weight, levels, aside):
    """The weights after rounding all but the `aside` largest of each block: float32.

    weight: float32 (blocks, block). levels: float32 (k,), ascending from -1 to 1, 0
    among them. aside: how many of each block stay as they are, 0 to block.
    """
    # BEGIN SOLUTION
    places = weight.abs().topk(aside, dim=1).indices
    others = weight.scatter(1, places, 0.0)
    absmax = others.abs().amax(1, keepdim=True)
    scaled = others / torch.where(absmax > 0, absmax, 1.0)
    nearest = (scaled[:, :, None] - levels).abs().argmin(2)
    back = levels[nearest] * absmax
    return back.scatter(1, places, weight.gather(1, places))
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_large_weight_stays_aside(round_aside):
    import torch

    levels = torch.tensor([-1, -0.5, 0, 0.5, 1])
    weight = torch.tensor([[8, 0.4, -0.32, 0.08], [0.2, -1, 0.6, 0]])
    for aside, expected in (
        (0, [[8, 0, 0, 0], [0, -1, 0.5, 0]]),
        (1, [[8, 0.4, -0.4, 0], [0.3, -1, 0.6, 0]]),
    ):
        got = round_aside(weight, levels, aside)
        assert torch.allclose(got, torch.tensor(expected), atol=1e-6), (
            f"aside {aside}: expected {expected}, got {got.tolist()}"
        )


# %%
"""# BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_the_largest_are_exact_and_the_others_take_the_nearest_level(round_aside):
    import torch

    levels = torch.tensor([-1, -0.7, -0.4, -0.15, 0, 0.1, 0.3, 0.65, 1])
    g = torch.Generator().manual_seed(3)
    for scale, aside, shape in (
        (1.0, 1, (9, 16)),
        (1e-6, 3, (5, 64)),
        (30.0, 7, (2, 8)),
    ):
        weight = scale * torch.randn(shape, generator=g)
        given = weight.clone()
        got = round_aside(weight, levels, aside)
        assert torch.equal(weight, given), "the weight was changed"
        assert got.shape == shape and got.dtype == torch.float32
        order = weight.abs().argsort(1, descending=True)
        kept, others = order[:, :aside], order[:, aside:]
        assert torch.equal(got.gather(1, kept), weight.gather(1, kept)), "a large one"
        absmax = weight.abs().gather(1, others).amax(1, keepdim=True)
        scaled = weight.gather(1, others) / absmax
        off = (got.gather(1, others) / absmax - scaled).abs()
        least = (scaled[..., None] - levels).abs().amin(2)
        assert torch.allclose(off, least, atol=1e-4), f"aside {aside}: not the nearest"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_zeros_and_the_ends_of_aside(round_aside):
    import torch

    levels = torch.tensor([-1, -0.5, 0, 1])
    weight = torch.tensor([[0, -5.0, 0, 0], [0, 0, 0, 0], [0.6, 1.0, -0.7, 0.2]])
    for aside in (1, 2):
        got = round_aside(weight, levels, aside)
        assert torch.equal(got[:2], weight[:2]), f"zeros became {got[:2].tolist()}"
        assert not torch.equal(got[2], weight[2]), "the third block is rounded"
    assert torch.equal(round_aside(weight, levels, 4), weight), "all stay aside"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: surviving_share
# points: 6

# %% [markdown]
# ## 3 · Does a merged adapter survive?
#
# *hard, 20 minutes, 6 points*
#
# Two people merge an adapter and quantize the result: four bits, and no adapter any more. One merges it into what the
# four bits stand for, the other into the original weights. Is anything left of it? Write the measurement that decides
# for both. `weight`, float32 (out, in), lies *on the grid* of `quantize`, so that `quantize(weight)` gives it back, or
# *anywhere*. `quantize` takes and returns float32 (out, in), rounded to the levels and unpacked. The adapter is the
# change $\Delta = \frac{\alpha}{r} B A$ with $A$: ($r$, in), $B$: (out, $r$). What is left of it is the difference
# that it makes after rounding, $K = \operatorname{quantize}(W + \Delta) - \operatorname{quantize}(W)$. Return, as a
# float, the share of $K$ in the direction of $\Delta$:
#
# $$ s = \frac{\sum_{ij} K_{ij} \Delta_{ij}}{\sum_{ij} \Delta_{ij}^2} $$
#
# One says that the change survives, zero that it is lost. If $\Delta = 0$, nothing can be lost: return 1. No input is
# changed.
#
# Example: `quantize` is `torch.round`, $\alpha = r = 1$, $B = (1)$, $A = (0.4\;\,0.3)$. For $W = (1\;\,2)$, on the grid,
# the sum is rounded to $W$ again, and $s = 0$. For $W = (1.3\;\,1.8)$ it is rounded to $(2\;\,2)$, and $W$ itself to
# $(1\;\,2)$: $K = (1\;\,0)$ and $s = 0.4 / 0.25 = 1.6$. Two numbers are few: over many, what is the mean?
#
# <details><summary>Hint</summary>
#
# Round the sums, not the change, and `W`, too. `weight += …` changes what the caller holds.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def surviving_share(weight, A, B, alpha, quantize):
    """The share of an adapter's change that is left after merging and quantizing: float.

    weight: float32 (out, in), on the grid of `quantize` or not. A: (r, in). B: (out, r).
    alpha: a number. quantize: from float32 (out, in) to float32 (out, in).
    """
    # BEGIN SOLUTION
    change = alpha / A.shape[0] * (B @ A)
    size = (change**2).sum()
    if size == 0:
        return 1.0
    kept = quantize(weight + change) - quantize(weight)
    return float((kept * change).sum() / size)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_examples(surviving_share):
    import torch

    A, B = torch.tensor([[0.4, 0.3]]), torch.ones(1, 1)
    for weight, factor, expected in (
        ([[1.0, 2.0]], 1, 0.0),
        ([[1.0, 2.0]], 10, 1.0),
        ([[1.3, 1.8]], 1, 1.6),
    ):
        weight = torch.tensor(weight)
        got = surviving_share(weight, factor * A, B, 1, torch.round)
        assert abs(got - expected) < 1e-4, (
            f"W + {(factor * A).tolist()} is rounded to {(weight + factor * A).round()}, "
            f"W to {weight.round()}: expected {expected}, got {got}"
        )
        assert getattr(got, "ndim", 0) == 0, f"a float, not {got}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_in_four_bits_a_small_change_is_lost_on_the_grid_alone(surviving_share):
    import torch

    def quantize(weight):  # 15 levels, evenly spaced; one block a row
        absmax = weight.abs().amax(1, keepdim=True)
        return (7 * weight / absmax).round() / 7 * absmax

    g = torch.Generator().manual_seed(6)
    anywhere = torch.randn(64, 64, generator=g)
    on_grid = quantize(anywhere)
    A, B = torch.randn(4, 64, generator=g), 0.1 * torch.randn(64, 4, generator=g)
    assert torch.equal(quantize(on_grid), on_grid)
    for weight, alpha, expected, text in (
        (on_grid, 0.4, 0.018, "a tiny change is lost on the grid"),
        (on_grid, 80, 0.999, "a huge one survives there"),
        (anywhere, 0.4, 1.004, "off the grid the tiny one survives, too"),
    ):
        got = surviving_share(weight, A, B, alpha, quantize)
        assert abs(got - expected) < 3e-3, f"{text}: {expected} is left, got {got}"


# %%
"""# BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_other_grids_ranks_and_shapes_and_no_input_is_changed(surviving_share):
    import torch

    g = torch.Generator().manual_seed(8)
    for out, inputs, rank, step in ((3, 5, 2, 1.0), (6, 6, 6, 0.5), (16, 8, 4, 2.0)):

        def quantize(weight):
            return (weight / step).round() * step

        anywhere = 3 * torch.randn(out, inputs, generator=g)
        A = torch.randn(rank, inputs, generator=g)
        B = torch.randn(out, rank, generator=g)
        change = 1.5 / rank * B @ A
        for weight in (quantize(anywhere), anywhere):
            kept = quantize(weight + change) - quantize(weight)
            expected = ((kept * change).sum() / change.square().sum()).item()
            before = [t.clone() for t in (weight, A, B)]
            got = surviving_share(weight, A, B, 1.5, quantize)
            assert abs(got - expected) < 1e-3, f"expected {expected:.4f}, got {got}"
            assert all(map(torch.equal, (weight, A, B), before)), "an input was changed"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_an_adapter_that_is_still_zero_loses_nothing(surviving_share):
    import torch

    weight, A, B = torch.ones(4, 3), torch.ones(2, 3), torch.zeros(4, 2)
    got = surviving_share(weight, A, B, 16, torch.round)
    assert got == 1, f"B is zero, as before training: expected 1, got {got}"
    got = surviving_share(weight, A, B + 0.01, 16, torch.round)
    assert abs(got) < 1e-4, f"1.16 is rounded to 1 again: expected 0, got {got}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: idle_parameters
# points: 5

# %% [markdown]
# ## 4 · Parameters that never learn
#
# *hard, 20 minutes, 5 points*
#
# The loss stays where it was, and nothing says why. Run one forward and one backward pass, and return the names of the
# trainable parameters (`requires_grad`) that receive **no gradient** (it is `None`) or **one of zeros only**: a list,
# in the order of `model.named_parameters()`. `compute_loss(model)` gives the loss, a tensor of one number.
#
# - Gradients of an earlier step may still be there. They do not count.
# - A gradient whose entries cancel is not zero, and neither is a tiny one.
# - If the loss depends on no trainable parameter, all of them are idle; `backward()` would raise.
# - Parameters keep their values. What their `.grad` holds afterwards is up to you.
#
# Example: LoRA starts with $B = 0$. In the first step the gradient of $A$, which comes through $B$, is zero: the
# answer is `["A"]`, and one step later it should be `[]`. If it is not, look for a `detach()`.
#
# <details><summary>Hint</summary>
#
# `None` and zero are two questions. What does `loss.requires_grad` say? What adds up if nobody clears the gradients?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def idle_parameters(model, compute_loss):
    """Names of trainable parameters that one step gives no gradient, or zeros: a list.

    model: torch.nn.Module. compute_loss: from the model to a tensor of one number.
    """
    # BEGIN SOLUTION
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    return [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_only_a_is_idle_in_the_first_step_of_lora_and_nothing_later(idle_parameters):
    import torch

    model = torch.nn.Module()
    model.frozen = torch.nn.Parameter(torch.ones(3, 3), requires_grad=False)
    model.A = torch.nn.Parameter(torch.ones(1, 3))
    model.B = torch.nn.Parameter(torch.zeros(3, 1))

    def compute_loss(model):
        x = torch.tensor([1.0, 2.0, 3.0])
        return (x @ model.frozen.T + x @ model.A.T @ model.B.T).square().sum()

    got = idle_parameters(model, compute_loss)
    assert got == ["A"], (
        f"B is zero, so the gradient of A is zeros; the frozen weight is none; got {got}"
    )
    model.B.data += 1
    got = idle_parameters(model, compute_loss)
    assert got == [], f"B is not zero any more: nothing is idle, got {got}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_an_earlier_step_does_not_count_and_values_are_kept(idle_parameters):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model(torch.ones(2)).sum().backward()
    before = [p.detach().clone() for p in model.parameters()]
    got = idle_parameters(model, lambda m: m[0](torch.ones(2)).sum())
    assert got == ["1.weight", "1.bias"], f"layer 1 is not used in this step; got {got}"
    assert all(map(torch.equal, model.parameters(), before)), "a parameter was changed"
    assert all(p.requires_grad for p in model.parameters()), "a parameter was frozen"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_entries_that_cancel_and_tiny_ones_are_gradients(idle_parameters):
    import torch

    model = torch.nn.Module()
    for name in ("cancels", "tiny", "partly", "dead"):
        model.register_parameter(name, torch.nn.Parameter(torch.ones(2)))

    def compute_loss(m):
        partly, dead = m.partly[0], torch.relu(m.dead - 5).sum()
        return m.cancels[0] - m.cancels[1] + 1e-15 * m.tiny.sum() + partly + dead

    got = idle_parameters(model, compute_loss)
    assert got == ["dead"], f"gradients (1, -1), 1e-15, (1, 0) and (0, 0); got {got}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_if_the_loss_depends_on_nothing_trainable_all_are_idle(idle_parameters):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    model[1].weight.requires_grad_(False)
    got = idle_parameters(model, lambda m: m(torch.ones(2)).sum().detach())
    assert got == ["0.weight", "0.bias", "1.bias"], f"all that is trainable; got {got}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: decide
# points: 4

# %% [markdown]
# ## 5 · What do the losses decide?
#
# *hard, 20 minutes, 4 points*
#
# Two methods were trained, each at several learning rates, and each rate with the same seeds. Does the first come within
# `bound` times the perplexity of the second? `ours` and `theirs` are dictionaries with the learning rate as key. Each
# value is a pair: the loss on a *validation* text, a number that is `nan` where training diverged, and the losses on the
# text that is *reported*, one for each seed, in the same order for both methods: float64 (seeds,), in nats per token.
#
# 1. Each method has its own rate: the one of lowest validation loss. Rates that diverged are out.
# 2. Of the reported losses at these two rates, take the difference seed by seed, ours minus theirs.
# 3. Their mean $\bar d$ has the 95 % interval $\bar d \pm t\, s / \sqrt{n}$, with the standard deviation $s$ (divided by
#    $n - 1$) and Student's $t$ for $n$ seeds, which `T` holds. Exponentiate both ends: that is the interval of the ratio of perplexities.
# 4. Return `"holds"` if the whole interval is at most `bound`, `"fails"` if the whole interval is above it, otherwise
#    `"undecided"`. One seed says nothing about spread: undecided.
#
# Example, one rate each: ours 2.02, 2.03, 2.04 and theirs 2.00, 2.00, 2.03. The differences 0.02, 0.03, 0.01 have the
# mean 0.02 and $s = 0.01$; with $t = 4.303$ the interval of the ratio runs from 0.995 to 1.046. A bound of 1.05 holds, one
# of 1.01 is undecided, and one of 0.99 fails.
#
# <details><summary>Hint</summary>
#
# `min` takes a `key`, and `math.isnan` tells which rates are out. The reported text must not choose anything.
#
# </details>

# %%
T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}

# %% [raw]
# # BEGIN SOLUTION


# %%
def decide(ours, theirs, bound):
    """Whether our perplexity is at most `bound` times theirs: "holds", "fails" or "undecided".

    ours, theirs: {rate: (validation loss, reported losses)}, float64 (seeds,).
    """

    # BEGIN SOLUTION
    def best(method):
        rates = [rate for rate in method if not math.isnan(method[rate][0])]
        return method[min(rates, key=lambda rate: method[rate][0])][1]

    apart = best(ours) - best(theirs)
    if len(apart) < 2:
        return "undecided"
    half = T[len(apart)] * apart.std().item() / math.sqrt(len(apart))
    low, high = (math.exp(apart.mean().item() + side * half) for side in (-1, 1))
    return "holds" if high <= bound else "fails" if low > bound else "undecided"
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example(decide):
    import torch

    ours = {1e-3: (2.5, torch.tensor([2.02, 2.03, 2.04]).double())}
    theirs = {1e-3: (2.4, torch.tensor([2.00, 2.00, 2.03]).double())}
    for bound, expected in ((1.05, "holds"), (1.01, "undecided"), (0.99, "fails")):
        got = decide(ours, theirs, bound)
        assert got == expected, (
            f"from 0.995 to 1.046 against {bound}: expected {expected}, got {got}"
        )


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_validation_text_chooses_for_each_its_own_rate(decide):
    import torch

    low = torch.tensor([2.00, 2.01, 2.03, 2.02]).double()
    high = low + torch.tensor([0.10, 0.11, 0.10, 0.09]).double()
    nan = float("nan")
    for ours, theirs, expected in (
        ({1e-4: (2.2, high), 1e-3: (2.3, low)}, {1e-4: (2.1, low)}, "fails"),
        ({1e-4: (2.3, high), 1e-3: (2.2, low)}, {1e-4: (2.1, high)}, "holds"),
        ({1e-2: (nan, high), 1e-3: (2.3, low)}, {1e-4: (2.1, low)}, "holds"),
        ({1e-3: (2.3, low), 1e-2: (nan, high)}, {1e-4: (2.1, low)}, "holds"),
        (
            {1e-4: (2.2, high), 1e-3: (2.3, low)},
            {1e-4: (2.3, high), 1e-3: (2.1, low)},
            "fails",
        ),
    ):
        got = decide(ours, theirs, 1.01)
        chosen = {"ours": ours, "theirs": theirs}
        assert got == expected, f"{chosen}: expected {expected}, got {got}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_seeds_are_paired_and_few_seeds_have_a_wide_interval(decide):
    import torch

    g = torch.Generator().manual_seed(4)
    for n in (3, 5, 8):
        theirs = 2 + torch.randn(n, generator=g).double() / 5  # seeds differ much
        noise = torch.randn(n, generator=g).double()
        noise = (noise - noise.mean()) / noise.std()
        t = {3: 4.303, 5: 2.776, 8: 2.365}[n]
        half = t * 0.01 / n**0.5
        ours = theirs + 0.02 + 0.01 * noise
        low, high = (float(torch.tensor(0.02 + side * half).exp()) for side in (-1, 1))
        for bound, expected in (
            (high + 1e-3, "holds"),
            (high - 1e-3, "undecided"),
            (low + 1e-3, "undecided"),
            (low - 1e-3, "fails"),
        ):
            got = decide({1e-3: (2.0, ours)}, {1e-3: (2.0, theirs)}, bound)
            assert got == expected, (
                f"{n} seeds, {low:.3f} to {high:.3f}, {bound:.3f}: {got}"
            )
    one = torch.ones(1).double()
    got = decide({1e-3: (2.0, one)}, {1e-3: (2.0, one + 5)}, 1.01)
    assert got == "undecided", f"one seed decides nothing, got {got}"
    two = torch.tensor([0.0, 0.001]).double()
    got = decide({1e-3: (2.0, two)}, {1e-3: (2.0, two + two)}, 1.02)
    assert got == "holds", f"two seeds that agree decide, got {got}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## For discussion, not graded by machine
#
# A model was trained with QLoRA and is to answer on a card that holds its four-bit weights and little more. You can
# keep the adapter beside them, merge and quantize again, or merge into 16 bits and buy a larger card. What does each
# cost in bytes, in time a token and in perplexity? Which measurement would change your mind, and on which text would
# you take it?
