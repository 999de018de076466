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
# You write the parts of a compressed layer yourself: shared weights and how they are trained, a code and its bound,
# positions, and the account of all bits. Six exercises from easy to hard, 25 points, about 115 minutes. Each stands
# alone: none needs the answer of another. They belong to sections 4.3, 5, 4.1, 5, 6.1 and 6.4 of Lab 02.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded. Answers
# leave their arguments as they were.

# %%
import math

import numpy as np
import torch

# %% [raw]
# # BEGIN QUESTION
# name: centroid_gradient
# points: 3

# %% [markdown]
# ## 1 · The gradient of a centroid
#
# *easy, 10 minutes, 3 points*
#
# Every kept weight $w_i$ of a layer has the value $c_k$ of the centroid that its code $a_i = k$ names; pruned weights
# stay zero. When $c_k$ moves, all kept weights with that code move with it. Return, as a tensor of shape `(levels,)`,
#
# $$ \frac{\partial L}{\partial c_k} = \sum_{i \text{ kept},\ a_i = k} \frac{\partial L}{\partial w_i} $$
#
# for all centroids; one that no kept weight uses has gradient 0. The code of a pruned weight means nothing: it may be
# any integer, -1 included. Example: gradients 1, 2, 4, 8 with codes 0, 1, 0, 1, of which the last weight is pruned,
# give three centroids the gradients 5, 2, 0.
#
# <details><summary>Hint</summary>
#
# Select the kept weights first. Indexed assignment with `+=` adds only once for an index that occurs twice; PyTorch has
# a function that adds at indices.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def centroid_gradient(weight_gradient, codes, kept, levels):
    """Gradient of the loss with respect to each centroid: float (levels,).

    weight_gradient: float, any shape; codes: int64, same shape, the centroid of each
    weight; kept: bool, same shape, False where pruned; levels: number of centroids.
    """
    # BEGIN SOLUTION
    gradient = weight_gradient.new_zeros(levels)
    return gradient.index_add(0, codes[kept], weight_gradient[kept])
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_weights_with_one_code_add_up(centroid_gradient):
    import torch

    kept = torch.tensor([True, True, True, False])
    codes = torch.tensor([0, 1, 0, 1])
    found = centroid_gradient(torch.tensor([1.0, 2.0, 4.0, 8.0]), codes, kept, 3)
    assert tuple(found.shape) == (3,), f"one for each centroid, (3,): {found.shape}"
    a, b, c = found.tolist()
    assert a == 5, f"centroid 0 moves two weights, so it gets 1 + 4 = 5, not {a}"
    assert b == 2, f"the weight with gradient 8 is pruned: centroid 1 gets 2, not {b}"
    assert c == 0, f"no weight uses centroid 2: it gets 0, not {c}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_layers_of_any_shape(centroid_gradient):
    import torch

    draw = torch.Generator().manual_seed(1)
    for shape, levels in (((40,), 3), ((8, 16), 7), ((4, 3, 3, 3), 15)):
        gradient = torch.randn(shape, generator=draw)
        codes = torch.randint(levels, shape, generator=draw)
        kept = torch.rand(shape, generator=draw) < 0.5
        found = torch.as_tensor(centroid_gradient(gradient, codes, kept, levels))
        sums = [gradient[kept & (codes == k)].double().sum() for k in range(levels)]
        close = torch.allclose(found.double(), torch.stack(sums), atol=1e-4)
        assert found.shape == (levels,) and close, f"{found.tolist()}, shape {shape}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_unused_centroids_get_zero_and_arguments_stay(centroid_gradient):
    import torch

    gradient = torch.tensor([[3.0, -1.0], [2.0, 7.0]])
    codes = torch.tensor([[1, 1], [-1, 3]])
    kept = torch.tensor([[True, True], [False, True]])
    given = [gradient, codes, kept]
    before = [tensor.clone() for tensor in given]
    found = torch.as_tensor(centroid_gradient(*given, 6)).tolist()
    assert found == [0, 2, 0, 7, 0, 0], "centroids 0, 2, 4 and 5 are used by no weight"
    assert all(map(torch.equal, given, before)), "an argument was changed"
    found = torch.as_tensor(centroid_gradient(gradient, codes, kept & False, 2))
    assert found.tolist() == [0, 0], "nothing is kept: all gradients are 0"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: code_bits
# points: 3

# %% [markdown]
# ## 2 · A code beside the entropy
#
# *easy, 10 minutes, 3 points*
#
# Symbol $s$ occurs $n_s$ times out of $N$, and its code has $l_s$ bits. With $p_s = n_s / N$, return two floats in bits
# a symbol: the mean length of the code and the entropy of the symbols,
#
# $$ \bar l = \sum_s p_s\, l_s \qquad\text{and}\qquad H = -\sum_s p_s \log_2 p_s . $$
#
# A symbol that never occurs adds nothing to either, and may lack a code. Codes of symbols that `counts` does not name
# are ignored. A symbol that occurs and has no code: `ValueError`. At least one symbol occurs. Huffman's code for two or
# more symbols that occur has $H \le \bar l < H + 1$; any other code may be farther off.
#
# Example: `{0: 2, 1: 1, 2: 1}` with code lengths 1, 2, 2 gives 1.5 and 1.5; with lengths 2, 2, 2 it gives 2 and 1.5.
#
# <details><summary>Hint</summary>
#
# Drop the symbols that never occur before anything else: $\log_2 0$ is not a number. A dictionary answers a missing key
# with another kind of error than the one asked for.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def code_bits(counts, lengths):
    """Mean bits a symbol of a code, and entropy in bits a symbol: (float, float).

    counts: dict, symbol to how often it occurs; lengths: dict, symbol to bits of its
    code. Raises ValueError if a symbol that occurs has no code.
    """
    # BEGIN SOLUTION
    total = sum(counts.values())
    shares = {s: count / total for s, count in counts.items() if count > 0}
    if not shares.keys() <= lengths.keys():
        raise ValueError(f"no code for {shares.keys() - lengths.keys()}")
    mean = sum(p * lengths[s] for s, p in shares.items())
    return mean, -sum(p * math.log2(p) for p in shares.values())
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_lengths_count_as_often_as_their_symbols(code_bits):
    mean, entropy = code_bits({0: 2, 1: 1, 2: 1}, {0: 1, 1: 2, 2: 2})
    assert abs(mean - 1.5) < 1e-9, f"half the symbols take 1 bit: mean 1.5, not {mean}"
    assert abs(entropy - 1.5) < 1e-9, f"1/2, 1/4, 1/4: entropy 1.5 bits, not {entropy}"
    mean, entropy = code_bits({0: 7, 1: 1}, {0: 1, 1: 1})
    assert abs(mean - 1) < 1e-9, f"both symbols take a whole bit: mean 1, not {mean}"
    told = f"7/8 and 1/8 are far from even: entropy 0.544 bits, not {entropy}"
    assert abs(entropy - 0.5435644) < 1e-6, told


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_huffman_is_within_one_bit_and_other_codes_need_not_be(code_bits):
    import numpy as np

    draw = np.random.default_rng(2)
    for m in (2, 5, 17, 60):
        counts = dict(enumerate((draw.integers(1, 90, m) ** 2).tolist()))
        huffman, heap = dict.fromkeys(counts, 0), [(c, [s]) for s, c in counts.items()]
        while len(heap) > 1:
            (c, first), (d, second), *heap = sorted(heap)
            for s in first + second:
                huffman[s] += 1
            heap.append((c + d, first + second))
        mean, entropy = code_bits(counts, huffman)
        p = np.array(list(counts.values())) / sum(counts.values())
        assert abs(entropy + p @ np.log2(p)) < 1e-6, f"entropy {entropy}"
        assert entropy - 1e-9 <= mean < entropy + 1, "Huffman's code is within one bit"
        other = draw.integers(6, 20, m).tolist()
        mean, _ = code_bits(counts, dict(enumerate(other)))
        assert abs(mean - p @ other) < 1e-6, f"mean {mean}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_symbols_that_never_occur_and_symbols_without_a_code(code_bits):
    counts, lengths = {4: 3, 7: 0, 9: 1, 1: 0}, {4: 1, 9: 3, 7: 12, 2: 5}
    mean, entropy = code_bits(counts, lengths)
    assert abs(mean - 1.5) < 1e-9, f"(3 · 1 + 1 · 3) / 4 = 1.5 bits, not {mean}"
    assert abs(entropy - 0.8112781) < 1e-6, f"of 3/4 and 1/4: 0.811, not {entropy}"
    assert counts == {4: 3, 7: 0, 9: 1, 1: 0}, "counts was changed"
    assert lengths == {4: 1, 9: 3, 7: 12, 2: 5}, "lengths was changed"
    try:
        found = code_bits({0: 1, 1: 1}, {0: 1})
    except ValueError:
        return
    raise AssertionError(f"symbol 1 occurs and has no code: ValueError, not {found}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: kmeans_step
# points: 4

# %% [markdown]
# ## 3 · One round of k-means
#
# *medium, 15 minutes, 4 points*
#
# Weight sharing finds its codebook by rounds of two steps: each weight is assigned to the *nearest* of the centroids
# that came in, then each centroid moves to the *mean* of its weights. Write one round for a pruned layer.
#
# - A weight of exactly zero was pruned. It has code -1 and counts in no mean, even if a centroid is zero, too.
# - A centroid with no weights stays where it is.
# - Centroids are in any order, and keep it. No weight is equally far from two: ties need no rule.
#
# Return two tensors: the new centroids `(k,)`, and the codes, integers of the weight's shape, by which they were found.
# Example: weights 0, 1, 2, 6, 0, 9 and centroids 0, 8, -5 give centroids 1.5, 7.5, -5 and codes -1, 0, 0, 1, -1, 1.
#
# <details><summary>Hint</summary>
#
# The distances of all kept weights to all centroids are a table of shape (kept, k): broadcasting makes it, and `argmin`
# along one axis reads it. The mean of nothing is not a number, so decide what becomes of it.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def kmeans_step(weight, centroids):
    """One round of Lloyd's algorithm: new centroids float (k,), codes int64.

    weight: float, any shape, zero where pruned; centroids: float (k,), in any order.
    The codes have the weight's shape, and are -1 where it is pruned.
    """
    # BEGIN SOLUTION
    kept = weight != 0
    values = weight[kept]
    nearest = (values[:, None] - centroids).abs().argmin(dim=1)  # (kept,)
    codes = torch.full(weight.shape, -1)
    codes[kept] = nearest
    count = nearest.bincount(minlength=len(centroids))
    mean = torch.zeros_like(centroids).index_add(0, nearest, values) / count
    return torch.where(count > 0, mean, centroids), codes
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_assign_then_move(kmeans_step):
    import torch

    weight = torch.tensor([0.0, 1.0, 2.0, 6.0, 0.0, 9.0])
    found, codes = kmeans_step(weight, torch.tensor([0.0, 8.0, -5.0]))
    codes, (a, b, c) = codes.tolist(), found.tolist()
    assert codes[0] == codes[4] == -1, f"pruned weights have code -1: {codes}"
    assert codes == [-1, 0, 0, 1, -1, 1], f"6 is nearer to 8 than to 0: {codes}"
    assert abs(a - 1.5) < 1e-5, f"the mean of 1 and 2 without the zeros is 1.5, not {a}"
    assert abs(b - 7.5) < 1e-5, f"the mean of 6 and 9 is 7.5, not {b}"
    assert c == -5, f"no weight is nearest to -5: it stays there, and is not {c}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_layers_of_any_shape_with_centroids_in_any_order(kmeans_step):
    import torch

    draw = torch.Generator().manual_seed(3)
    for shape, k in (((50,), 4), ((12, 9), 7), ((4, 2, 3, 3), 3)):
        weight = torch.randn(shape, generator=draw)
        weight[torch.rand(shape, generator=draw) < 0.4] = 0
        centroids = torch.randn(k, generator=draw)
        centroids[0] = 50.0  # no weight is nearest to it
        clusters, expected = [[] for _ in range(k)], []
        for w in weight.flatten().tolist():
            gaps = [abs(w - c) for c in centroids.tolist()]
            expected.append(gaps.index(min(gaps)) if w else -1)
            if w:
                clusters[expected[-1]].append(w)
        pairs = zip(clusters, centroids.tolist())
        means = torch.tensor([sum(ws) / len(ws) if ws else c for ws, c in pairs])
        found, codes = map(torch.as_tensor, kmeans_step(weight, centroids))
        assert codes.shape == shape, f"codes of shape {codes.shape}, expected {shape}"
        assert codes.flatten().tolist() == expected, "codes of the nearest centroid"
        close = torch.allclose(found.double(), means.double(), atol=1e-5)
        assert found.shape == (k,) and close, f"{found.tolist()}, not {means.tolist()}"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_nothing_kept_and_arguments_stay(kmeans_step):
    import torch

    weight, centroids = torch.tensor([[4.0, 0.0, -3.0]]), torch.tensor([1.0, 0.5, -9])
    before = weight.clone(), centroids.clone()
    found, codes = map(torch.as_tensor, kmeans_step(weight, centroids))
    assert codes.tolist() == [[0, -1, 1]], f"-3 is nearest to 0.5: codes {codes}"
    assert found.tolist() == [4, -3, -9], f"centroids {found.tolist()}"
    assert torch.equal(weight, before[0]), "the weight was changed"
    assert torch.equal(centroids, before[1]), "the centroids that came in were changed"
    found, codes = map(torch.as_tensor, kmeans_step(torch.zeros(2, 2), centroids))
    assert found.tolist() == before[1].tolist(), "nothing kept: all centroids stay"
    assert codes.tolist() == [[-1, -1], [-1, -1]], "all were pruned"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: canonical_codes
# points: 4

# %% [markdown]
# ## 4 · Canonical codes
#
# *medium, 20 minutes, 4 points*
#
# A file that holds only the code *lengths* is enough, if both sides agree how codes follow from them: take the symbols
# by length, those of equal length by symbol. The first code is all zeros. Each other code is the one before plus one,
# with zeros appended until it has its length.
#
# Return a dictionary from symbol to code, a string of `"0"` and `"1"`. Lengths are from 1 to 64; symbols are integers.
# `{}` gives `{}`. If $\sum_s 2^{-l_s} > 1$ (Kraft's inequality is violated) no such code exists: `ValueError`. A sum
# below 1 leaves words unused and is allowed. The sum must be exact: $1 + 2^{-60}$ is more than 1.
#
# Example: lengths `{0: 2, 1: 1, 2: 3, 3: 3}` give `{0: "10", 1: "0", 2: "110", 3: "111"}`. Lengths `{0: 1, 1: 1, 2: 2}`
# sum to 1.25 and raise.
#
# <details><summary>Hint</summary>
#
# Keep the code as an integer: "append zeros" is a shift to the left. Multiply Kraft's sum by 2 to the power of the
# longest length, and it is a sum of integers. A format such as `f"{number:05b}"` pads with zeros.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def canonical_codes(lengths):
    """The code of each symbol: dict, symbol to string of "0" and "1".

    lengths: dict, symbol (int) to bits of its code, 1 to 64. Raises ValueError if
    Kraft's inequality is violated.
    """
    # BEGIN SOLUTION
    longest = max(lengths.values(), default=0)
    if sum(2 ** (longest - length) for length in lengths.values()) > 2**longest:
        raise ValueError("no code has these lengths: Kraft's sum is more than 1")
    codes, code, before = {}, -1, 0
    for length, symbol in sorted((length, s) for s, length in lengths.items()):
        code, before = (code + 1) << (length - before), length
        codes[symbol] = f"{code:0{length}b}"
    return codes
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_short_codes_first_then_by_symbol(canonical_codes):
    found = canonical_codes({0: 2, 1: 1, 2: 3, 3: 3})
    assert found[1] == "0", f"the shortest code comes first, all zeros: {found}"
    assert found[0] == "10", f"0 plus 1 is 1, and a zero makes it two bits: {found}"
    assert found == {0: "10", 1: "0", 2: "110", 3: "111"}, f"{found}"
    found = canonical_codes({10: 2, 2: 2, 7: 2})
    assert found == {2: "00", 7: "01", 10: "10"}, f"2 before 7 before 10: {found}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_lengths_that_no_code_has(canonical_codes):
    found = canonical_codes({0: 1, 1: 1})
    assert found == {0: "0", 1: "1"}, f"1/2 + 1/2 is not more than 1: {found}"
    try:
        found = canonical_codes({0: 1, 1: 1, 2: 2})
    except ValueError:
        return
    raise AssertionError(f"1/2 + 1/2 + 1/4 is more than 1: ValueError, not {found}")


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_many_symbols_in_any_order(canonical_codes):
    import numpy as np

    draw = np.random.default_rng(4)
    for m, shortest in ((6, 3), (30, 5), (90, 7)):
        symbols = (draw.permutation(400)[:m] - 200).tolist()
        jumps = draw.choice([0, 0, 1, 4], m).tolist()
        lengths = {s: shortest + jump for s, jump in zip(symbols, jumps)}
        before, expected, start = dict(lengths), {}, 0.0  # exact: few bits
        for length, s in sorted((length, s) for s, length in lengths.items()):
            expected[s] = f"{int(start * 2**length):0{length}b}"
            start += 2.0**-length
        assert canonical_codes(lengths) == expected, f"for {before}"
        assert lengths == before, "lengths was changed"
    assert canonical_codes({}) == {}, "no symbols, no codes"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_sum_is_exact(canonical_codes):
    lengths = {s: min(s, 60) for s in range(1, 62)}  # 1/2 + 1/4 + … is exactly 1
    expected = {s: "1" * (s - 1) + "0" for s in range(1, 61)} | {61: "1" * 60}
    assert canonical_codes(lengths) == expected, "a sum of exactly 1 is allowed"
    try:
        canonical_codes(lengths | {62: 60})
    except ValueError:
        return
    raise AssertionError("1 plus 2 to the power of -60 is more than 1: ValueError")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: relative_coder
# points: 6

# %% [markdown]
# ## 5 · Relative positions
#
# *hard, 30 minutes, 6 points*
#
# A sparse vector is stored as a list of entries. Each has a value and a symbol of $p$ bits, $1 \le p \le 16$: symbol
# $s$, from 0 to $2^p - 1$, says that the entry lies $s + 1$ places behind the entry before. The first counts from place
# -1, so symbol 0 is place 0. If the next weight lies more than $2^p$ places behind, a *filler* is stored $2^p$ places
# behind: an entry with the largest symbol and value 0. Counting goes on from there, and more fillers follow if needed.
# A distance of exactly $2^p$ needs none. Nothing is stored behind the last weight; a vector of zeros has no entries.
#
# Write `relative_coder(bits)`, which returns two functions:
#
# - `encode(vector)`: from a NumPy array `(n,)` to symbols `(stored,)` and values `(stored,)`, arrays or lists;
# - `decode(symbols, values, n)`: from two NumPy arrays `(stored,)`, symbols of int64, and $n$ to the vector `(n,)`.
#
# Example with $p = 2$: the vector 0, 5, 0, 0, 0, 0, 0, 0, 0, 7 has weights at places 1 and 9. The second lies 8 behind
# the first, out of reach; a filler goes to place 5. Symbols 1, 3, 3; values 5, 0, 7.
#
# <details><summary>Hint</summary>
#
# Encoding: walk over the places of the weights and remember where the last entry was; a `while` is right for fillers.
# Decoding: the place of an entry is a running sum, and it does not matter which entries are fillers.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def relative_coder(bits):
    """Encoder and decoder of sparse vectors with relative positions of `bits` bits.

    encode: vector (n,) to symbols (stored,) and values (stored,). decode: symbols
    int64 (stored,), values (stored,) and n to the vector (n,).
    """
    # BEGIN SOLUTION
    reach = 2**bits

    def encode(vector):
        symbols, values, last = [], [], -1
        for place in np.flatnonzero(vector).tolist():
            while place - last > reach:
                last += reach
                symbols.append(reach - 1)
                values.append(0)
            symbols.append(place - last - 1)
            values.append(vector[place])
            last = place
        return np.array(symbols, dtype=np.int64), np.array(values, vector.dtype)

    def decode(symbols, values, n):
        vector = np.zeros(n, values.dtype)
        vector[np.cumsum(symbols + 1) - 1] = values
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


def test_encode_bridges_long_distances(relative_coder):
    import numpy as np

    encode, _ = relative_coder(2)
    symbols, values = map(np.asarray, encode(np.array([0, 0, 0, 6])))
    assert symbols.tolist() == [3], f"place 3 is 4 behind -1, in reach: {symbols}"
    symbols, values = map(np.asarray, encode(np.array([0, 5, 0, 0, 0, 0, 0, 0, 0, 7])))
    assert len(symbols) == len(values), "a filler has a value, too: zero"
    assert symbols[0] == 1, f"place 1 is 2 behind -1, which is symbol 1: {symbols}"
    assert symbols.tolist() == [1, 3, 3], f"a filler at place 5, then 4 more: {symbols}"
    assert values.tolist() == [5, 0, 7], f"{values}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_decode_adds_the_distances(relative_coder):
    import numpy as np

    _, decode = relative_coder(2)
    vector = np.asarray(decode(np.array([1, 3, 3]), np.array([5, 0, 7]), 12))
    assert vector.shape == (12,), f"n is 12, zeros behind the last weight: {vector}"
    assert vector.nonzero()[0].tolist() == [1, 9], f"the filler counts, too: {vector}"
    assert vector.tolist() == [0, 5] + [0] * 7 + [7, 0, 0], f"{vector}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_encode_stores_fillers_only_where_needed(relative_coder):
    import numpy as np

    draw = np.random.default_rng(5)
    for p, n, density in ((1, 60, 0.3), (2, 90, 0.05), (3, 300, 0.2), (5, 400, 0.01)):
        vector = (draw.random(n) < density) * (1 + draw.random(n))
        vector[n // 2 :] = 0
        vector[[n // 2, n // 2 + 2**p]] = -1  # exactly in reach
        before, symbols, values, zeros = vector.copy(), [], [], 0
        for value in vector[: n // 2 + 2**p + 1].tolist():
            if value != 0 or zeros == 2**p - 1:
                symbols.append(zeros)
                values.append(value)
                zeros = 0
            else:
                zeros += 1
        encode, _ = relative_coder(p)
        found = [np.asarray(part).tolist() for part in encode(vector)]
        assert found[0] == symbols, f"{p} bits: {found[0]}, expected {symbols}"
        assert found[1] == values, f"{p} bits: values {found[1]}"
        assert np.array_equal(vector, before), "the vector was changed"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_decode_inverts_encode(relative_coder):
    import numpy as np

    for bits in (1, 2, 4, 16):
        encode, decode = relative_coder(bits)
        for places in ([], [0], [199], [0, 199], [3, 4, 5, 100], [15, 31, 48, 199]):
            vector = np.zeros(200, np.float32)
            vector[places] = np.arange(1, len(places) + 1)
            symbols, values = encode(vector)
            symbols, values = np.array(symbols, np.int64), np.array(values, np.float32)
            assert len(symbols) == len(values), "as many values as symbols"
            assert places or len(symbols) == 0, "a vector of zeros has no entries"
            before = symbols.copy(), values.copy()
            found = np.asarray(decode(symbols, values, 200))
            assert np.array_equal(found, vector), f"{bits} bits, weights at {places}"
            same = np.array_equal(symbols, before[0])
            assert same and np.array_equal(values, before[1]), "entries were changed"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: account
# points: 5

# %% [markdown]
# ## 6 · What the naive count leaves out
#
# *hard, 30 minutes, 5 points*
#
# The naive count: "Keeping a share $d$ of the weights makes a layer $1/d$ times smaller, codes of $b$ bits make it
# $32/b$ times smaller, together $32/(d\,b)$." No file reaches it. Count what it leaves out, on masks of one layer at
# rising sparsity. Its $n$ float32 weights take
#
# - for each kept weight as many *entries* as its distance $D$ asks for: $\lceil D / 2^p \rceil$, the weight and its
#   fillers. $D$ is counted row by row from the kept weight before, for the first from place -1;
# - $b$ bits of code and $p$ bits of position for every entry: a filler has a code as well, that of zero;
# - 32 bits for each of the $2^b$ values in the codebook.
#
# Each mask gets the width $p$ out of `widths` with which its layer is smallest (the first, if several are). No mask is
# empty. Return a dictionary of three lists with one number a mask, and one name:
#
# - `"rate"`: $32\,n$ over all bits of the layer; `"naive"`: the naive count; `"ratio"`: rate over naive;
# - `"grows"`: `"codes"`, `"positions"` or `"codebook"`, whichever part's bits *for each kept weight* rise most, in
#   bits, from the first mask to the last. The tests hold no ties.
#
# Example: $b = 1$, 16 weights. With places 3 and 7 kept, both distances are 4, $p = 2$ is best: 2 bits of codes, 4 of
# positions, 64 of codebook, rate 512/70; naive 8 · 32 = 256. With place 7 alone, $p = 3$: 1 + 3 + 64 bits, rate 512/68,
# naive 512. For each kept weight codes stay at 1 bit, positions rise from 2 to 3, the codebook from 32 to 64: in so
# small a layer it is the codebook that grows most. And in a large one?
#
# <details><summary>Hint</summary>
#
# Nothing needs to be encoded: the places of the kept weights give the distances, the distances give the entries for
# each width. `-(-a // b)` divides integers and rounds up. Keep the three parts of each mask until the end.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def account(masks, code_bits, widths=range(1, 11)):
    """Measured rates of a layer beside the naive product, and the part that grows.

    masks: list of bool arrays of one shape, True where kept, from least to most pruned;
    code_bits: b; widths: the p to choose from. Returns a dict of "rate", "naive" and
    "ratio", lists (masks,), and "grows", a str.
    """
    # BEGIN SOLUTION
    rate, naive, each = [], [], []
    for mask in masks:
        distances = np.diff(np.flatnonzero(mask), prepend=-1)
        kept = len(distances)
        entries = {p: int((-(-distances // 2**p)).sum()) for p in widths}
        p = min(widths, key=lambda p: entries[p] * (code_bits + p))
        parts = {"codes": entries[p] * code_bits, "positions": entries[p] * p}
        parts["codebook"] = 32 * 2**code_bits
        rate.append(32 * mask.size / sum(parts.values()))
        naive.append(mask.size / kept * 32 / code_bits)
        each.append({part: bits / kept for part, bits in parts.items()})
    return {
        "rate": rate,
        "naive": naive,
        "ratio": [r / n for r, n in zip(rate, naive)],
        "grows": max(each[0], key=lambda part: each[-1][part] - each[0][part]),
    }
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_an_account_by_hand(account):
    import numpy as np

    found = account([np.isin(np.arange(16), places) for places in ([3, 7], [7])], 1)
    naive, rate, ratio = found["naive"], found["rate"], found["ratio"]
    assert np.allclose(naive, [256, 512]), f"1/d times 32/b, no positions: {naive}"
    told = f"512 bits over 2 + 4 + 64 and over 1 + 3 + 64, not {rate}"
    assert np.allclose(rate, [512 / 70, 512 / 68]), told
    assert np.allclose(ratio, [2 / 70, 1 / 68]), f"rate over naive: {ratio}"
    told = "for each kept weight the codebook rises from 32 to 64 bits: most of all"
    assert found["grows"] == "codebook", told


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_large_layer_refutes_the_product(account):
    import numpy as np

    scores = np.random.default_rng(7).random((200, 500))
    found = account([scores < density for density in (0.2, 0.05, 0.01)], 5)
    first, second, third = found["ratio"]
    assert 1 > first > second > third, "prune more, and more of the product is missing"
    told = "distances get longer: count the bits of each part for each kept weight"
    assert found["grows"] == "positions", told


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_every_bit_is_counted(account):
    import numpy as np

    draw = np.random.default_rng(8)
    cases = ((30, 40), 2, range(1, 11)), ((3000,), 4, [8, 3, 5]), ((8, 4, 9), 3, [2])
    for shape, b, widths in cases:
        scores = draw.random(shape)
        masks = [scores < density for density in (0.6, 0.2, 0.03)]
        masks[-1].flat[[0, -1]] = True  # the first and the last place
        before, rates, naive = [mask.copy() for mask in masks], [], []
        for mask in masks:
            places, totals = [-1, *np.flatnonzero(mask).tolist()], []
            for p in widths:
                entries = sum(1 + (j - i - 1 >> p) for i, j in zip(places, places[1:]))
                totals.append(entries * (b + p) + 32 * 2**b)
            rates.append(32 * mask.size / min(totals))
            naive.append(mask.size / mask.sum() * 32 / b)
        found = account(masks, b, widths)
        expected = {"rate": rates, "naive": naive, "ratio": np.divide(rates, naive)}
        for key, numbers in expected.items():
            close = np.shape(found[key]) == (3,) and np.allclose(found[key], numbers)
            assert close, f"{key} of shape {shape}: {found[key]}, expected {numbers}"
        assert all(map(np.array_equal, masks, before)), "a mask was changed"


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_what_grows_depends_on_the_layer(account):
    import numpy as np

    draw = np.random.default_rng(9)
    for n, densities, b, widths, expected in (
        (500, (0.5, 0.1), 6, range(1, 11), "codebook"),
        (80_000, (0.3, 0.02), 4, range(1, 11), "positions"),
        (80_000, (0.2, 0.01), 8, [5], "codes"),  # one width: fillers, and their codes
    ):
        scores = draw.random(n)
        found = account([scores < density for density in densities], b, widths)
        told = f"n {n}, kept {densities}, b {b}, widths {widths}: {expected}"
        assert found["grows"] == expected, told


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
