# Answers to code_bits that the tests must tell apart, one a cell.
# ruff: noqa: F811

# %% wrong: the natural logarithm, so nats beside bits
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    shares = {s: c / total for s, c in counts.items() if c}
    if set(shares) - set(lengths):
        raise ValueError
    mean = sum(p * lengths[s] for s, p in shares.items())
    return mean, -sum(p * math.log(p) for p in shares.values())


# %% wrong: every symbol's code counts once, however often it occurs
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    shares = {s: c / total for s, c in counts.items() if c}
    if set(shares) - set(lengths):
        raise ValueError
    mean = sum(lengths[s] for s in shares) / len(shares)
    return mean, -sum(p * math.log2(p) for p in shares.values())


# %% wrong: all bits of the stream instead of bits a symbol
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    shares = {s: c / total for s, c in counts.items() if c}
    if set(shares) - set(lengths):
        raise ValueError
    mean = sum(c * lengths[s] for s, c in counts.items() if c)
    return mean, -sum(p * math.log2(p) for p in shares.values())


# %% wrong: log of zero for a symbol that never occurs
import math


def code_bits(counts, lengths):
    if any(s not in lengths for s, c in counts.items() if c):
        raise ValueError
    total = sum(counts.values())
    mean = sum(c * lengths.get(s, 0) for s, c in counts.items()) / total
    return mean, -sum(c / total * math.log2(c / total) for c in counts.values())


# %% wrong: KeyError for a symbol without a code
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    shares = {s: c / total for s, c in counts.items() if c}
    mean = sum(p * lengths[s] for s, p in shares.items())
    return mean, -sum(p * math.log2(p) for p in shares.values())


# %% wrong: the entropy that the code was made for, with shares of 2 ** -length
def code_bits(counts, lengths):
    total = sum(counts.values())
    occurring = [s for s, c in counts.items() if c]
    if set(occurring) - set(lengths):
        raise ValueError
    mean = sum(counts[s] * lengths[s] for s in occurring) / total
    return mean, sum(lengths[s] * 2.0 ** -lengths[s] for s in occurring)


# %% wrong: integer division
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    occurring = {s: c for s, c in counts.items() if c}
    if set(occurring) - set(lengths):
        raise ValueError
    mean = sum(c * lengths[s] for s, c in occurring.items()) // total
    return mean, sum(c / total * math.log2(total / c) for c in occurring.values())


# %% wrong: a symbol without a code takes no bits
import math


def code_bits(counts, lengths):
    total = sum(counts.values())
    mean = sum(c * lengths.get(s, 0) for s, c in counts.items()) / total
    return mean, sum(c / total * math.log2(total / c) for c in counts.values() if c)


# %% wrong: the example's answer
def code_bits(counts, lengths):
    return 1.5, 1.5


# %% right: log N minus the mean of log n, in NumPy
import numpy as np


def code_bits(counts, lengths):
    symbols = [s for s in counts if counts[s]]
    if any(s not in lengths for s in symbols):
        raise ValueError("a symbol has no code")
    n = np.array([counts[s] for s in symbols], dtype=float)
    mean = np.average([lengths[s] for s in symbols], weights=n)
    return mean, np.log2(n.sum()) - np.average(np.log2(n), weights=n)


# %% right: tensors of one element
import torch


def code_bits(counts, lengths):
    try:
        pairs = [(c, lengths[s]) for s, c in counts.items() if c > 0]
    except KeyError as error:
        raise ValueError(f"no code for {error}") from error
    n, bits = torch.tensor(pairs, dtype=torch.float64).T
    p = n / n.sum()
    return (p * bits).sum(), torch.special.entr(p).sum() / torch.tensor(
        2.0
    ).double().log()
