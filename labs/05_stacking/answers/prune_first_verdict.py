# Answers to `prune_first_verdict` that the grader must tell apart: plausible mistakes, and right ones otherwise.
# ruff: noqa: F811

# %% wrong: the gain with the wrong sign
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([first[s] - last[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: paired by place in the list, not by seed
import torch


def prune_first_verdict(rows, draws):
    first = [x for order, s, x in rows if order == ("prune", "quantize")]
    last = [x for order, s, x in rows if order == ("quantize", "prune")]
    d = torch.tensor([b - a for a, b in zip(first, last)])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: the intervals of the two orders as if they were independent
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    seeds = sorted(first.keys() & last.keys())
    a = torch.tensor([first[s] for s in seeds])
    b = torch.tensor([last[s] for s in seeds])
    a_means, b_means = a[draws].mean(dim=1), b[draws].mean(dim=1)
    low = (b_means.quantile(0.025) - a_means.quantile(0.975)).item()
    high = (b_means.quantile(0.975) - a_means.quantile(0.025)).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    mean = (b - a).mean().item()
    return mean, low, high, verdict if len(seeds) > 2 else "undecided"


# %% wrong: every order in which prune comes somewhere before quantize counts
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order[0] == "prune"}
    last = {s: x for order, s, x in rows if order[0] == "quantize"}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: the mean decides
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if d.mean() >= 0 else "fails"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: what does not hold fails
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: zero does not keep the promise
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low > 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: two seeds are enough
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict


# %% wrong: the percentiles of single gains, not of the mean of a sample
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    low, high = d.quantile(0.025).item(), d.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: the mean over the wrong axis
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=0)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: a 90 % interval
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.05).item(), means.quantile(0.95).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: the rows are sorted in place
import torch


def prune_first_verdict(rows, draws):
    rows.sort()
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in first if s in last])
    means = d[draws].mean(dim=1)
    low, high = means.quantile(0.025).item(), means.quantile(0.975).item()
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean().item(), low, high, verdict if len(d) > 2 else "undecided"


# %% wrong: the public answer
def prune_first_verdict(rows, draws):
    return 2.0, 1.05, 2.95, "holds"


# %% right: with NumPy, in one pass over the rows
def prune_first_verdict(rows, draws):
    import numpy as np

    losses = {}
    for order, seed, loss in rows:
        losses.setdefault(seed, {})[tuple(order)] = loss
    p, q = ("prune", "quantize"), ("quantize", "prune")
    gains = np.array(
        [x[q] - x[p] for _, x in sorted(losses.items()) if p in x and q in x]
    )
    means = gains[np.asarray(draws)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    if len(gains) < 3 or low < 0 <= high:
        verdict = "undecided"
    else:
        verdict = "fails" if high < 0 else "holds"
    return gains.mean(), low, high, verdict


# %% right: by hand in plain Python, percentiles included
def prune_first_verdict(rows, draws):
    table = {(order, seed): loss for order, seed, loss in rows}
    seeds = sorted({seed for _, seed in table})
    pairs = [
        [table.get((o, s)) for o in (("prune", "quantize"), ("quantize", "prune"))]
        for s in seeds
    ]
    gains = [b - a for a, b in pairs if a is not None and b is not None]
    means = sorted(sum(gains[i] for i in draw) / len(draw) for draw in draws.tolist())

    def percentile(share):
        place = share * (len(means) - 1)
        below = int(place)
        above = min(below + 1, len(means) - 1)
        return means[below] + (place - below) * (means[above] - means[below])

    low, high = percentile(0.025), percentile(0.975)
    verdict = "undecided"
    if len(gains) >= 3 and low >= 0:
        verdict = "holds"
    if len(gains) >= 3 and high < 0:
        verdict = "fails"
    return sum(gains) / len(gains), low, high, verdict


# %% right: in single precision
import torch


def prune_first_verdict(rows, draws):
    first = {s: x for order, s, x in rows if order == ("prune", "quantize")}
    last = {s: x for order, s, x in rows if order == ("quantize", "prune")}
    d = torch.tensor([last[s] - first[s] for s in sorted(first.keys() & last.keys())])
    means = d[draws].mean(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975]))
    verdict = "holds" if low >= 0 else "fails" if high < 0 else "undecided"
    return d.mean(), low, high, verdict if len(d) > 2 else "undecided"
