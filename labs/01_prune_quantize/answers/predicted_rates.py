# Answers to the exercise predicted_rates: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import math

import torch
from torch import nn

# %% wrong: biases, BatchNorm and all other parameters are counted


def predicted_rates(model, bits):
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    s = (weights == 0).float().mean().item()
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: every weight of two dimensions or more is counted, embeddings and Conv1d, too


def predicted_rates(model, bits):
    weights = [p.detach().flatten() for p in model.parameters() if p.dim() > 1]
    if not weights:
        raise ValueError("no weights")
    s = (torch.cat(weights) == 0).double().mean().item()
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: the mean of the layers' sparsities


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError("no weights")
    s = sum((m.weight == 0).double().mean().item() for m in layers) / len(layers)
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: only the layers at the top are seen, not those inside blocks


def predicted_rates(model, bits):
    parts = [model, *model.children()]
    layers = [m for m in parts if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError("no weights")
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: the natural logarithm counts nats, not bits


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError("no weights")
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: half of the entropy, the kept weights' term is missing


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError("no weights")
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -s * math.log2(s) if s else 0
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: the share is that of the naive product, whose parts locate no zeros


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise ValueError("no weights")
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    if s == 1 or bits <= 0:
        raise ValueError("nothing is kept")
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    naive, bound = 32 / (1 - s) / bits, 32 / (h + (1 - s) * bits)
    return {"sparsity": s, "naive": naive, "bound": bound, "share": bound / naive}


# %% wrong: without zeros the logarithm of 0 raises an error


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    if not layers or bits <= 0:
        raise ValueError("no weights")
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    h = -s * math.log2(s) - (1 - s) * math.log2(1 - s)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: nothing is refused


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    s = (
        (torch.cat([m.weight.detach().flatten() for m in layers]) == 0)
        .double()
        .mean()
        .item()
    )
    h = -sum(p * math.log2(p) for p in (s, 1 - s) if p > 0)
    bound, pruned = 32 / (h + (1 - s) * bits), 32 / (h + (1 - s) * 32)
    share = bound / (pruned * 32 / bits)
    return {"sparsity": s, "naive": 32 / (1 - s) / bits, "bound": bound, "share": share}


# %% wrong: integer division


def predicted_rates(model, bits):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    left = sum((m.weight != 0).sum().item() for m in layers)
    if not left or bits <= 0:
        raise ValueError("nothing is kept")
    k = left / sum(m.weight.numel() for m in layers)
    h = -sum(p * math.log2(p) for p in (k, 1 - k) if p > 0)
    bound, pruned = 32 / (h + k * bits), 32 / (h + k * 32)
    share = bound / (pruned * (32 // bits))
    return {
        "sparsity": 1 - k,
        "naive": 32 // (k * bits),
        "bound": bound,
        "share": share,
    }


# %% wrong: the public answer, typed in


def predicted_rates(model, bits):
    return {"sparsity": 0.5, "naive": 8.0, "bound": 6.4, "share": 0.85}


# %% right: tensors in float32 to the end, and the share in one formula


def predicted_rates(model, bits):
    flat = []
    for _, module in model.named_modules():
        if type(module) is nn.Linear or type(module) is nn.Conv2d:
            flat.append(module.weight.data.reshape(-1))
    if len(flat) == 0 or not torch.cat(flat).any() or not bits > 0:
        raise ValueError("nothing to predict")
    kept = torch.cat(flat).bool().float().mean()
    h = -torch.xlogy(kept, kept) - torch.xlogy(1 - kept, 1 - kept)
    h = h / math.log(2)
    whole, alone = h + kept * bits, h + kept * 32
    return {
        "share": bits * alone / (32 * whole),
        "bound": 32 / whole,
        "naive": 32 / (kept * bits),
        "sparsity": 1 - kept,
    }
