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
# # Assignment 01 · Pruning × quantization
#
# You write the parts of Lab 01 yourself: what a sparsity promises, which weights go, how a weight becomes eight bits,
# what timings prove, and how BatchNorm follows a pruned network. 22 points, planned for 75 minutes. Each exercise
# stands alone: none uses the answer of another. Put your code where `...` stands. The cell below each exercise runs the
# public tests; hidden tests of the same kind are run when it is graded.
#
# The exercises belong to these sections of the lab: 1 to sections 1 and 2, 2 and 3 to section 2, 4 to section 7, and 5
# to section 4.1.

# %%
import copy
import math
import statistics

import torch
from torch import nn

# %% [raw]
# # BEGIN QUESTION
# name: predicted_rates
# points: 4

# %% [markdown]
# ## 1 · How sparse, and what should that save?
#
# *easy, 10 minutes, 4 points*
#
# The sparsity $s$ of a model is the share of zeros among the weights of all its `nn.Conv2d` and `nn.Linear` layers, at
# any depth, every weight counted alike. Biases, BatchNorm, embeddings and all else are not counted at all. If the other
# weights take $b$ bits each, the naive product promises a file $32 / ((1-s)\,b)$ times smaller than one of 32-bit
# weights. But the file must also say where the zeros are. If they lie at random, that takes at least
# $H(s) = -s \log_2 s - (1-s) \log_2 (1-s)$ bits a weight, with $H(0) = 0$. At this bound the rate is
#
# $$ r(s, b) = \frac{32}{H(s) + (1-s)\,b} . $$
#
# Return a dictionary of numbers: `"sparsity"` (a fraction), `"naive"`, `"bound"`, which is $r(s, b)$, and `"share"`:
# the whole as a share of the product of its parts, each at its own bound, $r(s, b)$ over $r(s, 32) \cdot r(0, b)$.
# Raise `ValueError` if there is no such layer, if all their weights are zero, or unless $b > 0$.
#
# *Example.* Two Linear layers, weights `[[1, 2], [3, 0]]` and `[[0, 0]]`: $s = 3/6$, while the mean over layers would
# be 0.625. With $b = 8$, $H = 1$: naive 8, bound $32/5 = 6.4$; the parts alone $32/17$ and 4, the share 0.85.
#
# <details><summary>Hint</summary>
#
# `model.modules()` visits every depth. `math.log2(0)` raises an error: what does $s \log_2 s$ become as $s$ goes to 0?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def predicted_rates(model: nn.Module, bits: float) -> dict[str, float]:
    """The model's "sparsity", and how many times smaller it makes a file with `bits` a
    weight: "naive", at the "bound", and the "share" of the product of the parts.
    """
    # BEGIN SOLUTION
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    left = sum(m.weight.count_nonzero().item() for m in layers)
    if not left or bits <= 0:
        raise ValueError("no Conv2d or Linear weight is left, or bits <= 0")
    kept = left / sum(m.weight.numel() for m in layers)
    positions = -sum(p * math.log2(p) for p in (kept, 1 - kept) if p > 0)
    bound, pruned = (32 / (positions + kept * b) for b in (bits, 32))
    share = bound / (pruned * 32 / bits)
    naive = 32 / (kept * bits)
    return {"sparsity": 1 - kept, "naive": naive, "bound": bound, "share": share}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_half_of_the_weights_in_eight_bits(predicted_rates):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    model[1].weight.data = torch.zeros(1, 2)
    found = predicted_rates(model, 8)
    assert found is not None, "nothing is returned"
    for key, value, hint in (
        ("sparsity", 0.5, "3 of 6; 0.625 is the mean over layers, biases are out"),
        ("naive", 8, "zeros cost nothing: 32 bits become 0.5 * 8"),
        ("bound", 6.4, "32 bits become 1 for the position and 0.5 * 8 for the value"),
        ("share", 0.85, "6.4 over 32/17 (pruned, 32 bits) times 4 (dense, 8 bits)"),
    ):
        got = found[key]
        assert abs(got - value) < 1e-4, f"{key} is {got}, expected {value}: {hint}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_models_with_other_layers_among_them(predicted_rates):
    from math import log2

    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(1)
    for dense, bits in ((0.5, 2.5), (0.03, 4), (0.9, 32)):
        conv, linear = nn.Conv2d(3, 7, 3), nn.Linear(7, 50)
        block = nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(7)), linear)
        model = nn.Sequential(block, nn.Embedding(4, 6), nn.Conv1d(2, 3, 3))
        masks = []
        for layer in (conv, linear):
            chance = torch.rand(layer.weight.shape, generator=generator)
            masks.append(chance < dense)
            layer.weight.data = torch.where(masks[-1], chance - 2, -0.0)
        k = torch.cat([mask.flatten() for mask in masks]).float().mean().item()
        h = -k * log2(k) - (1 - k) * log2(1 - k)
        r, alone = 32 / (h + k * bits), 32 / (h + k * 32)
        expected = {"sparsity": 1 - k, "naive": 32 / k / bits, "bound": r}
        found = predicted_rates(model, bits)
        for key, value in {**expected, "share": r / alone / 32 * bits}.items():
            text = f"{bits} bits: {key} is {found[key]}, expected {value}"
            assert abs(found[key] - value) < 1e-3 * value, text


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_no_zeros_and_nothing_but_zeros(predicted_rates):
    from torch import nn

    empty, layer = nn.Linear(2, 2), nn.Linear(3, 2)
    empty.weight.data.zero_()
    layer.weight.data.fill_(1e-30)
    found = predicted_rates(layer, 8)
    for key, value in {"sparsity": 0, "naive": 4, "bound": 4, "share": 1}.items():
        assert abs(found[key] - value) < 1e-5, f"no zeros: {key} is {found[key]}"
    for model, bits in ((nn.BatchNorm2d(3), 8), (empty, 8), (layer, 0), (layer, -8)):
        try:
            predicted_rates(model, bits)
        except ValueError:
            continue
        raise AssertionError(f"{model} with {bits} bits must raise ValueError")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: global_masks
# points: 4

# %% [markdown]
# ## 2 · One threshold for the whole network
#
# *medium, 15 minutes, 4 points*
#
# Global magnitude pruning drops the weights of smallest $|w|$, wherever they stand. `weights` maps names of layers to
# float32 tensors of any shape, not always contiguous in memory. Of their $n$ weights together, exactly `round(s * n)`
# are dropped, in Python's rounding, for a sparsity $0 \le s < 1$. Of equal magnitudes the first are dropped first: in
# the order of the dictionary, and within a tensor in the order of `flatten()`. Return the masks under the same names:
# bool tensors of the weights' shapes, `True` where a weight is kept. The weights stay as they are.
#
# *Example.* `{"a": [1, -2], "b": [[3, -4], [-5, 6]]}` and $s = 0.5$: the three smallest go, both of `a` and the first
# of `b`. Layer by layer, `a` would lose one, and `b` two.
#
# <details><summary>Hint</summary>
#
# Make one long vector, decide there, and cut it up again with `split`. A comparison with a threshold cannot tell equal
# magnitudes apart; a sort with `stable=True` keeps their order.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def global_masks(
    weights: dict[str, torch.Tensor], sparsity: float
) -> dict[str, torch.Tensor]:
    """Masks (bool, True where a weight is kept) that drop the round(sparsity * n)
    smallest of n weights by magnitude, of equal ones the first.
    """
    # BEGIN SOLUTION
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])  # (n,)
    order = magnitudes.argsort(stable=True)
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[order[: round(sparsity * len(magnitudes))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_threshold_and_the_first_of_equals_go(global_masks):
    import torch

    for b, a, hint in (
        ([1, -2], [[3, -4], [-5, 6]], "the threshold must be one for all layers"),
        ([1, -1], [[-1, 1], [2, 2]], "of equal magnitudes the first go, b before a"),
    ):
        weights = {"b": torch.tensor(b).float(), "a": torch.tensor(a).float()}
        masks = global_masks(weights, 0.5)
        assert masks is not None, "nothing is returned"
        for name, expected in (("b", [0, 0]), ("a", [0, 1, 1, 1])):
            mask = masks[name]
            text = f"mask {name} is {mask.dtype}, {tuple(mask.shape)}: bool, same shape"
            assert mask.dtype == torch.bool and mask.shape == weights[name].shape, text
            got = mask.flatten().int().tolist()
            text = f"{hint}: layer {name} keeps {sum(got)} weights, not {sum(expected)}"
            assert got == expected, f"{text}: {got} for {expected}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_layers_with_ties_and_strides(global_masks):
    import torch

    generator = torch.Generator().manual_seed(3)
    for digits in (0, 6):  # rounded to integers, most magnitudes occur often
        z = torch.randn(6, 4, generator=generator).round(decimals=digits)
        a = 3 * torch.randn(3, 2, 2, generator=generator).round(decimals=digits)
        weights = {"z": z.t(), "a": a}  # z.t() (4, 6) is not contiguous
        values = torch.cat([w.flatten().abs() for w in weights.values()]).tolist()
        order = sorted(range(36), key=lambda i: (values[i], i))
        for sparsity in (0.26, 0.5, 0.77):
            masks = global_masks(weights, sparsity)
            dropped = set(order[: round(sparsity * 36)])
            got = [masks[name].flatten().tolist() for name in weights]
            assert masks["z"].shape == (4, 6) and masks["a"].shape == (3, 2, 2)
            text = f"sparsity {sparsity}, weights {values}: kept {got}"
            assert sum(got, []) == [i not in dropped for i in range(36)], text


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_exact_counts_and_untouched_weights(global_masks):
    import torch

    # 0.29 * 100 is 28.999999999999996 in floating point.
    for sparsity, count in ((0.29, 29), (0.0, 0), (0.57, 57), (0.99, 99)):
        weights = {"a": torch.arange(60.0) - 30.25, "b": torch.arange(40.0) - 20.1}
        before = {name: w.clone() for name, w in weights.items()}
        masks = global_masks(weights, sparsity)
        dropped = sum((~masks[name]).sum().item() for name in before)
        assert dropped == count, f"{sparsity} of 100: dropped {dropped}, not {count}"
        for name, w in before.items():
            assert torch.equal(weights[name], w), f"the weight {name} was changed"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: int8_per_channel
# points: 4

# %% [markdown]
# ## 3 · Eight bits, and back
#
# *medium, 15 minutes, 4 points*
#
# Affine quantization ([Jacob and others, 2018](https://arxiv.org/abs/1712.05877)) stores integer codes $q$ for which
# $w \approx s\,(q - z)$: the scale $s$ is the width of a step, the zero point $z$ the code of zero. Give each output
# channel $c$ (index along the first dimension) its own:
#
# - *symmetric*: $s_c = \max |w_c| \,/\, 127$ and $z_c = 0$;
# - *affine*: from $l_c = \min(0, \min w_c)$ to $h_c = \max(0, \max w_c)$, so that zero lies inside and pruned weights
#   stay zero; $s_c = (h_c - l_c) / 255$ and $z_c = \operatorname{round}(-128 - l_c / s_c)$.
#
# In both, $q = \operatorname{clamp}(\operatorname{round}(w / s_c) + z_c, -128, 127)$. A channel of zeros has $s_c = 1$.
# `round` may take a half up or down. `weight` is float32, (out, in) or (out, in, height, width), and stays as it is.
# Return four tensors: the codes (int8, shape of the weight), the scales (float32, (out,)), the zero points (any integer
# dtype, (out,)) and the restored weight $s_c\,(q - z_c)$ (float32, shape of the weight).
#
# *Example.* The channel $(-254, 0, 100)$, symmetric: $s = 2$, $q = (-127, 0, 50)$. The channel $(0, 255, 100)$, affine:
# $s = 1$, $z = -128$, $q = (-128, 127, -28)$. Symmetric, its step would be twice as wide, and half the codes unused.
#
# <details><summary>Hint</summary>
#
# `weight.flatten(1)` makes a row of each channel, and `scale[:, None]` meets rows. Stay in floating point until the
# end: in int8, $127 - (-128)$ is $-1$. Replace a scale of zero before you divide by it.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def int8_per_channel(
    weight: torch.Tensor, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes (int8, shape of `weight`), scales (float32, (out,)), zero points (integer,
    (out,)) and the restored weight (float32) of a weight (out, in, ...).
    """
    # BEGIN SOLUTION
    rows = weight.flatten(1)  # (out, all else)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]  # (out, 1)
    codes = ((rows / step).round() + shift).clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_channels_with_a_scale_each(int8_per_channel):
    import torch

    small, wide = [[-254, 0, 100], [0, 127, -3]], [[0, 255, 100], [-510, -100, -20]]
    for weight, symmetric, s, z, codes in (
        (small, True, [2, 1], [0, 0], [[-127, 0, 50], [0, 127, -3]]),
        (wide, False, [1, 2], [-128, 127], [[-128, 127, -28], [-128, 77, 117]]),
    ):
        weight, case = torch.tensor(weight).float(), f"symmetric {symmetric}"
        answer = int8_per_channel(weight, symmetric)
        assert answer is not None, "nothing is returned"
        q, scale, zero, restored = answer
        s = torch.tensor(s).float()
        text = f"{case}: one scale a channel, {s.tolist()}, got {scale.tolist()}"
        assert scale.shape == (2,) and torch.allclose(scale, s), text
        assert zero.tolist() == z, f"{case}: zero points {zero.tolist()}, expected {z}"
        text = f"{case}: round(w / s) + z is {codes}, got {q.tolist()}, {q.dtype}"
        assert q.tolist() == codes and q.dtype == torch.int8, text
        text = f"{case}: s (q - z) is {restored.tolist()}: did q - z wrap around?"
        assert torch.allclose(restored, weight), text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_weights_are_restored_to_half_a_step(int8_per_channel):
    import torch

    generator = torch.Generator().manual_seed(4)
    for shape in ((5, 7), (6, 3, 3, 3), (4, 4), (3, 1)):
        rows = torch.randn(shape, generator=generator).flatten(1)
        rows = rows * torch.logspace(-3, 2, len(rows))[:, None]
        rows[0], rows[1] = rows[0].abs() + 0.01, -rows[1].abs() - 1  # one side of zero
        span = rows.amax(1).clamp(min=0) - rows.amin(1).clamp(max=0)
        for symmetric in (True, False):
            q, scale, zero, restored = int8_per_channel(rows.view(shape), symmetric)
            expected = rows.abs().amax(1) / 127 if symmetric else span / 255
            case = f"shape {shape}, symmetric {symmetric}"
            assert q.dtype == torch.int8 and not zero.is_floating_point(), case
            assert q.shape == restored.shape == shape, f"{case}: {q.shape}"
            assert scale.shape == zero.shape == (len(rows),), f"{case}: {scale.shape}"
            text = f"{case}: scales {scale.tolist()}, expected {expected.tolist()}"
            assert torch.allclose(scale, expected, rtol=1e-4, atol=0), text
            step, shift = scale.double()[:, None], zero.double()[:, None]
            decoded = step * (q.flatten(1) - shift)
            off = ((decoded - rows).abs() / step).max()
            assert off <= 0.51, f"{case}: codes are off by {off:.2f} steps, not by 0.5"
            off = ((restored.flatten(1) - decoded).abs() / step).max()
            assert off <= 0.01, f"{case}: the restored weight is not s (q - z)"
            assert not symmetric or not shift.any(), "symmetric: the code of zero is 0"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_zeros_stay_zero_and_the_weight_stays_as_it_is(int8_per_channel):
    import torch

    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(4, 2, 3, 3, generator=generator) + 0.3
    weight[torch.rand(weight.shape, generator=generator) < 0.6] = 0
    weight[2], weight[3] = 0, -weight[3]
    before = weight.clone()
    for symmetric in (True, False):
        _, scale, _, restored = int8_per_channel(weight, symmetric)
        assert torch.equal(weight, before), "the weight was changed"
        assert scale[2] == 1, f"a channel of zeros has the scale 1, got {scale[2]}"
        assert (restored[weight == 0] == 0).all(), f"symmetric {symmetric}: zeros moved"
        off = (restored - weight).abs().flatten(1).amax(1)
        assert (off <= 0.51 * scale).all(), f"restored are off by {off.tolist()}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: is_it_faster
# points: 4

# %% [markdown]
# ## 4 · Is it faster?
#
# *medium, 15 minutes, 4 points*
#
# A report says "INT8 runs twice as fast", and the medians agree. Is it proved? Quartiles do not tell: they say what to
# expect of a single call, and stay as wide however often you time. Decide by a 95 % interval of the median. In each of
# $n$ rounds these ran once, in random order: the `baseline`, the `technique`, and the baseline `again`. You get the
# seconds, three lists of $n \ge 1$ positive numbers; place $i$ of each is from round $i$.
#
# - *Pair.* The speed-up of round $i$ is $r_i = \text{baseline}_i / \text{technique}_i$.
# - *Sign test.* The true median lies above the $k$-th smallest $r$ and below the $k$-th largest, but for a chance of
#   $2 \cdot 2^{-n} \sum_{i<k} \binom{n}{i}$. Take the largest $k$ for which that is 5 % or less. If even $k = 1$ is too
#   much, nothing can be decided: the ends are then the smallest and the largest $r$.
# - *A/A.* With $a$ the median of $\text{again}_i / \text{baseline}_i$, the baseline differs from itself by the factor
#   $d = \max(a, 1/a)$. Divide the lower end by $d$, and multiply the upper end by it.
#
# Return a dictionary: `"low"`, `"high"`, and `"verdict"` on "at least `bound` times as fast". It is `"holds"` if the
# whole interval keeps that (the bound itself does), `"fails"` if the whole interval breaks it, and else `"undecided"`.
#
# *Example.* Nine rounds: the baseline takes 10, each time, and the technique 5, 5, 5, 5, 5, 4, 4, 8, 8. For $k = 2$ the
# chance is $2 (1 + 9) / 512$ = 3.9 %, for $k = 3$ it is 18 %. The second smallest $r$ is 1.25, the second largest 2.5.
# If again takes 10, too, "at least 2" is undecided, and "at least 1.25" holds. If it takes 11, then $d = 1.1$: the
# interval is 1.136 to 2.75, and 1.25 is undecided.
#
# <details><summary>Hint</summary>
#
# `math.comb(n, i)`, and integers for comparing: $40 \sum_{i<k} \binom{n}{i} \le 2^n$. How many rounds does $k = 1$ take?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def is_it_faster(
    baseline: list[float], technique: list[float], again: list[float], bound: float
) -> dict:
    """The 95 % interval of the median speed-up, "low" and "high", and the "verdict" on
    "at least `bound` times as fast": "holds", "fails" or "undecided".
    """
    # BEGIN SOLUTION
    n = len(baseline)
    ratios = sorted(b / t for b, t in zip(baseline, technique))
    itself = statistics.median(a / b for a, b in zip(again, baseline))
    apart = max(itself, 1 / itself)
    k = 0
    while k < n // 2 and 40 * sum(math.comb(n, i) for i in range(k + 1)) <= 2**n:
        k += 1
    rank = max(k, 1)
    low, high = ratios[rank - 1] / apart, ratios[-rank] * apart
    verdict = "holds" if low >= bound else "fails" if high < bound else "undecided"
    return {"low": low, "high": high, "verdict": verdict if k else "undecided"}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_nine_rounds(is_it_faster):
    baseline, technique = [10] * 9, [5, 8, 4, 5, 5, 8, 4, 5, 5]
    for again, low, high, verdicts in (
        (10, 1.25, 2.5, {1.25: "holds", 2: "undecided", 2.6: "fails"}),
        (11, 1.25 / 1.1, 2.75, {1.1: "holds", 1.25: "undecided", 2.6: "undecided"}),
    ):
        for bound, verdict in verdicts.items():
            found = is_it_faster(baseline, technique, [again] * 9, bound)
            assert found is not None, "nothing is returned"
            text = f"again takes {again}: low {found['low']}, high {found['high']}"
            text += f", expected {low} and {high}: the second from either end, and A/A"
            right = abs(found["low"] - low) < 1e-6 and abs(found["high"] - high) < 1e-6
            assert right, text
            text = f"at least {bound}: {found['verdict']!r}, expected {verdict!r}"
            assert found["verdict"] == verdict, text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_many_timings_on_a_machine_that_drifts(is_it_faster):
    import random
    from math import comb

    draw = random.Random(6)
    for n in (*range(6, 30), 100):
        drift = [draw.choice([1, 2, 5]) for _ in range(n)]
        rows = [[d * draw.uniform(1, 1.3) for d in drift] for _ in range(3)]
        baseline, technique, again = rows
        r = sorted(b / t for b, t in zip(baseline, technique))
        k = max(
            k for k in range(n) if 2 * sum(map(comb, [n] * k, range(k))) <= 2**n / 20
        )
        a = sorted(y / b for y, b in zip(again, baseline))
        a = (a[n // 2] + a[(n - 1) // 2]) / 2
        low, high = r[k - 1] * min(a, 1 / a), r[-k] * max(a, 1 / a)
        for bound in (low * 0.999, low * 1.001, high * 0.999, high * 1.001):
            found = is_it_faster(list(baseline), list(technique), list(again), bound)
            text = f"{n} rounds, k = {k}: {found}, expected {low} to {high}"
            right = abs(found["low"] - low) < 1e-6 and abs(found["high"] - high) < 1e-6
            assert right, text
            verdict = "undecided" if low < bound <= high else "holds"
            verdict = "fails" if bound > high else verdict
            assert found["verdict"] == verdict, f"at least {bound}, expected {verdict}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_a_few_rounds_decide_nothing(is_it_faster):
    for n in range(1, 8):
        times = [8 * 2**i for i in range(n)], [2 * 2**i for i in range(n)]
        before = [list(row) for row in times]
        for bound, verdict in ((4, "holds"), (5, "fails")):
            found = is_it_faster(*times, times[0], bound)
            expected = verdict if n >= 6 else "undecided"
            text = f"{n} rounds, each four times as fast: {found['verdict']!r}"
            assert found["verdict"] == expected, f"{text}, expected {expected!r}"
            assert abs(found["low"] - 4) < 1e-6 and abs(found["high"] - 4) < 1e-6
        assert [list(row) for row in times] == before, "an argument was changed"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: reestimate_batchnorm
# points: 6

# %% [markdown]
# ## 5 · Measure BatchNorm again
#
# *hard, 20 minutes, 6 points*
#
# Pruning shifts what a layer puts out, while the BatchNorm behind it still subtracts the unpruned layer's mean. Return
# a copy of `model` in which `running_mean` and `running_var` of every BatchNorm (1d, 2d or 3d, at any depth) are those
# of `batches`, an iterable of inputs for `model(x)`, perhaps a generator that can be read only once:
#
# - They are the plain average over the batches. Every batch counts alike, whatever its size; the old statistics do not
#   count. The variance of a batch is, as always for `running_var` in PyTorch, the one with $n - 1$ below.
# - Meanwhile every BatchNorm normalizes by the statistics of the batch, as in training, and everything else is in eval
#   mode: dropout must not blur the measurement.
# - All else in the copy is as in the model: weights, biases, each BatchNorm's `momentum`, and the mode (`training`) of
#   every module, which may differ from module to module. The count `num_batches_tracked` is not tested.
#
# The model itself stays as it is in all of this. Raise `ValueError` if there are no batches.
#
# *Example.* One feature, two batches: (0, 2) with mean 1 and variance 2, (4, 6) with mean 5 and variance 2. So
# `running_mean` is 3 and `running_var` 2. All four numbers together would have the variance 20/3.
#
# <details><summary>Hint</summary>
#
# Read in the documentation of `nn.BatchNorm2d` what `momentum=None` does, and `reset_running_stats()`. The parent of
# all BatchNorm classes is `nn.modules.batchnorm._BatchNorm`. `model.eval()` sets `training` of every module: remember
# all.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def reestimate_batchnorm(model: nn.Module, batches) -> nn.Module:
    """A copy of the model whose BatchNorm statistics are averages over the batches, an
    iterable of inputs (N, ...). Raises ValueError if there are none.
    """
    # BEGIN SOLUTION
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
        norm.train()
    passed = 0
    with torch.no_grad():
        for x in batches:
            model(x)
            passed += 1
    if passed == 0:
        raise ValueError("no batches: there is nothing to measure")
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 2
"""  # END TEST CONFIG


def test_the_average_over_two_batches_without_dropout(reestimate_batchnorm):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2))
    model[1].running_mean.fill_(100)
    batches = [torch.tensor([[0.0, 0], [2, 4]]), torch.tensor([[4.0, 8], [6, 12]])]
    for training in (True, False):
        new = reestimate_batchnorm(model.train(training), batches)
        assert new is not None, "nothing is returned"
        assert (model[1].running_mean == 100).all(), "the model was changed: copy it"
        mean, variance = new[1].running_mean.tolist(), new[1].running_var.tolist()
        text = f"average of the means (1, 2) and (5, 10): (3, 6), got {mean}; dropout?"
        assert torch.allclose(new[1].running_mean, torch.tensor([3.0, 6.0])), text
        text = f"both batches have the variances (2, 8), n - 1 below; got {variance}"
        assert torch.allclose(new[1].running_var, torch.tensor([2.0, 8.0])), text
        modes = [m.training for m in new.modules()]
        text = f"all had training = {training}, in the copy it is {modes}"
        assert modes == [training] * 3, text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_two_batchnorms_and_batches_of_unequal_size(reestimate_batchnorm):
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(7)
    first = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
    block = nn.Sequential(*first, nn.ReLU(), nn.Dropout(0.7))
    model = nn.Sequential(block, nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm1d(5))
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    batches = [torch.randn(n, 2, 5, 5, generator=generator) * n + n for n in (2, 9, 5)]
    model(batches[0] + 3)  # old statistics, which must not count
    expected = {"running_mean": ([], []), "running_var": ([], [])}
    with torch.no_grad():
        for x in batches:
            maps = block[0](x)  # (n, 4, 3, 3)
            affine = block[1].weight, block[1].bias
            hidden = nn.functional.batch_norm(maps, None, None, *affine, training=True)
            features = model[2](hidden.relu().flatten(1))  # (n, 5)
            for i, values in enumerate((maps.transpose(0, 1).flatten(1), features.t())):
                expected["running_mean"][i].append(values.mean(1))
                expected["running_var"][i].append(values.var(1))
    new = reestimate_batchnorm(model, iter(batches))
    for key, pair in expected.items():
        for norm, values in zip((new[0][1], new[3]), pair):
            found, average = getattr(norm, key), sum(values) / 3
            text = f"{key} of {norm} is {found}, expected {average}"
            assert torch.allclose(found, average, rtol=1e-3, atol=1e-3), text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_all_else_stays_as_it_is_and_no_batches_are_refused(reestimate_batchnorm):
    import torch
    from torch import nn

    norms = [nn.BatchNorm3d(3, momentum=0.2), nn.BatchNorm3d(3, momentum=None)]
    model = nn.Sequential(norms[0], nn.Conv3d(3, 3, 1), nn.Dropout(), norms[1])
    for module in model[:2]:
        module.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    batches = (torch.full((2, 3, 2, 2, 2), value) for value in (1.0, 5.0))
    new = reestimate_batchnorm(model, batches)
    assert torch.allclose(new[0].running_mean, torch.tensor(3.0)), "not the average"
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value), (
            f"{key} of the model changed"
        )
        if key.endswith(("weight", "bias")):
            assert torch.equal(new.state_dict()[key], value), (
                f"{key} of the copy differs"
            )
    for name, m in (("model", model), ("copy", new)):
        found = [module.training for module in m.modules()]
        assert found == modes, f"training of the modules of the {name}: {found}"
        found = [m[0].momentum, m[3].momentum]
        assert found == [0.2, None], f"momentum of the {name}: {found}"
    for nothing in ([], iter(())):
        try:
            reestimate_batchnorm(model, nothing)
        except ValueError:
            continue
        raise AssertionError("without batches a ValueError must be raised")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## For discussion
#
# A colleague writes: "I pruned 60 % of the weights and quantized to INT8. The effects multiply: the model is ten times
# smaller, it must be several times faster, and the accuracy on my data is as before." Which three measurements would
# you ask for, each with its baseline and its interval? For each, name a result that would convince you and one that
# would refute it. Which part of it can you refute without any measurement?
