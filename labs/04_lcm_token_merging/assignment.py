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
# You guide only a part of the steps, decide from measured distances, count what merging can save, let merged tokens
# count for as many as they are, and find out why speed-ups do not multiply.
#
# Five exercises, 25 points, about 80 minutes. Each stands alone: none uses the answer of another. They belong to these
# sections of Lab 04: exercise 1 to sections 1 and 2, exercise 2 to section 3, exercises 3 and 4 to section 5, exercise 5
# to sections 6 and 8. No answer may change what it is given, nor what a network puts out.
#
# The cell below each exercise runs the public tests; hidden tests of the same kind are run when it is graded.

# %%
import torch

# %% [raw]
# # BEGIN QUESTION
# name: guided_in_part
# points: 4

# %% [markdown]
# ## 1 · Guidance in a part of the steps
#
# *easy, 10 minutes, 4 points*
#
# Guidance doubles the evaluations of a step. Early steps decide what is drawn, late ones its details: so guide only the
# steps `first`, …, `last - 1`, counted from 0. `network(x, prompt)` predicts, and the prompt `None` is the empty one. A
# guided step uses the prediction $p_0 + g\,(p - p_0)$, with $p$ for the prompt and $p_0$ for none; every other step uses
# $p$ alone. `step(x, predicted, i)` gives the $x$ after step $i$. Return the last $x$ and the number of evaluations.
#
# No evaluation may be made that is not needed, and a scale $g = 1$ is no guidance in any step.
#
# Example: $p = 3$ and $p_0 = 1$ at every $x$, three steps, $g = 2$, `first` = 0, `last` = 1, and a step adds
# $(i + 1)$ times the prediction to $x = 0$. The first prediction is $1 + 2 \cdot 2 = 5$, the others are 3:
# $5 + 6 + 9 = 20$, after 4 evaluations.
#
# <details><summary>Hint</summary>
#
# Count where you call the network, and nowhere else. In which of three cases is the second call made?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def guided_in_part(network, step, x, prompt, steps, scale, first, last):
    """(x after all steps, evaluations): guided with this scale in the steps from `first` to
    `last` - 1 only.

    `network(x, prompt)` gives a tensor of the shape of `x`, and the prompt None is the empty
    one; `step(x, predicted, i)` gives the x after step i.
    """
    # BEGIN SOLUTION
    evaluations = 0
    for i in range(steps):
        predicted = network(x, prompt)
        evaluations += 1
        if first <= i < last and scale != 1:
            start = network(x, None)
            evaluations += 1
            predicted = start + scale * (predicted - start)
        x = step(x, predicted, i)
    return x, evaluations
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example_of_three_steps_with_the_first_one_guided(guided_in_part):
    import torch

    says = {"a red shirt": torch.tensor([3.0]), None: torch.tensor([1.0])}
    got, evaluations = guided_in_part(
        lambda x, prompt: says[prompt].clone(),
        lambda x, predicted, i: x + (i + 1) * predicted,
        *(torch.zeros(1), "a red shirt", 3, 2.0, 0, 1),
    )
    assert abs(float(got) - 20) < 1e-5, (
        f"predictions of 5, 3 and 3, taken 1, 2 and 3 times, make 20, got {float(got)}"
    )
    assert evaluations == 4 and getattr(evaluations, "ndim", 0) == 0, (
        f"two for the first step, one for each other: {evaluations}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_no_evaluation_is_made_that_is_not_needed(guided_in_part):
    import torch

    asked = []

    def network(x, prompt):
        asked.append(prompt)
        return x + 1

    for scale, first, last, expected in (
        (3.0, 1, 3, 6),
        (3.0, 0, 4, 8),
        (1.0, 0, 4, 4),
    ):
        asked.clear()
        step = lambda x, predicted, i: x - predicted  # noqa: E731
        _, said = guided_in_part(
            network, step, torch.zeros(2), "a", 4, scale, first, last
        )
        assert len(asked) == expected == said, (
            f"scale {scale} in the steps {first} to {last - 1} of 4 takes {expected} "
            f"evaluations; you made {len(asked)} and return {said}"
        )


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_any_part_scale_and_shape_and_nothing_changed_in_place(guided_in_part):
    import torch

    draw = torch.Generator().manual_seed(41)
    cases = (
        (5, 7.5, 2, 4, (3, 4)),
        (6, 1.25, 0, 6, (2,)),
        (4, 0.5, 2, 9, (1,)),
        (2, 3, 1, 1, (5,)),
    )
    for steps, scale, first, last, shape in cases:
        x, with_prompt, without = torch.randn(3, *shape, generator=draw)
        expected, evaluations = x, 0
        for i in range(steps):
            guided = i in range(first, last)
            factor = (
                without + scale * (with_prompt - without) if guided else with_prompt
            )
            expected = expected - 0.1 * (i + 1) * (factor + 0.2 * expected)
            evaluations += 1 + guided
        says = {"b": with_prompt.clone(), None: without.clone()}
        start = x.clone()
        got, said = guided_in_part(
            lambda x, p: says[p],
            lambda x, predicted, i: x - 0.1 * (i + 1) * (predicted + 0.2 * x),
            *(start, "b", steps, scale, first, last),
        )
        assert torch.equal(start, x), "the x that was given was changed in place"
        assert torch.equal(says["b"], with_prompt), "a prediction was changed in place"
        torch.testing.assert_close(
            got, expected, rtol=1e-4, atol=1e-4, check_dtype=False
        )
        assert said == evaluations, f"{evaluations} evaluations, got {said}"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: verdict
# points: 5

# %% [markdown]
# ## 2 · As good, or not?
#
# *medium, 15 minutes, 5 points*
#
# Two samplers drew pictures with the same seeds, and `before` and `after` are their distances to real pictures, one of
# each for every seed. The claim: `after` lies at most `margin` farther. A verdict needs an interval: with the differences
# $d_i$ = after − before of the $n$ seeds, their mean $\bar d$ and their standard deviation $s$ (with $n - 1$), it is
#
# $$ \bar d \pm t_{n-1}\, \frac{s}{\sqrt n} . $$
#
# `quantiles[k]` is $t_k$. Return a tuple of verdict, low end and high end. The verdict is `"holds"` if the whole interval
# is at most `margin`, `"fails"` if the whole interval is above it, and `"undecided"` otherwise. Fewer than two seeds decide
# nothing, and neither do differences without any spread: both ends are then the mean, and the verdict is `"undecided"`.
#
# Example: before 1, 1, 1 and after 1.1, 1.2, 1.3 with $t_2 = 4.303$: the mean is 0.2, $s = 0.1$, and the interval is
# $0.2 \pm 0.248$. With a margin of 0.1 that is undecided, though the mean is twice the margin; with 0.5 it holds.
#
# <details><summary>Hint</summary>
#
# The seeds make both distances rise and fall together. Which of two standard deviations does not see that: of the
# differences, or of each sampler for itself?
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def verdict(before, after, margin, quantiles):
    """("holds", "fails" or "undecided", low, high) of the claim that `after` lies at most
    `margin` above `before`.

    `before` and `after` are lists of floats, one for each seed, in the same order;
    `quantiles` is a dictionary from degrees of freedom, 1 or more, to Student's t.
    """
    # BEGIN SOLUTION
    apart = torch.tensor(after, dtype=torch.float64) - torch.tensor(
        before, dtype=torch.float64
    )
    n, mean = len(apart), float(apart.mean())
    if n < 2 or float(apart.max() - apart.min()) < 1e-12:
        return "undecided", mean, mean
    half = quantiles[n - 1] * float(apart.std()) / n**0.5
    low, high = mean - half, mean + half
    if high <= margin:
        return "holds", low, high
    return ("fails" if low > margin else "undecided"), low, high
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example_is_undecided_for_a_small_margin_and_holds_for_a_large_one(verdict):
    before, after, quantiles = [1.0, 1.0, 1.0], [1.1, 1.2, 1.3], {1: 12.706, 2: 4.303}
    for margin, expected in ((0.1, "undecided"), (0.5, "holds"), (-0.1, "fails")):
        found = verdict(before, after, margin, quantiles)
        assert isinstance(found, tuple), f"a tuple of three, not {found!r}"
        said, low, high = found
        assert getattr(low, "ndim", 0) == getattr(high, "ndim", 0) == 0, (low, high)
        assert abs(low + 0.0484) < 1e-3 and abs(high - 0.4484) < 1e-3, (
            f"0.2 plus and minus 4.303 * 0.1 / sqrt(3) = 0.248, got {low} to {high}"
        )
        assert said == expected, f"margin {margin}: {expected}, got {said!r}"


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_seeds_are_paired(verdict):
    before, after = [1.0, 5.0, 9.0], [1.3, 5.31, 9.32]  # all seeds say the same
    said, low, high = verdict(before, after, 0.2, {2: 4.303})
    assert abs(low - 0.285) < 1e-3 and abs(high - 0.335) < 1e-3, (
        "the differences are 0.30, 0.31 and 0.32, however far the seeds lie apart: "
        f"0.285 to 0.335, got {low} to {high}"
    )
    assert said == "fails", f"the whole interval is above 0.2, got {said!r}"


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_seeds(verdict):
    import random
    import statistics

    draw = random.Random(42)
    quantiles = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
    for _ in range(60):
        n, shift = draw.randint(2, 8), draw.choice([-0.3, 0.0, 0.1, 0.6])
        before = [draw.uniform(0.5, 3) for _ in range(n)]
        after = [b + shift + draw.gauss(0, 0.1) for b in before]
        apart = [a - b for a, b in zip(after, before)]
        mean, half = statistics.mean(apart), quantiles[n - 1] * statistics.stdev(apart)
        half /= n**0.5
        expected = "holds" if mean + half <= 0.1 else "undecided"
        expected = "fails" if mean - half > 0.1 else expected
        given = list(before), list(after), 0.1, dict(quantiles)
        said, low, high = verdict(*given)
        assert given == (before, after, 0.1, quantiles), "an argument was changed"
        assert said == expected, (before, after)
        assert abs(low - (mean - half)) < 1e-4 and abs(high - (mean + half)) < 1e-4


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_one_seed_and_no_spread_decide_nothing(verdict):
    quantiles = {1: 12.706, 2: 4.303}
    for before, after, mean in (([1.0], [3.0], 2.0), ([1.0, 2.0], [1.5, 2.5], 0.5)):
        for margin in (-5.0, 0.1, 5.0):
            said, low, high = verdict(before, after, margin, quantiles)
            assert said == "undecided" and abs(low - mean) + abs(high - mean) < 1e-9
    said, low, high = verdict([1.0, 2.0], [2.0, 2.0], 7.0, quantiles)
    assert said == "holds" and abs(high - 6.853) < 1e-3  # 0.5 and 12.706 * 0.5


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
# **Predict first:** a network has 1,024 tokens of width 64, attention does a quarter of its operations, and half of the
# tokens are merged. How many times fewer operations is that? Write your number into `my_guess` before you write the
# function, and then let the function say it; only the function is graded.
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
my_guess = None  # times fewer operations


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
    assert getattr(got, "ndim", 0) == 0, f"a float, not {got}"
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
# name: merged_attention
# points: 5

# %% [markdown]
# ## 4 · A merged token counts for many
#
# *hard, 20 minutes, 5 points*
#
# After merging, a token that stands for 300 has the same weight in attention as one that stands for itself. That can be
# repaired: a token of size $n$ gets the weight that $n$ equal tokens would get together. `where`, $(T,)$, says for each
# of the tokens, $(T, C)$, in which group it is, a number from 0 to $G - 1$; every group has a token.
#
# - Each group becomes the mean of its tokens.
# - $Q$, $K$ and $V$ are the group means times `w_q`, `w_k` and `w_v`, each $(C, C)$: `means @ w_q` and so on.
# - Group $j$ has weight $n_j\, e^{q \cdot k_j / \sqrt C}$ for a query $q$, and the weights of all groups are divided by their
#   sum. The result of a query is the weighted mean of $V$.
# - Every token gets the result of its group: return $(T, C)$.
#
# If all tokens of a group are equal, this is exactly what attention over all $T$ tokens gives. A score
# $q \cdot k_j / \sqrt C$ can be 1,000, and $e^{1000}$ is no number for a computer.
#
# Example: $C = 1$, all three matrices 0, 0 and 1, tokens 1, 1 and 4, groups 0, 0 and 1. Every weight is $n_j$, so each
# result is $(2 \cdot 1 + 1 \cdot 4) / 3 = 2$; without the sizes it would be 2.5.
#
# <details><summary>Hint</summary>
#
# A factor of a weight is a sum in the exponent. `index_add_` sums rows by group, and `bincount` counts them.
#
# </details>

# %% [raw]
# # BEGIN SOLUTION


# %%
def merged_attention(tokens, where, w_q, w_k, w_v):
    """Attention among groups that count for as many as they are, (T, C).

    `tokens` is (T, C), float32 or float64; `where` is (T,), int64, the groups, 0 to G - 1;
    `w_q`, `w_k` and `w_v` are (C, C).
    """
    # BEGIN SOLUTION
    sizes = where.bincount()
    sums = tokens.new_zeros(len(sizes), tokens.shape[1]).index_add(0, where, tokens)
    means = sums / sizes[:, None]
    scores = (means @ w_q) @ (means @ w_k).T / tokens.shape[1] ** 0.5
    weights = (scores + sizes.log()).softmax(dim=1)
    return (weights @ (means @ w_v))[where]
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_example_of_two_groups(merged_attention):
    import torch

    tokens, where = torch.tensor([[1.0], [1.0], [4.0]]), torch.tensor([0, 0, 1])
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    got = merged_attention(tokens, where, zero, zero, one)
    assert got.shape == (3, 1), (
        f"one result for each of the three tokens, got {got.shape}"
    )
    assert torch.allclose(got, torch.full((3, 1), 2.0), atol=1e-5), (
        f"2/3 of 1 and 1/3 of 4 are 2, got {got.flatten().tolist()}; the first group has "
        "two tokens and counts twice"
    )


# %%
"""# BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_groups_of_equal_tokens_change_nothing(merged_attention):
    import torch

    draw = torch.Generator().manual_seed(43)
    few, where = torch.randn(3, 4, generator=draw), torch.tensor([2, 0, 2, 1, 2, 0])
    w_q, w_k, w_v = torch.randn(3, 4, 4, generator=draw)
    tokens = few[where]
    scores = (tokens @ w_q) @ (tokens @ w_k).T / 2  # the root of four
    expected = scores.softmax(dim=1) @ (tokens @ w_v)
    got = merged_attention(tokens, where, w_q, w_k, w_v)
    assert torch.allclose(got, expected, atol=1e-4), (
        "six tokens of which three, two and one are equal: attention over groups is "
        f"attention over all, largest difference {(got - expected).abs().max():.3f}"
    )


# %%
"""# BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_groups(merged_attention):
    import torch

    draw = torch.Generator().manual_seed(44)
    for count, width, few in ((12, 5, 4), (9, 2, 9), (40, 8, 3)):
        tokens, *weights = torch.randn(
            1 + 3, max(count, width), width, generator=draw
        ).double()
        tokens, weights = tokens[:count], [w[:width] for w in weights]
        where = torch.cat(
            [torch.arange(few), torch.randint(few, (count - few,), generator=draw)]
        )
        where = where[torch.randperm(count, generator=draw)]
        means = torch.stack([tokens[where == j].mean(dim=0) for j in range(few)])
        q, k, v = (means @ w for w in weights)
        expected = []
        for j in where.tolist():
            shares = [
                (where == i).sum() * (q[j] @ k[i] / width**0.5).exp()
                for i in range(few)
            ]
            expected.append(sum(s * v[i] for i, s in enumerate(shares)) / sum(shares))
        got = merged_attention(tokens, where, *weights)
        torch.testing.assert_close(got, torch.stack(expected), check_dtype=False)


# %%
"""# BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_large_scores_one_group_and_inputs_left_as_they_are(merged_attention):
    import torch

    tokens, eye = torch.tensor([[30.0, 0.0], [28.0, 2.0], [0.0, 40.0]]), torch.eye(2)
    before, where = tokens.clone(), torch.tensor([1, 1, 0])
    got = merged_attention(tokens, where, eye, eye, eye)
    expected = torch.tensor([[29.0, 1.0], [29.0, 1.0], [0.0, 40.0]])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    got = merged_attention(tokens, torch.zeros(3, dtype=torch.int64), eye, eye, 2 * eye)
    torch.testing.assert_close(
        got, 2 * before.mean(dim=0).expand(3, 2), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(tokens, before) and where.tolist() == [1, 1, 0], (
        "an input was changed"
    )


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
    for number in (whole, product):
        assert getattr(number, "ndim", 0) == 0, f"a number, not {number}"


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
    assert parts == {"network": 7, "decoder": 5}, "parts were changed"
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
# Read the latencies of 25 guided and of four unguided steps off the picture in section 7 of the lab. They give the two
# parts of a picture's time: what all evaluations take, and what is done once. Put these parts into `whole_and_product` and
# predict 25 unguided steps. Where that differs from what was measured: which assumption is broken, and which measurement
# would show it? And why may an operation saved, as in exercise 3, save no time at all?
