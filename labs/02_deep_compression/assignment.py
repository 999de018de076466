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
# # Assignment 02 · Deep Compression, down to the last bit
#
# You predict the cost of a position, share weights that do not all matter as much, build Huffman's code, decide from
# measurements, and write a position code without fillers. Five exercises, **20 points, about 90 minutes.** Each stands
# alone: none needs the answer of another. They belong to sections 1, 4, 5, 9 and 6 of Lab 02.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded. Answers
# leave their arguments as they were.

# %%
import math

import numpy as np
import torch

# Student's t: 97.5 % of it lies below, by the number of values n (n - 1 degrees of freedom)
T95 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}

# %% [raw]
# # BEGIN QUESTION
# name: best_width
# points: 3

# %% [markdown]
# ## 1 · How many bits for a distance?
#
# *easy, 10 minutes, 3 points*
#
# A share $d$ of the weights is kept, at random places. Then the distance $D$ to the next kept weight is longer than $k$
# with probability $(1 - d)^k$. A position has $p$ bits and reaches $2^p$ places; for every $2^p$ places that lie
# wholly before the next weight, a filler is stored, which costs a code and a position like any other entry. So a kept weight
# needs on average
#
# $$ \sum_{j=0}^{\infty} (1 - d)^{\,j\,2^p} = \frac{1}{1 - (1 - d)^{2^p}} \quad\text{entries of } b + p \text{ bits each.} $$
#
# **Predict first:** keep 5 % of the weights, with codes of 5 bits. A distance is 20 places on average. Which $p$ is best?
# Write your number as `my_guess` in the cell below. Your guess is not graded; the function that computes it is.
#
# Return the width $p$ out of `widths` with the fewest bits for each kept weight (the first, if several have as few), and
# these bits, as a tuple. Example: half of the weights kept, $b = 1$, widths 1 and 2: with $p = 1$ it is
# $2 / (1 - 1/4) = 2.667$ bits, with $p = 2$ it is $3 / (1 - 1/16) = 3.2$. The answer is (1, 2.667).
#
# <details><summary>Hint</summary>
#
# Write the bits as a function of $p$ first. `min` takes a key. Then compare `best_width(0.05, 5)` with your guess, and
# ask which costs more: a bit too many, or a bit too few.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
my_guess = None  # bits of a distance, where 5 % are kept and a code has 5 bits


def best_width(density, code_bits, widths=range(1, 17)):
    """Width of a position with the fewest bits for each kept weight, and these bits.

    density: share of the weights that is kept, above 0 and at most 1; code_bits: b;
    widths: the p to choose from. Returns (int, float).
    """
    # BEGIN SOLUTION
    bits = {p: (code_bits + p) / (1 - (1 - density) ** 2**p) for p in widths}
    best = min(bits, key=bits.get)
    return best, bits[best]
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_by_hand(best_width):
    from numbers import Integral

    found = best_width(0.5, 1, [1, 2])
    assert isinstance(found, tuple), f"a tuple of width and bits, not {found!r}"
    p, bits = found
    assert p == 1, f"2 / (3/4) is less than 3 / (15/16): width 1, not {p}"
    assert abs(bits - 8 / 3) < 1e-9, f"2 / (3/4) = 2.667 bits, not {bits}"
    assert isinstance(p, Integral), f"a width is an integer, not {p!r}"
    assert getattr(bits, "ndim", 0) == 0, f"the bits are a number, not {bits!r}"
    p, bits = best_width(0.5, 5, [2])
    assert p == 2, f"2 is the only width to choose from, not {p}"
    assert abs(bits - 7 / (15 / 16)) < 1e-9, f"fillers have a code, too: {bits}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_every_density_and_choice_of_widths(best_width):
    import numpy as np

    draw = np.random.default_rng(1)
    cases = [(0.05, 5), (0.01, 0), (0.9, 3), (0.002, 8), (1.0, 4), (0.2, 20), (0.3, 1)]
    for density, b in cases:
        for widths in (range(1, 17), [8, 3, 5], [4], draw.permutation(12)[:6] + 1):
            widths = [int(p) for p in widths]
            costs = []
            for p in widths:
                longer = (1 - density) ** (2.0**p * np.arange(20_000))
                costs.append((b + p) * longer.sum())
            before = list(widths)
            found, bits = best_width(density, b, widths)
            assert widths == before, "widths was changed"
            told = f"keep {density}, b {b}, widths {widths}"
            assert found == widths[int(np.argmin(costs))], f"{told}: {found}"
            assert abs(bits - min(costs)) < 1e-6 * min(costs), f"{told}: {bits} bits"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: weighted_step
# points: 4

# %% [markdown]
# ## 2 · Weights that matter more
#
# *medium, 15 minutes, 4 points*
#
# Plain k-means treats all weights alike. But the loss of a network rises more when some of them move than when others do.
# Let each weight have an *importance* $h_i \ge 0$. Write one round of k-means that makes $\sum_i h_i (w_i - c)^2$ small:
#
# - each kept weight is assigned to the *nearest* of the centroids that came in;
# - then each centroid moves to the *weighted mean* $\sum h_i w_i / \sum h_i$ of its weights.
#
# A weight of exactly zero was pruned: it has code -1 and counts in no mean, whatever its importance. A centroid whose
# weights have no importance in all, or that has no weights, stays where it is. Centroids are in any order, and keep it. No
# weight is equally far from two.
#
# Return two tensors: the new centroids `(k,)`, and the codes, integers of the weight's shape, by which they were found.
# Example: weights 0, 1, 2, 6, 0, 9 of importance 5, 1, 3, 1, 5, 0, and centroids 0, 8, -5, give centroids 1.75, 6, -5 and
# codes -1, 0, 0, 1, -1, 1.
#
# <details><summary>Hint</summary>
#
# The distances of all kept weights to all centroids are a table of shape (kept, k): broadcasting makes it, and `argmin`
# along one axis reads it. Indexed assignment with `+=` adds only once for an index that occurs twice; PyTorch has a
# function that adds at indices.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def weighted_step(weight, importance, centroids):
    """One round of k-means with importances: new centroids float (k,), codes integers.

    weight: float, any shape, zero where pruned; importance: float, same shape, not
    negative; centroids: float (k,), in any order. Codes are -1 where pruned.
    """
    # BEGIN SOLUTION
    kept = weight != 0
    values, h = weight[kept], importance[kept]
    nearest = (values[:, None] - centroids).abs().argmin(dim=1)  # (kept,)
    codes = torch.full(weight.shape, -1)
    codes[kept] = nearest
    mass = torch.zeros_like(centroids).index_add(0, nearest, h)
    total = torch.zeros_like(centroids).index_add(0, nearest, h * values)
    return torch.where(mass > 0, total / mass, centroids), codes
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_assign_then_move_to_the_weighted_mean(weighted_step):
    import torch

    weight = torch.tensor([0.0, 1.0, 2.0, 6.0, 0.0, 9.0])
    importance = torch.tensor([5.0, 1.0, 3.0, 1.0, 5.0, 0.0])
    found, codes = weighted_step(weight, importance, torch.tensor([0.0, 8.0, -5.0]))
    codes, (a, b, c) = codes.tolist(), found.tolist()
    assert codes == [-1, 0, 0, 1, -1, 1], f"nearest of the old centroids: {codes}"
    assert abs(a - 1.75) < 1e-5, f"(1 · 1 + 3 · 2) / 4 = 1.75, not {a}"
    assert abs(b - 6) < 1e-5, f"9 has no importance: the mean is 6, not {b}"
    assert c == -5, f"no weight is nearest to -5: it stays, and is not {c}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_layers_of_any_shape_with_centroids_in_any_order(weighted_step):
    import torch

    draw = torch.Generator().manual_seed(3)
    for shape, k in (((50,), 4), ((12, 9), 7), ((4, 2, 3, 3), 3)):
        weight = torch.randn(shape, generator=draw)
        weight[torch.rand(shape, generator=draw) < 0.4] = 0
        importance = torch.rand(shape, generator=draw) ** 3
        centroids = torch.randn(k, generator=draw)
        centroids[0] = 50.0  # no weight is nearest to it
        clusters, expected = [[] for _ in range(k)], []
        for w, h in zip(weight.flatten().tolist(), importance.flatten().tolist()):
            gaps = [abs(w - c) for c in centroids.tolist()]
            expected.append(gaps.index(min(gaps)) if w else -1)
            if w:
                clusters[expected[-1]].append((w, h))
        means = centroids.tolist()
        for j, members in enumerate(clusters):
            if members:
                means[j] = sum(w * h for w, h in members) / sum(h for _, h in members)
        found, codes = map(
            torch.as_tensor, weighted_step(weight, importance, centroids)
        )
        assert not codes.is_floating_point(), f"codes are integers, not {codes.dtype}"
        assert codes.shape == shape, f"codes of shape {codes.shape}, expected {shape}"
        assert codes.flatten().tolist() == expected, "codes of the nearest centroid"
        close = torch.allclose(found.double(), torch.tensor(means).double(), atol=1e-4)
        assert found.shape == (k,) and close, f"{found.tolist()}, not {means}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_no_importance_nothing_kept_and_arguments_stay(weighted_step):
    import torch

    weight, importance = torch.tensor([[4.0, 0.0, -3.0]]), torch.tensor([[0.0, 7, 2]])
    given = [weight, importance, torch.tensor([1.0, 0.5, -9.0])]
    before = [tensor.clone() for tensor in given]
    found, codes = map(torch.as_tensor, weighted_step(*given))
    assert codes.tolist() == [[0, -1, 1]], f"-3 is nearest to 0.5: codes {codes}"
    assert found.tolist() == [1, -3, -9], f"centroids {found.tolist()}"
    assert all(map(torch.equal, given, before)), "an argument was changed"
    found, codes = weighted_step(torch.zeros(2, 2), torch.ones(2, 2), given[2])
    assert found.tolist() == [1, 0.5, -9], "nothing kept: all centroids stay"
    assert codes.tolist() == [[-1, -1], [-1, -1]], "all were pruned"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: huffman_lengths
# points: 4

# %% [markdown]
# ## 3 · Huffman's tree
#
# *medium, 20 minutes, 4 points*
#
# Huffman's code begins with one tree for each symbol that occurs. The two trees that occur least often become the two
# branches of a new tree, which occurs as often as both together, until one tree is left. The length of a symbol's code is
# its depth: how many trees it was put under.
#
# Return a dictionary from symbol to length. `counts` maps symbols to how often they occur. A symbol that occurs 0 times
# has no code and is left out. A lone symbol gets 1 bit. No symbols at all give `{}`. Where several trees occur equally
# often, the lengths depend on which are taken, and the total of all bits does not: any of these answers is right.
#
# Example: counts `{"a": 8, "b": 4, "c": 1, "d": 1}` give lengths 1, 2, 3, 3 and take 8 + 8 + 3 + 3 = 22 bits.
#
# <details><summary>Hint</summary>
#
# Depths alone are enough, and no tree is needed: keep with each count the list of its symbols, and when two lists are
# joined, each symbol in them gets one bit more. `heapq` gives the smallest; so does sorting again.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def huffman_lengths(counts):
    """Bits of each symbol's code in Huffman's tree: dict, symbol to int.

    counts: dict, symbol to how often it occurs, 0 or more.
    """
    # BEGIN SOLUTION
    trees = [(count, [symbol]) for symbol, count in counts.items() if count > 0]
    lengths = {symbol: 0 for _, symbols in trees for symbol in symbols}
    if len(trees) == 1:
        return dict.fromkeys(lengths, 1)
    while len(trees) > 1:
        trees.sort(key=lambda tree: tree[0])
        (first, left), (second, right), *trees = trees
        for symbol in left + right:
            lengths[symbol] += 1
        trees.append((first + second, left + right))
    return lengths
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_rare_symbols_share_a_branch(huffman_lengths):
    found = huffman_lengths({"a": 8, "b": 4, "c": 1, "d": 1})
    assert found == {"a": 1, "b": 2, "c": 3, "d": 3}, f"1, 2, 3, 3 bits: {found}"
    found = huffman_lengths({5: 3, 6: 3, 7: 3, 8: 3})
    assert found == {5: 2, 6: 2, 7: 2, 8: 2}, f"equal counts, equal lengths: {found}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_no_code_takes_fewer_bits_and_none_is_wasted(huffman_lengths):
    import heapq
    from fractions import Fraction

    import numpy as np

    draw = np.random.default_rng(2)
    cases = [draw.integers(1, 90, m).tolist() for m in (2, 3, 6, 17, 60)]
    cases += [[1, 1, 2, 3, 5, 8, 13, 21, 34], [2, 1, 2, 3, 2], [40, 30, 20, 10]]
    for case in cases:
        counts = dict(enumerate(case))
        heap, fewest = sorted(case), 0
        while len(heap) > 1:
            both = heapq.heappop(heap) + heapq.heappop(heap)
            fewest += both  # each of these symbols gets one bit more
            heapq.heappush(heap, both)
        found = huffman_lengths(counts)
        assert set(found) == set(counts), f"a length for each symbol: {found}"
        bits = sum(counts[s] * length for s, length in found.items())
        assert bits == fewest, f"{case}: {bits} bits, {fewest} are enough"
        kraft = sum(Fraction(1, 2**length) for length in found.values())
        assert kraft == 1, f"{case}: no such code, or one that wastes words: {found}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_lone_symbols_and_those_that_never_occur(huffman_lengths):
    counts = {4: 0, 9: 5, 1: 0}
    found = huffman_lengths(counts)
    assert found == {9: 1}, f"a lone symbol takes 1 bit, others none: {found}"
    assert counts == {4: 0, 9: 5, 1: 0}, "counts was changed"
    found = huffman_lengths({3: 2, 0: 0, -7: 1})
    assert found == {3: 1, -7: 1}, f"0 never occurs and gets no code: {found}"
    assert huffman_lengths({}) == {}, "no symbols, no codes"
    assert huffman_lengths({8: 0}) == {}, "no symbol occurs: no codes"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: judge
# points: 4

# %% [markdown]
# ## 4 · Without loss?
#
# *medium, 20 minutes, 4 points*
#
# A claim: "the file is at least `least_rate` times smaller, and at most `most_lost` points of accuracy are lost". You have
# measurements. A dense network has `dense_bytes` bytes, and `dense_right[j]` says whether it reads test image $j$ right.
# It was compressed with several seeds: `files[i]` are the bytes of seed $i$, and `right[i, j]` says whether that network
# reads image $j$ right.
#
# 1. Of each seed take the rate, dense bytes over bytes, and the loss, accuracy of the dense network minus its own, in
#    percentage points.
# 2. Of both take the mean over the $n$ seeds with the interval $\bar x \pm t\,s / \sqrt n$. Here $s$ is the sample
#    standard deviation, with $n - 1$ below the sum of squares, and $t$ is `T95[n]` from the first cell.
# 3. A part of the claim *holds* if the whole interval keeps the bound, *fails* if the whole interval breaks it, and is
#    undecided otherwise. Values that are all the same say nothing about spread: that part is undecided, too.
# 4. The claim fails if a part fails. It holds if both hold. Else it is undecided.
#
# Return `"holds"`, `"fails"` or `"undecided"`. With fewer than three seeds nothing is decided: `"undecided"`. No case has
# more than ten. This interval holds what seeds do; that of the lab also holds what the test images leave open.
#
# Example: three rates 40, 41, 42 have the mean 41, $s = 1$ and the interval 38.5 to 43.5: "at least 40" is undecided.
#
# <details><summary>Hint</summary>
#
# Write one function for the interval and use it twice. The order of the last rule matters: look for a failure first.
# `np.std` divides by $n$ unless it is told otherwise.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def judge(dense_bytes, files, dense_right, right, least_rate, most_lost):
    """Verdict on a claim of rate and loss: "holds", "fails" or "undecided".

    dense_bytes: int; files: int (n,), bytes of each seed; dense_right: bool (images,);
    right: bool (n, images); least_rate: in times; most_lost: in points.
    """
    # BEGIN SOLUTION
    n = len(files)
    if n < 3:
        return "undecided"

    def interval(x):
        if np.ptp(x) == 0:
            return -math.inf, math.inf
        half = T95[n] * np.std(x, ddof=1) / math.sqrt(n)
        return np.mean(x) - half, np.mean(x) + half

    low, high = interval(dense_bytes / np.asarray(files))
    least, most = interval(100 * (np.mean(dense_right) - np.mean(right, axis=1)))
    if high < least_rate or least > most_lost:
        return "fails"
    return "holds" if low >= least_rate and most <= most_lost else "undecided"
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_rate_that_is_sure_and_one_that_is_not(judge):
    import numpy as np

    dense = np.ones(1000, dtype=bool)
    right = np.ones((3, 1000), dtype=bool)
    right[0, :9], right[1, :10], right[2, :11] = False, False, False  # about one point
    files = np.array([2460, 2400, 2343])
    found = judge(98_400, files, dense, right, 30, 1.5)
    assert found == "holds", f"about 41 times at 1 point: holds, not {found}"
    found = judge(98_400, files, dense, right, 40, 1.5)
    assert found == "undecided", f"38.5 to 43.5 holds 40 inside: undecided, not {found}"
    found = judge(98_400, files, dense, right, 30, 0.5)
    assert found == "fails", f"1 point is more than 0.5: fails, not {found}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_intervals_decide_both_parts(judge):
    import numpy as np

    def case(rates, wrong, least_rate, most_lost, dense_wrong=50):
        """Networks of these rates that read so many of 1,000 images wrong."""
        dense = np.arange(1000) >= dense_wrong
        right = np.array([np.arange(1000) < 1000 - w for w in wrong])
        given = np.array([10_000_000 / r for r in rates]), dense, right
        before = [array.copy() for array in given]
        found = judge(10_000_000, *given, least_rate, most_lost)
        assert all(map(np.array_equal, given, before)), "an argument was changed"
        return str(found)

    sure, same = [50.0, 50.1, 49.9, 50.0, 50.0], [50, 50, 51, 49, 50]
    assert case(sure, same, 40, 0.3) == "holds", "no loss with a small spread"
    assert case(sure, same, 60, 0.3) == "fails", "50 times is not 60, lossless or not"
    assert case(sure, [60, 61, 59, 60, 60], 40, 0.3) == "fails", "1 point is lost"
    assert case(sure, [40, 41, 39, 40, 40], 40, 0.3) == "holds", "a gain is no loss"
    assert case(sure, [52, 60, 44, 49, 55], 40, 0.3) == "undecided", "losses scatter"
    wide = [30.0, 60.0, 45.0, 50.0]
    told = "the rate is undecided, the loss fails: the claim fails"
    assert case(wide, [60, 61, 59, 60], 40, 0.3) == "fails", told
    told = "the rate is undecided, the loss holds: nothing is decided"
    assert case(wide, [50, 50, 51, 49], 40, 0.3) == "undecided", told
    # Means 44, s 2, n 3: half-widths 4.97 by t, 2.26 by 1.96, 4.06 with n in s
    told = "t is 4.303 at three seeds, and s has n - 1"
    assert case([42.0, 44.0, 46.0], [50, 51, 49], 39.5, 5) == "undecided", told
    assert case([42.0, 44.0, 46.0], [50, 51, 49], 39, 5) == "holds", told
    told = "the half-width shrinks with the square root of n"
    assert case([42.0, 44.0, 46.0, 44.0], [50, 51, 49, 50], 41.9, 5) == "undecided", (
        told
    )
    assert case([42.0, 44.0, 46.0, 44.0], [50, 51, 49, 50], 41.2, 5) == "holds", told


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_two_seeds_decide_nothing(judge):
    import numpy as np

    dense, right = np.ones(1000, dtype=bool), np.ones((3, 1000), dtype=bool)
    right[1, :1], right[2, :2] = False, False
    files = np.array([999, 1000, 1001])
    found = judge(50_000, files, dense, right, 40, 0.5)
    assert found == "holds", f"three seeds, 50 times, 0.1 points lost: {found}"
    found = judge(50_000, files[[1, 1, 1]], dense, right, 40, 0.5)
    assert found == "undecided", f"three equal files have no known spread: {found}"
    found = judge(50_000, files, dense, right[[1, 1, 1]], 40, 0.5)
    assert found == "undecided", f"three equal losses have no known spread: {found}"
    found = judge(50_000, files[:2], dense, right[:2], 40, 0.3)
    assert found == "undecided", f"two seeds are too few: {found}"
    found = judge(50_000, files[:1], dense, right[:1], 60, 0.3)
    assert found == "undecided", f"one seed is too few, to fail, too: {found}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: escape_coder
# points: 5

# %% [markdown]
# ## 5 · Positions without fillers
#
# *hard, 25 minutes, 5 points*
#
# A filler stores a value that nobody needs. So take another format, with *escapes*. A sparse vector is a list of symbols
# of $p$ bits, $1 \le p \le 16$, and a shorter list of the values that are not zero:
#
# - a symbol $s$ below $2^p - 1$ says: $s$ zeros go by, then the next value stands;
# - the largest symbol, $2^p - 1$, is the escape. It says: $2^p - 1$ zeros go by, and no value stands.
#
# After an escape counting goes on, and more escapes follow if needed. As few symbols as possible are stored. Nothing is
# stored behind the last value; a vector of zeros has no symbols.
#
# Write `escape_coder(bits)`, which returns two functions:
#
# - `encode(vector)`: from a NumPy array `(n,)` to symbols and values, arrays or lists;
# - `decode(symbols, values, n)`: from two NumPy arrays, symbols of int64, and $n$ to the vector, a NumPy array `(n,)`.
#
# Example with $p = 2$: in the vector 0, 5, 0, 0, 0, 0, 0, 0, 0, 7 one zero goes by before the 5, and seven before the 7:
# two escapes and one zero more. Symbols 1, 3, 3, 1; values 5, 7. And three zeros before a value: symbols 3, 0.
#
# <details><summary>Hint</summary>
#
# The number of zeros before a value, divided by $2^p - 1$: the quotient and the remainder are all that encoding needs.
# Decoding: each symbol moves the place on, an escape by $2^p - 1$ and any other symbol by $s + 1$.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def escape_coder(bits):
    """Encoder and decoder of sparse vectors, positions in symbols of `bits` bits.

    encode: vector (n,) to symbols (stored,) and values (kept,). decode: symbols int64
    (stored,), values (kept,) and n to the vector (n,).
    """
    # BEGIN SOLUTION
    escape = 2**bits - 1

    def encode(vector):
        symbols, last = [], -1
        for place in np.flatnonzero(vector).tolist():
            escapes, rest = divmod(place - last - 1, escape)
            symbols += [escape] * escapes + [rest]
            last = place
        return np.array(symbols, dtype=np.int64), vector[vector != 0]

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        moves = np.where(symbols == escape, escape, symbols + 1)
        vector[(np.cumsum(moves) - 1)[symbols != escape]] = values
        return vector

    return encode, decode
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_encode_escapes_long_runs_of_zeros(escape_coder):
    import numpy as np

    encode, _ = escape_coder(2)
    symbols, values = map(np.asarray, encode(np.array([0, 5, 0, 0, 0, 0, 0, 0, 0, 7])))
    assert values.tolist() == [5, 7], f"an escape has no value: {values}"
    assert symbols.tolist() == [1, 3, 3, 1], f"7 zeros are 3 + 3 + 1: {symbols}"
    assert symbols.dtype.kind in "iu", f"symbols are integers, not {symbols.dtype}"
    symbols, values = map(np.asarray, encode(np.array([0, 0, 0, 6])))
    assert symbols.tolist() == [3, 0], f"3 zeros are one escape, then 0: {symbols}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_decode_follows_the_symbols(escape_coder):
    import numpy as np

    _, decode = escape_coder(2)
    vector = decode(np.array([1, 3, 3, 1]), np.array([5, 7]), 12)
    assert isinstance(vector, np.ndarray), f"a NumPy array, not {type(vector)}"
    assert vector.shape == (12,), f"n is 12, zeros behind the last value: {vector}"
    assert vector.tolist() == [0, 5] + [0] * 7 + [7, 0, 0], f"{vector}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_encode_stores_no_more_than_needed(escape_coder):
    import numpy as np

    draw = np.random.default_rng(5)
    for p, n, density in ((1, 60, 0.3), (2, 90, 0.05), (3, 300, 0.2), (5, 400, 0.01)):
        vector = (draw.random(n) < density) * (1 + draw.random(n))
        vector[n // 2 :] = 0
        vector[[n // 2, n // 2 + 2**p, n // 2 + 2**p + 2]] = -1  # one escape, exactly
        before, expected, zeros = vector.copy(), [], 0
        for value in vector[: n // 2 + 2**p + 3].tolist():
            if value == 0:
                zeros += 1
                continue
            while zeros >= 2**p - 1:
                expected.append(2**p - 1)
                zeros -= 2**p - 1
            expected.append(zeros)
            zeros = 0
        encode, _ = escape_coder(p)
        symbols, values = (np.asarray(part).tolist() for part in encode(vector))
        assert symbols == expected, f"{p} bits: {symbols}, expected {expected}"
        kept = before[before != 0].tolist()
        assert values == kept, f"{p} bits: values {values}, expected {kept}"
        assert np.array_equal(vector, before), "the vector was changed"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_decode_inverts_encode(escape_coder):
    import numpy as np

    for bits in (1, 2, 4, 16):
        encode, decode = escape_coder(bits)
        for places in ([], [0], [199], [0, 199], [3, 4, 5, 100], [15, 31, 48, 199]):
            vector = np.zeros(200, np.float32)
            vector[places] = np.arange(1, len(places) + 1) / 4
            symbols, values = encode(vector)
            symbols, values = np.array(symbols, np.int64), np.array(values, np.float32)
            assert len(values) == len(places), "a value for each weight, and no more"
            assert places or len(symbols) == 0, "a vector of zeros has no symbols"
            before = symbols.copy(), values.copy()
            found = np.asarray(decode(symbols, values, 200))
            assert np.array_equal(found, vector), f"{bits} bits, weights at {places}"
            same = np.array_equal(symbols, before[0])
            assert same and np.array_equal(values, before[1]), "an argument was changed"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## For discussion
#
# Positions are dear because any weight may be kept. Suppose that only whole blocks of weights, or two out of every
# four, may be kept. What would a position cost for each kept weight then, what would you have to give up for it, and
# how would you measure whether the trade is worth it? Not graded by machine.
