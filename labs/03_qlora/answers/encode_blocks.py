# Answers to the exercise encode_blocks: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch


# %% wrong: one scale for all blocks
def encode_blocks(weight, levels):
    absmax = weight.abs().max()
    codes = (weight[:, :, None] / absmax - levels).abs().argmin(2)
    return codes.to(torch.uint8), absmax.expand(len(weight))


# %% wrong: blocks are columns
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(0)
    scaled = weight / torch.where(absmax > 0, absmax, 1.0)
    return (scaled[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: the largest value in place of the largest magnitude
def encode_blocks(weight, levels):
    absmax = weight.amax(1)
    scaled = weight / torch.where(absmax > 0, absmax, 1.0)[:, None]
    return (scaled[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: a block of zeros is divided by zero
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    scaled = weight / absmax[:, None]
    return (scaled[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: the level below, not the nearest
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    scaled = weight / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = torch.searchsorted(levels, scaled.contiguous(), right=True) - 1
    return codes.to(torch.uint8), absmax


# %% wrong: rounded as if the levels were evenly spaced
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    scaled = weight / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = ((scaled + 1) / 2 * (len(levels) - 1)).round()
    return codes.to(torch.uint8), absmax


# %% wrong: codes take eight bytes each
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    scaled = weight / torch.where(absmax > 0, absmax, 1.0)[:, None]
    return (scaled[:, :, None] - levels).abs().argmin(2), absmax


# %% wrong: the weight is not divided
def encode_blocks(weight, levels):
    codes = (weight[:, :, None] - levels).abs().argmin(2)
    return codes.to(torch.uint8), weight.abs().amax(1)


# %% wrong: the weight that was given is scaled
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    weight /= torch.where(absmax > 0, absmax, 1.0)[:, None]
    return (weight[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: a bound against zero that spoils tiny weights
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    scaled = weight / absmax.clamp(min=1e-4)[:, None]
    return (scaled[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: the absmax of a block of zeros is 1
def encode_blocks(weight, levels):
    absmax = weight.abs().amax(1)
    absmax = torch.where(absmax > 0, absmax, 1.0)
    scaled = weight / absmax[:, None]
    return (scaled[:, :, None] - levels).abs().argmin(2).to(torch.uint8), absmax


# %% wrong: the public example by heart
def encode_blocks(weight, levels):
    codes = [[3, 0, 4, 2], [4, 1, 2, 3], [2, 2, 2, 2]]
    return torch.tensor(codes, dtype=torch.uint8), torch.tensor([0.4, 8.0, 0.0])


# %% right: which midpoints between levels are below
def encode_blocks(weight, levels):
    absmax = torch.linalg.vector_norm(weight, ord=float("inf"), dim=1)
    scaled = (weight / absmax[:, None]).nan_to_num(0.0)
    midpoints = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(scaled, midpoints, right=True).byte(), absmax


# %% right: weight by weight, and of two equally near levels the upper one
def encode_blocks(weight, levels):
    values = list(enumerate(levels.tolist()))
    codes, absmax = [], []
    for block in weight.tolist():
        largest = max(abs(w) for w in block)
        scaled = [w / largest if largest else 0.0 for w in block]
        codes.append(
            [min(values, key=lambda v: (abs(v[1] - s), -v[0]))[0] for s in scaled]
        )
        absmax.append(largest)
    return torch.tensor(codes, dtype=torch.uint8), torch.tensor(absmax)
