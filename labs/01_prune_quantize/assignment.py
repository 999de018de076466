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
# You decide how a file says where its zeros are, prune in a pattern that hardware likes, round to four bits, judge
# timings, and find out when savings multiply. **20 points, planned for 75 minutes.** Each exercise stands alone: none
# uses the answer of another. Put your code where `...` stands. The cell below each exercise runs the public tests;
# hidden tests of the same kind are run when it is graded. No answer may change what it is given.
#
# The exercises belong to these sections of the lab: 1 to section 1, 2 and 3 to section 2, 4 to sections 2 and 7, and 5
# to sections 2 and 6.

# %%
import math
import statistics

import torch

# %% [markdown]
# Before exercise 1, predict: a layer has 1,024 weights. From which percentage of zeros on is a list that names each
# weight that is left, by its number in the layer, smaller than one bit for every weight? Nobody grades this number.

# %%
my_prediction = None  # percent of zeros

# %% [raw]
# # BEGIN QUESTION
# name: smallest_file
# points: 3

# %% [markdown]
# ## 1 · Where are the zeros?
#
# *easy, 10 minutes, 3 points*
#
# A layer has $n \ge 1$ weights, of which $k$ were kept by pruning; each value that is stored takes $b \ge 1$ bits. `mask`
# is a bool tensor of any shape, `True` where a weight was kept. Three files could hold the layer:
#
# - `"dense"`: all $n$ values, zeros too;
# - `"bitmask"`: one bit for every weight, which says whether it was kept, and the values of the kept ones;
# - `"list"`: for every kept weight its value and its number, from 0 to $n - 1$. A number takes the fewest whole bits that
#   can tell $n$ numbers apart.
#
# Return a dictionary: the bits of each file (whole numbers), and under `"smallest"` the name of the smallest. Of equal
# sizes the one that comes first above is the smallest. Raise `ValueError` if the mask is empty or $b < 1$.
#
# *Example.* $n = 8$, $k = 2$, $b = 16$: dense 128 bits, bitmask $8 + 32 = 40$, list $2 \cdot (16 + 3) = 38$.
#
# <details><summary>Hint</summary>
#
# With 3 bits you count from 0 to 7. How many bits does the largest number, $n - 1$, have? Python's integers know:
# `bit_length()`.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def smallest_file(mask: torch.Tensor, bits: int) -> dict:
    """Bits of a "dense" file, of a "bitmask" and of a "list", and the name of the
    "smallest". Raises ValueError for an empty mask or less than one bit.
    """
    # BEGIN SOLUTION
    n, kept = mask.numel(), int(mask.sum())
    if n == 0 or bits < 1:
        raise ValueError("there is no weight, or a value has no bit")
    number = (n - 1).bit_length()
    sizes = {"dense": n * bits, "bitmask": n + kept * bits}
    sizes["list"] = kept * (bits + number)
    return {**sizes, "smallest": min(sizes, key=sizes.get)}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_eight_weights_of_which_two_are_kept(smallest_file):
    import torch

    mask = torch.tensor([[True, False, False, False], [False, False, True, False]])
    found = smallest_file(mask, 16)
    assert found is not None, "nothing is returned"
    for name, bits, hint in (
        ("dense", 128, "eight values of 16 bits"),
        ("bitmask", 40, "eight bits, and two values of 16"),
        ("list", 38, "two values of 16 bits, each with a number from 0 to 7"),
    ):
        text = f"{name} takes {found[name]} bits, expected {bits}: {hint}"
        assert found[name] == bits, text
        assert getattr(found[name], "ndim", 0) == 0, f"{name}: a number, not a list"
    assert found["smallest"] == "list", f"38 is the smallest, not {found['smallest']}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_layers_of_many_sizes_and_sparsities(smallest_file):
    import torch

    for n, kept, bits in (
        (1024, 102, 8),
        (1024, 103, 8),
        (1025, 94, 8),
        (1000, 1000, 4),
        (27, 9, 1),
        (600, 30, 32),
        (5, 1, 2),
    ):
        mask = torch.zeros(n, dtype=torch.bool)
        mask[torch.randperm(n, generator=torch.Generator().manual_seed(n))[:kept]] = 1
        number = next(m for m in range(20) if 2**m >= n)
        sizes = [n * bits, n + kept * bits, kept * (bits + number)]
        before = mask.clone()
        found = smallest_file(mask.view(1, n, 1), bits)
        assert torch.equal(mask, before), "the mask was changed"
        got = [found[name] for name in ("dense", "bitmask", "list")]
        text = f"{kept} of {n} weights, {bits} bits: {got}, expected {sizes}"
        assert got == sizes, text
        name = ("dense", "bitmask", "list")[sizes.index(min(sizes))]
        assert found["smallest"] == name, f"of {sizes} {name} is the smallest"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_equal_sizes_and_what_is_refused(smallest_file):
    import torch

    keeps_all = torch.ones(4, dtype=torch.bool)
    assert smallest_file(keeps_all[:2], 1)["smallest"] == "dense"
    half = torch.tensor([True, False])  # 2 + 2 bits, and 1 · (2 + 1) bits
    assert smallest_file(half, 2)["smallest"] == "list"
    equal = torch.tensor([True, False, False, False, True, False, False, False])
    found = smallest_file(equal, 1)  # 8 bits, 8 + 2 bits, 2 · (1 + 3) bits
    assert found["list"] == found["dense"] == 8 and found["smallest"] == "dense"
    quarter = torch.arange(16) < 4  # 16 + 4 · 5 bits, and 4 · (5 + 4) bits
    found = smallest_file(quarter, 5)
    assert found["bitmask"] == found["list"] == 36 and found["smallest"] == "bitmask"
    for mask, bits in ((keeps_all[:0], 8), (keeps_all, 0), (keeps_all, -3)):
        try:
            smallest_file(mask, bits)
        except ValueError:
            continue
        raise AssertionError(f"{len(mask)} weights of {bits} bits: no ValueError")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %%
# Your prediction beside what your function says, once both are there.
if my_prediction is not None and "smallest_file" in globals():
    for zeros in range(1, 100):
        layer = torch.arange(1024) < round(1024 * (1 - zeros / 100))
        found = smallest_file(layer, 8)
        if found["list"] < found["bitmask"]:
            print(f"you said {my_prediction} %; your function says {zeros} %")
            break

# %% [raw]
# # BEGIN QUESTION
# name: two_of_four
# points: 4

# %% [markdown]
# ## 2 · Two of four
#
# *medium, 15 minutes, 4 points*
#
# Zeros anywhere save no time. Some hardware skips zeros in a fixed pattern
# ([Mishra and others, 2021](https://arxiv.org/abs/2104.08378)): of every four consecutive inputs of an output, two weights
# are kept, those of the largest $|w|$.
#
# `weight` is float32, (out, in) or (out, in, height, width), not always contiguous in memory. Cut dimension 1 into groups
# of four, beginning at 0; in a convolution every place of the kernel (row and column) has groups of its own. The last
# group may have fewer than four weights: it, too, keeps its two largest, or all if there are no more than two. Of equal
# magnitudes the first is kept. Return the mask: bool, of the shape of the weight, `True` where a weight is kept.
#
# *Example.* The row $(1, -4, 3, 2, \; 5, 5, 5, 6, \; -7)$ keeps $-4$ and $3$, then the first $5$ and $6$, then $-7$.
#
# <details><summary>Hint</summary>
#
# `weight.split(4, dim=1)` makes the groups. A comparison with a threshold cannot tell equal magnitudes apart; a sort
# with `stable=True` keeps their order, and `scatter` writes `True` where it says.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    """Mask (bool, True where a weight is kept) of the two largest magnitudes of every
    four along dimension 1 of a weight (out, in) or (out, in, height, width).
    """
    # BEGIN SOLUTION
    masks = []
    for group in weight.abs().split(4, dim=1):
        order = group.argsort(dim=1, descending=True, stable=True)
        nothing = torch.zeros_like(group, dtype=torch.bool)
        masks.append(nothing.scatter(1, order[:, :2], True))
    return torch.cat(masks, dim=1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_rows(two_of_four):
    import torch

    weight = torch.tensor(
        [[1.0, -4, 3, 2, 5, 5, 5, 6, -7], [0, 0, 0, 1, -9, 8, 7, -6, 0.5]]
    )
    mask = two_of_four(weight)
    assert mask is not None, "nothing is returned"
    text = f"the mask is {mask.dtype}, {tuple(mask.shape)}: bool, and as the weight"
    assert mask.dtype == torch.bool and mask.shape == weight.shape, text
    expected = [[0, 1, 1, 0, 1, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1, 0, 0, 1]]
    for row, wanted in zip(mask.int().tolist(), expected):
        text = f"{row}, expected {wanted}: two of each four, of equal ones the first"
        assert row == wanted, text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_layers_with_ties_and_strides(two_of_four):
    import torch

    generator = torch.Generator().manual_seed(3)
    for shape in ((3, 8), (2, 7), (4, 1), (3, 6, 3, 3), (2, 8, 1, 2), (5, 2, 3, 1)):
        for digits in (0, 6):  # rounded to integers, many magnitudes are equal
            whole = 2 * torch.randn(shape[::-1], generator=generator)
            weight = whole.round(decimals=digits).permute(*reversed(range(len(shape))))
            mask = two_of_four(weight)
            assert mask.shape == shape and mask.dtype == torch.bool, "bool, same shape"
            for o in range(shape[0]):
                places = mask[o].flatten(1).T if len(shape) == 4 else mask[o][None]
                values = weight[o].flatten(1).T if len(shape) == 4 else weight[o][None]
                for kept, row in zip(places.tolist(), values.abs().tolist()):
                    for first in range(0, len(row), 4):
                        part = range(first, min(first + 4, len(row)))
                        best = sorted(part, key=lambda i: (-row[i], i))[:2]
                        got = [i for i in part if kept[i]]
                        text = f"{shape}, magnitudes {[row[i] for i in part]}: kept"
                        assert got == sorted(best), f"{text} {got}, not {sorted(best)}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_weight_stays_and_small_values_count(two_of_four):
    import torch

    weight = torch.tensor([[1e-30, -2e-30, 4e-31, -0.0, 3e-38, 0.0]])
    before = weight.clone()
    mask = two_of_four(weight)
    assert torch.equal(weight, before), "the weight was changed"
    assert mask.tolist() == [[True, True, False, False, True, True]], mask.tolist()
    kernel = torch.zeros(1, 4, 2, 2)
    kernel[0, :, 0, 0] = torch.tensor([1.0, 2, 3, 4])
    kernel[0, :, 1, 1] = torch.tensor([4.0, 3, 2, 1])
    mask = two_of_four(kernel)
    assert mask[0, :, 0, 0].tolist() == [False, False, True, True], "its own groups"
    assert mask[0, :, 1, 1].tolist() == [True, True, False, False], "its own groups"
    assert int(mask.sum()) == 8, "four places of the kernel keep two weights each"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: int4_in_groups
# points: 4

# %% [markdown]
# ## 3 · Four bits, two in a byte
#
# *hard, 20 minutes, 4 points*
#
# Four bits count to 15 only. So each output of a Linear weight (out, in) gets a grid for every group of `size` consecutive
# inputs. A group with the smallest value $l = \min(0, \min w)$ and the largest $h = \max(0, \max w)$, so that zero lies
# inside, has the step $s = (h - l) / 15$ and the code of zero $z = \operatorname{round}(-l / s)$; a group of zeros has
# $s = 1$. Then $q = \operatorname{clamp}(\operatorname{round}(w / s) + z, 0, 15)$, and the restored weight is
# $s\,(q - z)$. `round` may take a half up or down.
#
# No computer has a type of four bits: two codes share a byte, that of the even input in the lower four bits and that of
# the odd input after it in the upper four. Return four tensors: the bytes (uint8, (out, in / 2)), the steps (float32,
# (out, in / size)), the codes of zero (any integer dtype, of the same shape) and the restored weight (float32, (out,
# in)). Raise `ValueError` unless `size` is even, 2 or more, and divides the number of inputs.
#
# *Example.* The group $(0, 15, 5, 9)$: $s = 1$, $z = 0$, and the bytes are $0 + 16 \cdot 15 = 240$ and
# $5 + 16 \cdot 9 = 149$. The group $(-10, 20, 0, 4)$: $s = 2$, $z = 5$, the codes are 0, 15, 5, 7, the bytes 240 and 117.
#
# <details><summary>Hint</summary>
#
# `weight.view(out, -1, size)` makes the groups (use `reshape` where the memory is not contiguous). Stay in floating point
# until the codes are done: in uint8, $3 - 5$ is 254.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def int4_in_groups(
    weight: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bytes with two codes each (uint8, (out, in / 2)), steps and codes of zero (out,
    in / size), and the restored weight (float32) of a weight (out, in).
    """
    # BEGIN SOLUTION
    if size < 2 or size % 2 or weight.shape[1] % size:
        raise ValueError(f"groups of {size} do not fit {weight.shape[1]} inputs")
    groups = weight.reshape(len(weight), -1, size)  # (out, groups, size)
    low, high = groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)
    step = (high - low) / 15
    step = torch.where(step == 0, 1.0, step)
    zero = (-low / step).round()
    codes = ((groups / step[..., None]).round() + zero[..., None]).clamp(0, 15)
    restored = (step[..., None] * (codes - zero[..., None])).reshape(weight.shape)
    flat = codes.to(torch.uint8).reshape(weight.shape)
    return flat[:, 0::2] + 16 * flat[:, 1::2], step, zero.to(torch.uint8), restored
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_outputs_with_two_groups_each(int4_in_groups):
    import torch

    rows = [[0, 15, 5, 9, -10, 20, 0, 4], [30, 0, 2, 28, -15, -7, -1, 0]]
    weight = torch.tensor(rows).float()
    answer = int4_in_groups(weight, 4)
    assert answer is not None, "nothing is returned"
    packed, step, zero, restored = answer
    text = f"steps {step.tolist()}, expected [[1, 2], [2, 1]]: (h - l) / 15 of a group"
    assert step.tolist() == [[1, 2], [2, 1]], text
    text = f"codes of zero {zero.tolist()}, expected [[0, 5], [0, 15]]: round(-l / s)"
    assert zero.tolist() == [[0, 5], [0, 15]], text
    expected = [[240, 149, 240, 117], [15, 225, 128, 254]]
    text = f"bytes {packed.tolist()}, {packed.dtype}: the even input has the lower bits"
    assert packed.tolist() == expected and packed.dtype == torch.uint8, text
    text = f"s (q - z) is {restored.tolist()}: did q - z wrap around?"
    assert torch.equal(restored, weight), text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_weights_are_restored_from_the_bytes(int4_in_groups):
    import torch

    generator = torch.Generator().manual_seed(4)
    for out, inputs, size in ((3, 8, 4), (2, 12, 2), (5, 6, 6), (1, 64, 16)):
        weight = torch.randn(inputs, out, generator=generator).T  # not contiguous
        weight = weight * torch.logspace(-3, 2, out)[:, None]
        weight[0, :size] = weight[0, :size].abs() + 0.01  # one side of zero
        weight[0, -size:] = -weight[0, -size:].abs() - 1
        packed, step, zero, restored = int4_in_groups(weight, size)
        case = f"({out}, {inputs}), groups of {size}"
        assert packed.shape == (out, inputs // 2), f"{case}: bytes {packed.shape}"
        assert packed.dtype == torch.uint8 and not zero.is_floating_point(), case
        assert step.dtype == restored.dtype == torch.float32, f"{case}: not float32"
        assert step.shape == zero.shape == (out, inputs // size), (
            f"{case}: {step.shape}"
        )
        parts = weight.reshape(out, -1, size)
        span = parts.amax(2).clamp(min=0) - parts.amin(2).clamp(max=0)
        assert torch.allclose(step, span / 15, rtol=1e-4, atol=0), f"{case}: {step}"
        codes = torch.stack([packed % 16, packed // 16], 2).double()
        codes = codes.reshape(out, -1, size)
        decoded = step.double()[..., None] * (codes - zero.double()[..., None])
        off = ((decoded - parts).abs() / step[..., None]).max()
        assert off <= 0.51, f"{case}: the bytes are off by {off:.2f} steps, not by 0.5"
        off = ((restored.reshape(parts.shape) - decoded) / step[..., None]).abs().max()
        assert off <= 0.01, f"{case}: the restored weight is not s (q - z)"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_zeros_stay_zero_and_what_is_refused(int4_in_groups):
    import torch

    generator = torch.Generator().manual_seed(5)
    weight = torch.rand(4, 12, generator=generator) + 0.3
    weight[torch.rand(weight.shape, generator=generator) < 0.5] = 0
    weight[2], weight[3, :6] = 0, -weight[3, :6]
    before = weight.clone()
    _, step, _, restored = int4_in_groups(weight, 6)
    assert torch.equal(weight, before), "the weight was changed"
    assert step[2].tolist() == [1, 1], f"a group of zeros has step 1, not {step[2]}"
    assert (restored[weight == 0] == 0).all(), "a zero moved"
    off = (restored - weight).abs().view(4, 2, 6).amax(2)
    assert (off <= 0.51 * step).all(), f"restored are off by {off.tolist()}"
    for size in (5, 8, 3, 0, 1, -2):
        try:
            int4_in_groups(weight, size)
        except ValueError:
            continue
        raise AssertionError(f"12 inputs in groups of {size} must raise ValueError")


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
            for end in ("low", "high"):
                assert getattr(found[end], "ndim", 0) == 0, f"{end}: a number"
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
# name: product_and_whole
# points: 5

# %% [markdown]
# ## 5 · Above or below the product?
#
# *hard, 15 minutes, 5 points*
#
# *"Pruning makes the file 2.4 times smaller, quantization 1.2 times; together they make it 2.8 times smaller."* Is that
# so? `layers` maps names of layers to their numbers of weights. `sparsity` maps the names of those that are pruned to the
# fraction $s$ of zeros, $0 \le s < 1$, and `bits` the names of those that are quantized to the bits $b$ of a value. Any
# other layer keeps all its weights, or 32 bits. In the file, a layer of $n$ weights takes
#
# - $n\,b$ bits if it is not pruned,
# - $n + (1 - s)\,n\,b$ bits if it is: a bit for every weight says where the zeros are.
#
# Return a dictionary: `"product"`, of how many times smaller the file is by pruning alone and by quantization alone;
# `"whole"`, how many times smaller it is by both; `"share"`, the whole over the product; and `"verdict"`: `"multiplies"`
# for a share from 0.95 to 1.05, `"falls short"` below, `"exceeds"` above. A name that is no layer raises `ValueError`.
#
# *Example.* A convolution of 80 weights and a Linear layer of 20: 3200 bits. The convolution pruned to $s = 0.75$ takes
# $80 + 20 \cdot 32 = 720$ bits, the file 1360: 2.35 times smaller. The Linear layer in 8 bits: 2720, 1.18 times. The
# product is 2.77. Together $720 + 160 = 880$: 3.64 times smaller, 1.31 of the product! Now quantize the convolution
# instead: 1280, 2.5 times. The product is 5.88, together again $80 + 20 \cdot 8 + 640 = 880$, 0.62 of the product. Why
# does the whole exceed the product in one case, and fall short in the other?
#
# <details><summary>Hint</summary>
#
# Write a function for the bits of the file, and call it four times: with empty dictionaries, with either, with both.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def product_and_whole(
    layers: dict[str, int], sparsity: dict[str, float], bits: dict[str, int]
) -> dict:
    """The "product" of what pruning and quantization save alone, the "whole" that both
    save, its "share" of the product, and the "verdict": "multiplies", "falls short" or
    "exceeds". Raises ValueError for a name that is no layer.
    """
    # BEGIN SOLUTION
    if unknown := (sparsity.keys() | bits.keys()) - layers.keys():
        raise ValueError(f"no layer is called {', '.join(sorted(unknown))}")

    def file(sparsity: dict, bits: dict) -> float:
        total = 0
        for name, n in layers.items():
            b = bits.get(name, 32)
            pruned = name in sparsity
            total += n + (1 - sparsity[name]) * n * b if pruned else n * b
        return total

    start = file({}, {})
    product = start / file(sparsity, {}) * start / file({}, bits)
    whole = start / file(sparsity, bits)
    share = whole / product
    verdict = "multiplies" if share <= 1.05 else "exceeds"
    verdict = "falls short" if share < 0.95 else verdict
    return {"product": product, "whole": whole, "share": share, "verdict": verdict}
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 2
"""  # END TEST CONFIG


def test_different_layers_and_the_same_layer(product_and_whole):
    layers = {"convolution": 80, "linear": 20}
    pruned = {"convolution": 0.75}
    for bits, product, whole, verdict in (
        ({"linear": 8}, 3200 / 1360 * 3200 / 2720, 3200 / 880, "exceeds"),
        ({"convolution": 8}, 3200 / 1360 * 2.5, 3200 / 880, "falls short"),
    ):
        found = product_and_whole(layers, pruned, bits)
        assert found is not None, "nothing is returned"
        for key, value in (
            ("product", product),
            ("whole", whole),
            ("share", whole / product),
        ):
            text = f"bits {bits}: {key} is {found[key]}, expected {value}"
            assert abs(found[key] - value) < 1e-6, text
            assert getattr(found[key], "ndim", 0) == 0, f"{key}: a number, not a list"
        text = f"share {whole / product:.2f}: {found['verdict']!r}, not {verdict!r}"
        assert found["verdict"] == verdict, text


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_networks(product_and_whole):
    import random

    draw, seen = random.Random(8), set()
    for _ in range(300):
        layers = {f"layer {i}": draw.randint(1, 900) for i in range(draw.randint(1, 5))}
        s = {n: draw.choice([0, 0.5, 0.9]) for n in layers if draw.random() < 0.6}
        b = {n: draw.choice([2, 4, 8, 32]) for n in layers if draw.random() < 0.6}
        sizes = []
        for prune, quantize in ((0, 0), (1, 0), (0, 1), (1, 1)):
            sizes.append(0)
            for name, n in layers.items():
                width = b.get(name, 32) if quantize else 32
                if prune and name in s:
                    sizes[-1] += n * (1 + (1 - s[name]) * width)
                else:
                    sizes[-1] += n * width
        product = sizes[0] ** 2 / sizes[1] / sizes[2]
        whole = sizes[0] / sizes[3]
        share = whole / product
        if min(abs(share - 0.95), abs(share - 1.05)) < 1e-6:
            continue
        verdict = "exceeds" if share > 1.05 else "multiplies"
        verdict = "falls short" if share < 0.95 else verdict
        seen.add(verdict)
        found = product_and_whole(dict(layers), dict(s), dict(b))
        text = f"{layers}, {s}, {b}: {found}, expected {product}, {whole}, {verdict}"
        assert abs(found["product"] - product) < 1e-6 * product, text
        assert abs(found["whole"] - whole) < 1e-6 * whole, text
        assert abs(found["share"] - share) < 1e-6 * share, text
        assert found["verdict"] == verdict, text
    assert len(seen) == 3


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_nothing_done_and_unknown_layers(product_and_whole):
    layers, s, b = {"a": 10, "b": 30}, {"a": 0.5}, {"b": 4}
    product_and_whole(layers, s, b)
    assert (layers, s, b) == ({"a": 10, "b": 30}, {"a": 0.5}, {"b": 4}), "it changed"
    found = product_and_whole(layers, {}, {})
    assert found["product"] == found["whole"] == found["share"] == 1, found
    assert found["verdict"] == "multiplies", found
    found = product_and_whole(layers, {}, {"a": 8, "b": 8})  # quantization alone
    assert abs(found["whole"] - 4) < 1e-9 and found["verdict"] == "multiplies", found
    for s, b in (({"c": 0.5}, {}), ({}, {"c": 8}), ({"a": 0.5, "A": 0.5}, {"b": 8})):
        try:
            product_and_whole(layers, s, b)
        except ValueError:
            continue
        raise AssertionError(f"{s}, {b}: a name that is no layer must raise ValueError")


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
