# Plausible answers to exercise 3: the grader must take points from each wrong one and give all to each right one.
# ruff: noqa: F811
import math


# %% wrong: every pair is counted once for a token, so that attention grows with T alone
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: the search is forgotten
def merging_gain(tokens, width, rest, ratio):
    left = tokens - int(tokens * ratio)
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + rest)


# %% wrong: searches even where nothing is merged
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: the ratio is the share that is kept
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, int(tokens * ratio) if ratio > 0 else tokens
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: only keys and values are merged
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before = 8 * tokens * width**2 + 4 * tokens**2 * width
    after = 4 * (tokens + left) * width**2 + 4 * tokens * left * width
    return (before + rest) / (after + search + rest)


# %% wrong: the rest of the network is forgotten
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return before / (after + search)


# %% wrong: rounds to the nearest number of tokens
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - round(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: compares all tokens with all
def merging_gain(tokens, width, rest, ratio):
    search = 2 * tokens**2 * width if ratio > 0 else 0
    left = tokens - int(tokens * ratio)
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: searches among the tokens that are left
def merging_gain(tokens, width, rest, ratio):
    left = tokens - int(tokens * ratio)
    search = 2 * (left - left // 4) * (left // 4) * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) / (after + search + rest)


# %% wrong: after divided by before
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (after + search + rest) / (before + rest)


# %% wrong: divides whole numbers
def merging_gain(tokens, width, rest, ratio):
    destinations, left = tokens // 4, tokens - int(tokens * ratio)
    search = 2 * (tokens - destinations) * destinations * width if ratio > 0 else 0
    before, after = (8 * n * width**2 + 4 * n**2 * width for n in (tokens, left))
    return (before + rest) // (after + search + rest)


# %% wrong: a constant: merging costs a little, whatever is merged
def merging_gain(tokens, width, rest, ratio):
    return 0.95


# %% right: from what is saved, with the width factored out
import math


def merging_gain(tokens, width, rest, ratio):
    if not ratio:
        return 1.0
    gone = math.floor(ratio * tokens)
    saved = 8 * width * gone + 4 * gone * (2 * tokens - gone) - 0.375 * tokens**2
    before = 8 * width * tokens + 4 * tokens**2 + rest / width
    return before / (before - saved)
