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
# # Assignment 04 · Fewer steps, fewer tokens
#
# You write guidance, the boundary condition of a consistency model and token merging. You count what merging can
# save, and find out why speed-ups do not multiply.
#
# Five exercises, 25 points, about 80 minutes. Each stands alone: none uses the answer of another. They belong to these
# sections of Lab 04: exercise 1 to section 1, exercise 2 to section 4, exercises 3 and 4 to section 5, exercise 5 to
# sections 7 and 9. No answer may change what it is given.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded.

# %%
import torch

# %% [raw]
# # BEGIN QUESTION
# name: guided_noise
# points: 4

# %% [markdown]
# ## 1 · Guidance
#
# *easy, 10 minutes, 4 points*
#
# `network(x, prompt)` predicts the noise in $x$, a tensor of the shape of $x$; the prompt `None` is the empty one.
# One call is one evaluation, and evaluations are the bill. Guidance of scale $g$ begins at the prediction without
# the prompt and goes $g$ times the way to the prediction with it. So $g = 1$ is no guidance: return the prediction
# with the prompt, after **one** evaluation. For any other $g$ ask the network twice.
#
# Example: 3 with the prompt, 1 without it. From 1 to 3 it is 2, so $g = 2$ gives $1 + 2 \cdot 2 = 5$, and $g = 1$
# gives 3.
#
# <details><summary>Hint</summary>
#
# Write the way from one prediction to the other as a difference. For g = 1 one of the two predictions drops out;
# what drops out need not be computed.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def guided_noise(network, x, prompt, guidance_scale):
    """Noise predicted with guidance, a tensor of the shape of `x`.

    `network(x, prompt)` gives a tensor of the shape of `x`; the prompt None is the empty
    one. A `guidance_scale` of 1 is none.
    """
    # BEGIN SOLUTION
    towards = network(x, prompt)
    if guidance_scale == 1:
        return towards
    start = network(x, None)
    return start + guidance_scale * (towards - start)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_guidance_goes_g_times_the_way_to_the_prompt(guided_noise):
    import torch

    says = {"a red shirt": torch.full((2,), 3.0), None: torch.full((2,), 1.0)}
    for scale, expected in ((2.0, 5.0), (1.0, 3.0), (1.5, 4.0)):
        got = guided_noise(
            lambda x, prompt: says[prompt].clone(), torch.zeros(2), "a red shirt", scale
        )
        assert torch.allclose(got.float(), torch.full((2,), expected)), (
            f"3 with the prompt, 1 without: scale {scale} gives {expected}, got {got}; "
            "begin at 1 and go the way to 3 that many times"
        )


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_without_guidance_a_step_is_one_evaluation(guided_noise):
    import torch

    asked = []

    def network(x, prompt):
        asked.append(prompt)
        return x + 1

    for scale, expected in ((1.0, 4), (3.0, 8)):
        asked.clear()
        for _ in range(4):
            guided_noise(network, torch.zeros(2), "a red shirt", scale)
        assert len(asked) == expected, (
            f"4 steps at scale {scale} are {expected} evaluations, and you made "
            f"{len(asked)}: when is the prediction without the prompt not needed?"
        )


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_any_shape_prompt_and_scale(guided_noise):
    import torch

    draw = torch.Generator().manual_seed(41)
    for shape, scale in (((3, 4, 8, 8), 7.5), ((1, 5), 1.25), ((2, 3), 1)):
        x, *predicted = torch.randn(4, *shape, generator=draw)
        says = dict(zip(("a", "b", None), predicted))
        for prompt in ("a", "b"):
            expected = ((1 - scale) * says[None] + scale * says[prompt]) * x
            got = guided_noise(lambda x, prompt: says[prompt] * x, x, prompt, scale)
            torch.testing.assert_close(
                got, expected, rtol=1e-4, atol=1e-4, check_dtype=False
            )


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_predictions_and_input_are_left_as_they_are(guided_noise):
    import torch

    x = torch.ones(2)
    says = {"a": torch.tensor([3.0, 0.0]), None: torch.tensor([1.0, 2.0])}
    for _ in range(2):  # the second time finds what the first has changed
        got = guided_noise(lambda x, prompt: says[prompt], x, "a", 2.0)
        assert got.tolist() == [5.0, -2.0], "a prediction was changed in place"
    assert x.tolist() == [1.0, 1.0], "x was changed in place"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: consistency
# points: 4

# %% [markdown]
# ## 2 · A consistency function
#
# *easy, 10 minutes, 4 points*
#
# A consistency function leads from a noisy $x$ at time $t$ to the end of its path. At $t = 0$ it must leave $x$ as it
# is, whatever picture $\hat z$ the network sees. With the scaled time $s = k\,t$,
#
# $$ f(x, t) = \frac{\sigma^2}{s^2 + \sigma^2}\, x + \frac{s}{\sqrt{s^2 + \sigma^2}}\, \hat z . $$
#
# `x` and `picture` are $(N, C, H, W)$, `time` is $(N,)$, int64: **each picture has a time of its own**. $\sigma$ is
# `sigma_data` and $k$ is `time_scale`.
#
# Example: $\sigma = 3$, $k = 4$, $t = 1$ give $s = 4$ and $s^2 + \sigma^2 = 25$, so that
# $f = \frac{9}{25}\, x + \frac{4}{5}\, \hat z$. With $x = 1$ and $\hat z = 2$ it is $0.36 + 1.6 = 1.96$.
#
# <details><summary>Hint</summary>
#
# Broadcasting lines shapes up from the right. A factor of shape (N,) meets the width W; which shape meets the pictures?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    """The end of the path on which `x` lies, (N, C, H, W).

    `x` and `picture` are (N, C, H, W), `picture` is what the network sees behind the
    noise; `time` is (N,), int64, from 0.
    """
    # BEGIN SOLUTION
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * x + scaled / total**0.5 * picture
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example_of_two_factors(consistency):
    import torch

    x, picture = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0)
    got = consistency(x, picture, torch.tensor([1]), sigma_data=3.0, time_scale=4.0)
    assert torch.allclose(got.float(), torch.full((1, 1, 2, 2), 1.96)), (
        f"9/25 of x = 1 and 4/5 of the picture = 2 are 1.96, got {got.flatten()[0]:.4f}; "
        "compare your two factors with 0.36 and 0.8"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_at_time_0_nothing_changes_and_at_time_1_it_does(consistency):
    import torch

    x = torch.arange(12.0).view(3, 1, 2, 2)
    picture, expected = x + 5, x.clone()
    expected[1] = 0.36 * x[1] + 0.8 * picture[1]
    got = consistency(x, picture, torch.tensor([0, 1, 0]), 3.0, 4.0).float()
    assert torch.allclose(got[[0, 2]], expected[[0, 2]]), (
        "at time 0 the factors are 1 and 0, and the result is x whatever the picture"
    )
    assert torch.allclose(got[1], expected[1]), (
        "only the second of the three has time 1, and the factors 0.36 and 0.8; "
        f"got {got[1].flatten().tolist()}, expected {expected[1].flatten().tolist()}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_each_picture_has_its_own_time(consistency):
    import math

    import torch

    draw = torch.Generator().manual_seed(42)
    for sigma, scale in ((0.5, 10.0), (2.0, 0.3)):
        x, picture = torch.randn(2, 3, 4, 3, 3, generator=draw)  # as many as wide
        times = [0, 999, 7]
        got = consistency(x, picture, torch.tensor(times), sigma, scale)
        expected = []
        for t, noisy, seen in zip(times, x, picture):
            total = (scale * t) ** 2 + sigma**2
            out = scale * t / math.sqrt(total)
            expected.append(sigma**2 / total * noisy + out * seen)
        expected = torch.stack(expected)
        torch.testing.assert_close(
            got, expected, rtol=1e-4, atol=1e-5, check_dtype=False
        )


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_defaults_shapes_and_input(consistency):
    import torch

    for shape in ((3, 2, 5, 3), (1, 4, 2, 6), (2, 1, 1, 1)):
        x, picture = torch.full(shape, 401.0), torch.full(shape, 401**0.5)
        got = consistency(x, picture, torch.ones(shape[0], dtype=torch.int64))
        # The scaled time is 10: 1/401 of x and 20/sqrt(401) of the picture.
        torch.testing.assert_close(got, torch.full(shape, 21.0), check_dtype=False)
        assert (x == 401).all() and (picture == 401**0.5).all(), "an input was changed"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: merging_gain
# points: 5

# %% [markdown]
# ## 3 · What merging can save
#
# *medium, 15 minutes, 5 points*
#
# How many times fewer operations does a network do when tokens are merged before self-attention? A multiplication and
# an addition are two operations. Self-attention over $T$ tokens of width $d$ takes $8 T d^2$ for its four linear layers
# (queries, keys, values, output) and $4 T^2 d$ for comparing all pairs and mixing the values. Softmax is left out.
#
# - $\lfloor \rho T \rfloor$ tokens are gone when attention begins, for a `ratio` $\rho$ from 0 to 0.75; queries, keys
#   and values are all made from those that remain.
# - Finding the pairs has a price: $T / 4$ tokens are destinations, and each of the others is compared with each of
#   them, a dot product of $2 d$ operations. At $\rho = 0$ there is no search.
# - `rest` is the number of all other operations of the network. Merging does not touch them.
#
# Return the operations before, divided by those after: above 1 merging saves, below 1 it costs.
#
# Example: $T = 4$, $d = 1$, `rest` = 4, $\rho = 0.5$. Before: $32 + 64 + 4 = 100$. After: two tokens, $16 + 16$; the
# search, three tokens with one, $6$; the rest, $4$; together $42$. The gain is $100 / 42 \approx 2.38$.
#
# <details><summary>Hint</summary>
#
# The search looks at the tokens before merging, attention at those after it. Write a small function of T for attention
# and call it twice.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def merging_gain(tokens, width, rest, ratio):
    """Operations before merging divided by operations after it, a float.

    `tokens` is a multiple of 4, `width` that of a token, `rest` the operations outside
    self-attention, `ratio` the share of tokens to merge, 0 to 0.75.
    """
    # BEGIN SOLUTION
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_merging_half_of_the_tokens_saves_and_merging_a_few_costs(merging_gain):
    got = merging_gain(4, 1, 4, 0.5)
    assert abs(got - 100 / 42) < 1e-6, (
        f"100 operations become 16 + 16 + 6 + 4 = 42, a gain of {100 / 42:.4f}, got {got}"
    )
    got = merging_gain(64, 1, 0, 0.02)
    assert abs(got - 16_896 / 17_916) < 1e-6, (
        "one of 64 tokens is merged: 512 + 16,384 operations become 504 + 15,876, and "
        "the search takes 2 * 48 * 16 = 1,536 as it would for half of the tokens: "
        f"{16_896 / 17_916:.4f}, below 1, got {got}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_random_networks(merging_gain):
    import math
    import random

    draw = random.Random(44)
    for _ in range(30):
        tokens, width = 4 * draw.randint(1, 2000), draw.randint(1, 512)
        rest, ratio = draw.randint(0, 10**9), draw.choice([0.25, 0.5, 0.75])
        before, after = (
            8 * n * width**2 + 4 * n * n * width + rest
            for n in (tokens, tokens - int(ratio * tokens))
        )
        expected = before / (after + 2 * (3 * tokens // 4) * (tokens // 4) * width)
        got = merging_gain(tokens, width, rest, ratio)
        assert math.isclose(got, expected, rel_tol=1e-6), (tokens, width, rest, ratio)


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_no_search_without_merging_and_counts_rounded_down(merging_gain):
    got = merging_gain(64, 32, 1000, 0)
    assert abs(got - 1) < 1e-9, "at ratio 0 nothing changes, and nothing is searched"
    # Of 16 tokens 4.8, so 4, are merged: 8 * 12 + 4 * 144 + 2 * 12 * 4 = 768 are left.
    got = merging_gain(16, 1, 0, 0.3)
    assert abs(got - (128 + 1024) / 768) < 1e-6, "4.8 tokens are rounded down to 4"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: merge_similar
# points: 6

# %% [markdown]
# ## 4 · Merge and unmerge
#
# *hard, 25 minutes, 6 points*
#
# `tokens` is $(T, C)$. The tokens at the indices `destinations`, $(D,)$, stay; all others are sources. Every source
# looks for the destination with the largest **cosine** similarity. The `r` sources whose best is most similar merge
# into it, $0 \le r \le T - D$; the other sources stay as they are. A destination becomes the mean of itself and all
# sources that merge into it. Similarities are those of the given tokens, and never updated.
#
# Return two tensors:
#
# - `merged`, $(T - r, C)$: the tokens that are left, **in the order in which they stood**;
# - `where`, $(T,)$, int64: for each token the row of `merged` in which it is now. So `merged[where]` unmerges.
#
# Example: tokens $(1, 0), (0, 1), (3, 0), (1, 2)$, destinations 0 and 1, $r = 1$. Token 2 has the direction of token 0,
# so they merge: `merged` is $(2, 0), (0, 1), (1, 2)$ and `where` is $0, 1, 0, 2$. In the tests no two similarities are
# equal where that would matter, and no token is zero.
#
# <details><summary>Hint</summary>
#
# Write down for each token which token it follows: itself, or its destination. How many different leaders are left, and
# which rank has each? `torch.unique(…, return_inverse=True)` answers both; `index_add` sums rows.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def merge_similar(tokens, destinations, r):
    """Tokens after merging, (T - r, C), and for each old one its new row, (T,), int64.

    `tokens` is (T, C), float; `destinations` is (D,), int64, rising; `r` of the others
    merge.
    """
    # BEGIN SOLUTION
    is_source = torch.ones(len(tokens), dtype=torch.bool)
    is_source[destinations] = False
    sources = is_source.nonzero()[:, 0]
    direction = tokens / tokens.norm(dim=1, keepdim=True)
    similarity = direction[sources] @ direction[destinations].T
    closest, into = similarity.max(dim=1)
    first = closest.topk(r).indices
    leader = torch.arange(len(tokens))
    leader[sources[first]] = destinations[into[first]]
    left, where = leader.unique(return_inverse=True)
    sums = tokens.new_zeros(len(left), tokens.shape[1]).index_add(0, where, tokens)
    return sums / where.bincount()[:, None], where
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_what_points_the_same_way_merges(merge_similar):
    import torch

    tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 2.0]])
    merged, where = merge_similar(tokens, torch.tensor([0, 1]), 1)
    assert where.tolist() == [0, 1, 0, 2], (
        f"token 2 goes where token 0 is, and token 3 moves up to row 2, got {where}"
    )
    expected = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    assert merged.shape == (3, 2), f"one of four tokens is gone, got {merged.shape}"
    assert torch.allclose(merged.float(), expected), (
        f"the mean of (1, 0) and (3, 0) is (2, 0), the others stay, got {merged}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_similar_is_what_has_a_similar_direction_however_long(merge_similar):
    import torch

    tokens = torch.tensor([[9.0, 9.0], [0.0, 1.0], [0.1, 3.0], [4.0, 5.0]])
    merged, where = merge_similar(tokens, torch.tensor([0, 1]), 2)
    assert where.tolist() == [0, 1, 1, 0], (
        f"(0.1, 3) points as (0, 1) does, and (4, 5) as (9, 9) does, got {where}: "
        "divide each token by its length before comparing"
    )
    expected = torch.tensor([[6.5, 7.0], [0.05, 2.0]])
    assert torch.allclose(merged.float(), expected), (
        "the mean is of the tokens as they were given, not of those of length 1"
    )


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_tokens(merge_similar):
    import torch

    draw = torch.Generator().manual_seed(45)
    for count, width, few, r in ((16, 5, 4, 8), (9, 3, 2, 3), (30, 8, 7, 22)):
        tokens = torch.randn(count, width, generator=draw, dtype=torch.float64)
        stay = torch.randperm(count, generator=draw)[:few].sort().values
        pairs = []
        for i in set(range(count)) - set(stay.tolist()):
            alike = torch.cosine_similarity(tokens[i], tokens[stay])
            pairs.append((alike.max().item(), i, stay[alike.argmax()].item()))
        follows = {i: j for _, i, j in sorted(pairs, reverse=True)[:r]}
        left = [i for i in range(count) if i not in follows]
        merged, where = merge_similar(tokens, stay, r)
        assert where.tolist() == [left.index(follows.get(i, i)) for i in range(count)]
        groups = [[i] + [k for k in follows if follows[k] == i] for i in left]
        expected = torch.stack([tokens[group].mean(dim=0) for group in groups])
        torch.testing.assert_close(merged, expected, check_dtype=False)


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_means_of_many_nothing_to_merge_and_inputs_left_as_they_are(merge_similar):
    import torch

    tokens = torch.tensor([[1.0, 0.2], [4.0, 0.3], [-1.0, 5.0], [1.0, 0.1], [2.0, 0.2]])
    before, stay = tokens.clone(), torch.tensor([1, 2])
    merged, where = merge_similar(tokens, stay, 3)
    assert where.tolist() == [0, 0, 1, 0, 0]
    expected = torch.tensor([[2.0, 0.2], [-1.0, 5.0]])
    torch.testing.assert_close(merged, expected, check_dtype=False)
    merged, where = merge_similar(tokens, stay, 0)
    torch.testing.assert_close(merged, before, check_dtype=False)
    assert where.tolist() == [0, 1, 2, 3, 4], "with r = 0 every token stays"
    assert torch.equal(tokens, before), "tokens were changed in place"
    assert stay.tolist() == [1, 2], "destinations were changed in place"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: whole_and_product
# points: 6

# %% [markdown]
# ## 5 · Why speed-ups do not multiply
#
# *hard, 20 minutes, 6 points*
#
# *"Each technique was measured alone; together they give the product."* Refute it. `parts` says how many milliseconds
# each part of drawing a picture takes; `techniques` is a list of pairs (part, factor): alone, that technique makes that
# part so many times faster and leaves the others as they are. Two techniques may act on one part; their factors for
# that part then multiply. A factor below 1 makes it slower. Return
#
# - `whole`: how many times faster the picture is drawn with all techniques together,
# - `product`: the product of the speed-ups **of the picture** by each technique alone,
# - `bound`: the name of the part that takes the longest afterwards: what to work on next.
#
# A technique for a part that is not there raises `ValueError`. Without techniques both numbers are 1.
#
# Example: network 80 ms, decoder 20 ms, techniques (network, 4) and (network, 2). Alone they leave 40 and 60 of 100 ms:
# 2.5 times and 1.67 times, the product is 4.17. Together they leave 10 + 20 = 30 ms: the whole is 3.33, and the decoder
# is the bound. Now let the second be (decoder, 2): 30 ms again, but the product is only 2.5 · 1.11 = 2.78. Why does
# the whole fall short of the product in one case, and exceed it in the other?
#
# <details><summary>Hint</summary>
#
# The factor of a part is not the speed-up of the picture: for each technique alone, compute what the picture
# takes then.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def whole_and_product(parts, techniques):
    """(whole, product, bound): two speed-ups of the sum of all parts, and a part's name.

    `parts` is a dictionary from names to milliseconds, `techniques` a list of (name of a
    part, factor). Raises ValueError for a part that is not there.
    """
    # BEGIN SOLUTION
    before = sum(parts.values())
    left = dict(parts)
    product = 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(f"no part is called {part!r}, only {', '.join(parts)}")
        left[part] /= factor
        product *= before / (before - parts[part] + parts[part] / factor)
    return before / sum(left.values()), product, max(left, key=left.get)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_techniques_for_one_part_fall_short_of_their_product(whole_and_product):
    parts = {"network": 80.0, "decoder": 20.0}
    techniques = [("network", 4), ("network", 2)]
    whole, product, bound = whole_and_product(parts, techniques)
    assert abs(whole - 100 / 30) < 1e-6, (
        f"80 / 4 / 2 + 20 = 30 ms are left of 100, got a whole of {whole}"
    )
    assert abs(product - 100 / 40 * 100 / 60) < 1e-6, (
        f"alone they leave 40 and 60 of 100 ms, got a product of {product}; multiply the "
        "speed-ups of the picture, not the factors of the part"
    )
    assert bound == "decoder", f"10 ms of network, 20 ms of decoder, got {bound!r}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_techniques_for_different_parts_exceed_their_product(whole_and_product):
    parts = {"network": 80.0, "decoder": 20.0}
    whole, product, bound = whole_and_product(parts, [("network", 4), ("decoder", 2)])
    assert abs(whole - 100 / 30) < 1e-6, f"20 + 10 ms are left of 100, got {whole}"
    assert abs(product - 100 / 40 * 100 / 90) < 1e-6, (
        f"alone they leave 40 and 90 of 100 ms, got {product}; each starts from the "
        "times as they were, not from what the one before it has left"
    )
    assert bound == "network", f"20 ms of network, 10 ms of decoder, got {bound!r}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_parts(whole_and_product):
    import math
    import random

    draw = random.Random(46)
    for _ in range(30):
        parts = {name: draw.uniform(1, 99) for name in "abcde"[: draw.randint(1, 5)]}
        names = draw.choices(list(parts), k=draw.randint(1, 6))
        techniques = [(name, draw.uniform(0.5, 9)) for name in names]
        total = sum(parts.values())
        # What the picture takes with all techniques, part by part, and with each alone.
        left = {
            name: ms / math.prod(f for part, f in techniques if part == name)
            for name, ms in parts.items()
        }
        alone = [total + parts[name] * (1 / f - 1) for name, f in techniques]
        expected = math.prod(total / ms for ms in alone)
        whole, product, bound = whole_and_product(dict(parts), list(techniques))
        assert math.isclose(whole, total / sum(left.values()), rel_tol=1e-6)
        assert math.isclose(product, expected, rel_tol=1e-6)
        assert left[bound] == max(left.values())


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_edge_cases_and_inputs_left_as_they_are(whole_and_product):
    parts, techniques = {"network": 7, "decoder": 5}, [("network", 2), ("decoder", 0.5)]
    for _ in range(2):  # the second time finds what the first has changed
        whole, product, bound = whole_and_product(parts, techniques)
        assert abs(whole - 12 / 13.5) < 1e-6 and bound == "decoder"
        assert abs(product - 12 / 8.5 * 12 / 17) < 1e-6
    assert techniques == [("network", 2), ("decoder", 0.5)], "techniques were changed"
    whole, product, bound = whole_and_product(parts, [])
    assert abs(whole - 1) < 1e-9 and abs(product - 1) < 1e-9 and bound == "network"
    try:
        whole_and_product(parts, [("network", 2), ("adapter", 2)])
    except ValueError:
        return
    raise AssertionError("there is no adapter to make faster: raise ValueError")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## To discuss
#
# Section 9 of the lab lists which share of the time the network, the decoder, the text encoder and the loop take,
# before and after. Put the shares before into `whole_and_product`, with the quotient of the evaluations as the factor
# of the network, and set the result beside the speed-up that was measured. Where they differ: which assumption of the
# forecast is broken, and which measurement would show it? And why may an operation saved, as in exercise 3, save no
# time at all?
