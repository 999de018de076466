# Answers to the exercise global_masks: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch

# %% wrong: a threshold for each layer


def global_masks(weights, sparsity):
    masks = {}
    for name, w in weights.items():
        order = w.abs().flatten().argsort(stable=True)
        kept = torch.ones(w.numel(), dtype=torch.bool)
        kept[order[: round(sparsity * w.numel())]] = False
        masks[name] = kept.view(w.shape)
    return masks


# %% wrong: the smallest values go, and not the smallest magnitudes


def global_masks(weights, sparsity):
    values = torch.cat([w.flatten() for w in weights.values()])
    kept = torch.ones(len(values), dtype=torch.bool)
    kept[values.argsort(stable=True)[: round(sparsity * len(values))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% wrong: off by one: the smallest kept weight is dropped, and all that equal it


def global_masks(weights, sparsity):
    sizes = torch.cat([w.abs().flatten() for w in weights.values()]).sort().values
    threshold = sizes[round(sparsity * len(sizes))]
    return {name: w.abs() > threshold for name, w in weights.items()}


# %% wrong: a comparison with the threshold keeps too many of equal magnitude


def global_masks(weights, sparsity):
    sizes = torch.cat([w.abs().flatten() for w in weights.values()]).sort().values
    threshold = sizes[round(sparsity * len(sizes))]
    return {name: w.abs() >= threshold for name, w in weights.items()}


# %% wrong: the last of equal magnitudes go


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    order = magnitudes.argsort(descending=True, stable=True).flip(0)
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[order[: round(sparsity * len(magnitudes))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% wrong: the layers in alphabetical order


def global_masks(weights, sparsity):
    names = sorted(weights)
    magnitudes = torch.cat([weights[name].abs().flatten() for name in names])
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = False
    parts = kept.split([weights[name].numel() for name in names])
    return {name: part.view(weights[name].shape) for name, part in zip(names, parts)}


# %% wrong: int() instead of round()


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[magnitudes.argsort(stable=True)[: int(sparsity * len(magnitudes))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% wrong: the mask is True where a weight is dropped


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    mask = torch.zeros(len(magnitudes), dtype=torch.bool)
    mask[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = True
    parts = mask.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% wrong: it prunes the weights, too


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    masks = {
        name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)
    }
    for name, w in weights.items():
        w[~masks[name]] = 0
    return masks


# %% wrong: view, which a strided tensor refuses


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.view(-1).abs() for w in weights.values()])
    kept = torch.ones(len(magnitudes), dtype=torch.bool)
    kept[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = False
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% wrong: masks of float instead of bool


def global_masks(weights, sparsity):
    magnitudes = torch.cat([w.abs().flatten() for w in weights.values()])
    kept = torch.ones(len(magnitudes))
    kept[magnitudes.argsort(stable=True)[: round(sparsity * len(magnitudes))]] = 0
    parts = kept.split([w.numel() for w in weights.values()])
    return {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts)}


# %% right: a sort in Python by magnitude, layer and place


def global_masks(weights, sparsity):
    masks = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    entries = []
    for layer, (name, w) in enumerate(weights.items()):
        for place, value in enumerate(w.reshape(-1).tolist()):
            entries.append((abs(value), layer, place, name))
    for _, _, place, name in sorted(entries)[: round(sparsity * len(entries))]:
        masks[name].view(-1)[place] = False
    return masks


# %% right: all below the threshold, and of those on it as many as are missing


def global_masks(weights, sparsity):
    sizes = torch.cat([w.abs().flatten() for w in weights.values()])
    count = round(sparsity * sizes.numel())
    if count == 0:
        return {name: torch.full(w.shape, True) for name, w in weights.items()}
    threshold = sizes.kthvalue(count).values
    below, on = sizes < threshold, sizes == threshold
    dropped = below | (on & (on.cumsum(0) <= count - below.sum()))
    masks, start = {}, 0
    for name, w in weights.items():
        masks[name] = ~dropped[start : start + w.numel()].reshape(w.shape)
        start += w.numel()
    return masks
