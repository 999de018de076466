# Answers to centroid_gradient that the tests must tell apart, one a cell.
# ruff: noqa: F811

# %% wrong: the mean of the gradients instead of their sum
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    gradient = torch.zeros(levels)
    for k in range(levels):
        mine = weight_gradient[kept & (codes == k)]
        gradient[k] = mine.mean() if len(mine) else 0
    return gradient


# %% wrong: pruned weights count by the code that they happen to have
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    return torch.stack([weight_gradient[codes == k].sum() for k in range(levels)])


# %% wrong: an index that occurs twice is added only once
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    gradient = torch.zeros(levels)
    gradient[codes[kept]] += weight_gradient[kept]
    return gradient


# %% wrong: only centroids that are used get a gradient
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    used = codes[kept].unique()
    return torch.stack([weight_gradient[kept & (codes == k)].sum() for k in used])


# %% wrong: pruned weights are masked in the gradient that came in
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    weight_gradient *= kept
    flat = codes.clamp(min=0).flatten()
    return torch.zeros(levels).index_add(0, flat, weight_gradient.flatten())


# %% wrong: the example's answer
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    return torch.tensor([5.0, 2.0, 0.0])


# %% right: autograd finds it
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    centroids = torch.zeros(levels, requires_grad=True)
    weight = torch.where(kept, centroids[codes.clamp(0, levels - 1)], 0)
    (weight * weight_gradient).sum().backward()
    return centroids.grad


# %% right: a product with one row for each centroid, in double precision
import torch


def centroid_gradient(weight_gradient, codes, kept, levels):
    shares = codes.flatten() == torch.arange(levels)[:, None]  # (levels, n)
    shares = (shares & kept.flatten()).double()
    return shares @ weight_gradient.flatten().double()
