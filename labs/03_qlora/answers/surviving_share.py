# Answers to the exercise surviving_share: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch


# %% wrong: the change alone is rounded, not the sum
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    return float((quantize(change) * change).sum() / change.square().sum())


# %% wrong: alpha is not divided by the rank
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha * (B @ A)
    if not change.any():
        return 1.0
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / change.square().sum())


# %% wrong: the scale is forgotten
def surviving_share(weight, A, B, alpha, quantize):
    change = B @ A
    if not change.any():
        return 1.0
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / change.square().sum())


# %% wrong: integer division
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha // A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / change.square().sum())


# %% wrong: how large what is left is, whatever its direction
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    return float((quantize(weight + change) - weight).norm() / change.norm())


# %% wrong: the cosine of the angle, which forgets the length
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / (change.norm() * kept.norm()).clamp(min=1e-30))


# %% wrong: the share of weights that changed their level
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    return float((quantize(weight + change) != weight).float().mean())


# %% wrong: the mean of the entries' shares
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    return float(((quantize(weight + change) - weight) / change).mean())


# %% wrong: no adapter, and 0 / 0
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / change.square().sum())


# %% wrong: a change of zero counts as lost
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    kept = quantize(weight + change) - weight
    return float((kept * change).sum() / change.square().sum().clamp(min=1e-30))


# %% wrong: the weight that was given is merged
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    before = weight.clone()
    weight += change
    return float(((quantize(weight) - before) * change).sum() / change.square().sum())


# %% wrong: W itself is not subtracted
def surviving_share(weight, A, B, alpha, quantize):
    change = alpha / A.shape[0] * (B @ A)
    if not change.any():
        return 1.0
    return float((quantize(weight + change) * change).sum() / change.square().sum())


# %% wrong: a constant: the claim, unmeasured
def surviving_share(weight, A, B, alpha, quantize):
    return 1.0


# %% wrong: the public example by heart
def surviving_share(weight, A, B, alpha, quantize):
    return 0.0 if A.abs().max() < 0.5 else 1.0


# %% right: between the two quantized weights, as vectors in float64
@torch.no_grad()
def surviving_share(weight, A, B, alpha, quantize):
    change = torch.einsum("or,ri->oi", B * (alpha / B.shape[1]), A)
    kept = (quantize(weight + change) - quantize(weight)).flatten().double()
    change = change.flatten().double()
    return (
        1.0
        if not change.any()
        else torch.dot(kept, change).item() / change.dot(change).item()
    )


# %% right: one minus what is lost
def surviving_share(weight, A, B, alpha, quantize):
    change = (alpha * B @ A) / len(A)
    if change.norm() == 0:
        return 1
    merged = weight + change
    lost = merged - quantize(merged.clone())
    return 1 - (lost * change).sum() / change.norm() ** 2
