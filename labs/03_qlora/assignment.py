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
# You write LoRA and the rounding of NF4, count bytes before they are needed, measure what merging loses, and find
# parameters that never learn. Five exercises, 25 points, about 90 minutes. Each stands alone.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded.
#
# | Exercise | Section of Lab 03 |
# | --- | --- |
# | 1 · The adapter's forward pass | 5, adapters |
# | 2 · Bytes before they are needed | 3, half a bit of constants, and 8, where the memory goes |
# | 3 · Encode to sixteen levels | 3, sixteen numbers |
# | 4 · Does a merged adapter survive? | 6, merge, save, load |
# | 5 · Parameters that never learn | 5, adapters |

# %%
import torch

# %% [raw]
# # BEGIN QUESTION
# name: lora_forward
# points: 4

# %% [markdown]
# ## 1 · The adapter's forward pass
#
# *easy, 10 minutes, 4 points*
#
# For inputs in the last dimension of $x$, return
#
# $$ y = x W^\top + \frac{\alpha}{r}\, x A^\top B^\top $$
#
# with $W$: (out, in), $A$: ($r$, in), $B$: (out, $r$). $x$ is (in), (batch, in) or (batch, tokens, in); $y$ has the
# same shape with *out* in place of *in*. The rank $r$ is read from $A$; $\alpha / r$ need not be whole. Gradients
# reach $A$ and $B$; no input is changed.
#
# Example: $W = 0$, $x = (1, 2, 0)$, $A$ has the rows $(1, 1, 0)$ and $(1, 0, 0)$, $B$ the rows $(0, 0)$ and $(1, 1)$,
# and $\alpha = 1$. Then $r = 2$, $x A^\top = (3, 1)$, $x A^\top B^\top = (0, 4)$, and $y = (0, 2)$.
#
# <details><summary>Hint</summary>
#
# Write the shape behind every factor: (…, in), (in, r), (r, out). Multiplied from the left, nothing as large as $W$
# arises.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def lora_forward(x, weight, A, B, alpha):
    """A frozen linear layer with its adapter: float32 (…, out).

    x: (…, in). weight: (out, in). A: (r, in). B: (out, r). alpha: a number; the adapter
    counts alpha / r times.
    """
    # BEGIN SOLUTION
    rank = A.shape[0]
    return x @ weight.T + alpha / rank * (x @ A.T @ B.T)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example(lora_forward):
    import torch

    x, A = torch.tensor([1.0, 2, 0]), torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    B = torch.tensor([[0.0, 0], [1, 1]])
    got = lora_forward(x, torch.zeros(2, 3), A, B, 1)
    assert got.tolist() == [0, 2], (
        f"x Aᵀ Bᵀ is (0, 4), and alpha / r is 1 / 2: expected (0, 2), got {got.tolist()}"
    )
    got = lora_forward(x, torch.ones(2, 3), A, B, 1)
    assert got.tolist() == [3, 5], (
        f"a weight of ones adds 3 to each output, unscaled; got {got.tolist()}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_any_shape_of_inputs_and_none_is_changed(lora_forward):
    import torch

    g = torch.Generator().manual_seed(1)
    for shape, out, rank in (((4,), 4, 4), ((5, 7), 3, 2), ((2, 3, 6), 9, 4)):
        x = torch.randn(shape, generator=g)
        weight = torch.randn(out, shape[-1], generator=g)
        A = torch.randn(rank, shape[-1], generator=g)
        B = torch.randn(out, rank, generator=g)
        given = [t.clone() for t in (x, weight, A, B)]
        got = lora_forward(x, weight, A, B, 3)
        expected = torch.einsum("...i,oi->...o", x, weight + 3 / rank * (B @ A))
        assert got.shape == expected.shape, (
            f"x of shape {shape} gave {tuple(got.shape)}"
        )
        assert torch.allclose(got, expected, atol=1e-4), (
            f"other values for x of {shape}"
        )
        for before, after in zip(given, (x, weight, A, B)):
            assert torch.equal(before, after), "an input was changed"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_gradients_reach_both_factors(lora_forward):
    import torch

    A, B = torch.ones(2, 3, requires_grad=True), torch.ones(4, 2, requires_grad=True)
    y = lora_forward(torch.ones(5, 3), torch.zeros(4, 3), A, B, 1)
    y.sum().backward()
    for name, factor, expected in (("A", A, 10.0), ("B", B, 7.5)):
        got = factor.grad
        assert got is not None and torch.allclose(
            got, torch.full_like(got, expected)
        ), f"every entry of the gradient of {name} is {expected}, got {got}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: training_bytes
# points: 5

# %% [markdown]
# ## 2 · Bytes before they are needed
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
# optimizer's count of steps, the levels of the format. Another method raises `ValueError`.
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

    method: "full", "LoRA" or "QLoRA", otherwise ValueError. linear, other, adapters:
    how many numbers there are of each kind. Returns a dictionary of three numbers.
    """
    # BEGIN SOLUTION
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(f"method is full, LoRA or QLoRA, got {method!r}")
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
points: 2
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


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_an_unknown_method_is_refused(training_bytes):
    got = training_bytes("LoRA", 16_384, 1, 1)
    assert got["gradients"] == 4, f"LoRA is known; one float32 is trained, got {got}"
    try:
        got = training_bytes("qlora", 16_384, 1, 1)
    except ValueError:
        return
    raise AssertionError(f"an unknown method must raise ValueError, gave {got}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: encode_blocks
# points: 5

# %% [markdown]
# ## 3 · Encode to sixteen levels
#
# *medium, 20 minutes, 5 points*
#
# `weight` is float32 (blocks, block): each row is a block. `levels` is float32 (k,), ascending, its ends are −1 and 1,
# and 0 is one of them; for NF4 they are sixteen, and the tests pass them. Divide each block by its *absmax*, its
# largest magnitude, and give each weight the index of the nearest level. Return
#
# - `codes`, uint8 (blocks, block), and
# - `absmax`, float32 (blocks,).
#
# In the middle between two levels, either will do. A block of zeros has absmax 0 and the code of level 0 throughout.
# Weights may be tiny. `weight` stays as it is.
#
# Example: levels −1, −0.5, 0, 0.25, 1 and the block 0.1, −0.4, 0.3, 0. Its absmax is 0.4, the block becomes 0.25, −1,
# 0.75, 0, and the codes are 3, 0, 4, 2.
#
# <details><summary>Hint</summary>
#
# With a new last dimension, all distances to all levels are one subtraction, and a reduction over that dimension finds
# the nearest. What is 0 / 0, and what could a block of zeros be divided by instead?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def encode_blocks(weight, levels):
    """Codes, uint8 (blocks, block), and absmax, float32 (blocks,), of a weight.

    weight: float32 (blocks, block). levels: float32 (k,), ascending from -1 to 1, k up
    to 256, 0 among them.
    """
    # BEGIN SOLUTION
    absmax = weight.abs().amax(1)
    divisor = torch.where(absmax > 0, absmax, 1.0)
    scaled = weight / divisor[:, None]
    distances = (scaled[:, :, None] - levels).abs()  # (blocks, block, k)
    return distances.argmin(2).to(torch.uint8), absmax
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_three_blocks_by_hand(encode_blocks):
    import torch

    levels = torch.tensor([-1, -0.5, 0, 0.25, 1])
    weight = torch.tensor([[0.1, -0.4, 0.3, 0], [8, -3, 0.5, 2], [0, 0, 0, 0]])
    codes, absmax = encode_blocks(weight, levels)
    assert codes.dtype == torch.uint8, f"codes are uint8, got {codes.dtype}"
    assert torch.allclose(absmax, torch.tensor([0.4, 8, 0])), (
        f"each block has the largest of its magnitudes: 0.4, 8 and 0; got {absmax}"
    )
    assert codes[:2].tolist() == [[3, 0, 4, 2], [4, 1, 2, 3]], (
        "scaled, the blocks are 0.25, -1, 0.75, 0 and 1, -0.375, 0.0625, 0.25; "
        f"got {codes[:2].tolist()}"
    )
    assert codes[2].tolist() == [2, 2, 2, 2], (
        f"level 0 has index 2 here, zeros gave {codes[2].tolist()}: was there a 0 / 0?"
    )


# %%
"""# BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_every_weight_takes_the_nearest_level_of_nf4(encode_blocks):
    import torch

    def quantiles(n):
        return torch.special.ndtri(torch.linspace(0.9677083, 0.5, n + 1)[:-1])

    levels = torch.cat([-quantiles(7), torch.zeros(1), quantiles(8)]).msort()
    levels = levels / levels.max()
    g = torch.Generator().manual_seed(2)
    for scale in (1.0, 1e-6):
        weight = scale * torch.randn(40, 64, generator=g)
        codes, absmax = encode_blocks(weight, levels)
        assert codes.shape == (40, 64) and absmax.shape == (40,)
        assert absmax.dtype == torch.float32
        assert torch.allclose(absmax, weight.abs().max(1).values, atol=0)
        scaled = weight / weight.abs().max(1, keepdim=True).values
        distances = (scaled[..., None] - levels).abs()
        taken = distances.gather(2, codes.long()[..., None])[..., 0]
        off = (taken > distances.min(2).values + 1e-5).sum().item()
        assert off == 0, f"{off} of {weight.numel()} weights have a nearer level"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_other_levels_other_shapes_and_the_weight_is_not_changed(encode_blocks):
    import torch

    g = torch.Generator().manual_seed(4)
    for k, shape in ((1, (1, 1)), (4, (7, 3)), (127, (2, 128))):
        levels = torch.arange(-k, k + 1) / k
        weight = torch.randn(shape, generator=g) - 0.5
        before = weight.clone()
        codes, absmax = encode_blocks(weight, levels)
        assert torch.equal(weight, before), "the weight was changed"
        assert codes.dtype == torch.uint8 and codes.shape == shape
        assert torch.allclose(absmax, before.abs().amax(1))
        off = (levels[codes.long()] * absmax[:, None] - before).abs()
        half_a_step = absmax[:, None] / (2 * k)
        assert (off <= 1.0001 * half_a_step).all(), f"not the nearest of {len(levels)}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: surviving_share
# points: 6

# %% [markdown]
# ## 4 · Does a merged adapter survive?
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
# ## 5 · Parameters that never learn
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
points: 1
"""  # END TEST CONFIG


def test_what_lies_before_a_detach_is_idle(idle_parameters):
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    got = idle_parameters(model, lambda m: m[1](m[0](torch.ones(2)).detach()).sum())
    assert got == ["0.weight", "0.bias"], (
        f"layer 0 lies before the detach(), its gradients are None; got {got}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
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

# %% [markdown]
# ## For discussion, not graded by machine
#
# A model was trained with QLoRA and is to answer on a card that holds its four-bit weights and little more. You can
# keep the adapter beside them, merge and quantize again, or merge into 16 bits and buy a larger card. What does each
# cost in bytes, in time a token and in perplexity? Which measurement would change your mind, and on which text would
# you take it?
