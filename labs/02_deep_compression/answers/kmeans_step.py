# Answers to kmeans_step that the tests must tell apart, one a cell.
# ruff: noqa: F811

# %% wrong: pruned zeros count in the means
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    moved = centroids.clone()
    for k in range(len(centroids)):
        if (codes == k).any():
            moved[k] = weight[codes == k].mean()
    codes[weight == 0] = -1
    return moved, codes


# %% wrong: pruned weights get the code of the nearest centroid
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    moved = centroids.clone()
    for k in range(len(centroids)):
        mine = weight[(codes == k) & (weight != 0)]
        if len(mine):
            moved[k] = mine.mean()
    return moved, codes


# %% wrong: an empty cluster becomes the mean of nothing
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    moved = [weight[codes == k].mean() for k in range(len(centroids))]
    return torch.stack(moved), codes


# %% wrong: an empty cluster moves to zero
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    members = [weight[codes == k] for k in range(len(centroids))]
    return torch.stack([m.sum() / max(len(m), 1) for m in members]), codes


# %% wrong: empty clusters are dropped
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    members = [weight[codes == k] for k in range(len(centroids))]
    means = [m.mean() for m in members if len(m)]
    return torch.stack(means) if means else centroids, codes


# %% wrong: assigned by midpoints, as if the centroids were sorted
import torch


def kmeans_step(weight, centroids):
    codes = torch.bucketize(weight, (centroids[1:] + centroids[:-1]) / 2)
    codes[weight == 0] = -1
    moved = centroids.clone()
    for k in codes[weight != 0].unique():
        moved[k] = weight[codes == k].mean()
    return moved, codes


# %% wrong: sorted centroids come back
import torch


def kmeans_step(weight, centroids):
    centroids = centroids.msort()
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    moved = centroids.clone()
    for k in codes[weight != 0].unique():
        moved[k] = weight[codes == k].mean()
    return moved, codes


# %% wrong: codes by the centroids that have moved
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    moved = centroids.clone()
    for k in codes[weight != 0].unique():
        moved[k] = weight[codes == k].mean()
    codes = (weight[..., None] - moved).abs().argmin(-1)
    codes[weight == 0] = -1
    return moved, codes


# %% wrong: the centroids that came in are changed
import torch


def kmeans_step(weight, centroids):
    codes = (weight[..., None] - centroids).abs().argmin(-1)
    codes[weight == 0] = -1
    for k in codes[weight != 0].unique():
        centroids[k] = weight[codes == k].mean()
    return centroids, codes


# %% wrong: flat codes
import torch


def kmeans_step(weight, centroids):
    flat = weight.flatten()
    codes = (flat[:, None] - centroids).abs().argmin(1)
    codes[flat == 0] = -1
    moved = centroids.clone()
    for k in codes[flat != 0].unique():
        moved[k] = flat[codes == k].mean()
    return moved, codes


# %% right: weight by weight, with running sums
import torch


def kmeans_step(weight, centroids):
    old = centroids.tolist()
    sums, counts, codes = [0.0] * len(old), [0] * len(old), []
    for w in weight.flatten().tolist():
        k = min(range(len(old)), key=lambda k: abs(w - old[k])) if w else -1
        codes.append(k)
        if k >= 0:
            sums[k] += w
            counts[k] += 1
    moved = [s / n if n else c for s, n, c in zip(sums, counts, old)]
    return torch.tensor(moved), torch.tensor(codes).reshape(weight.shape)


# %% right: a search for the midpoints of the sorted centroids, in double precision
import torch


def kmeans_step(weight, centroids):
    ordered, rank = centroids.double().sort()
    codes = rank[torch.bucketize(weight.double(), (ordered[1:] + ordered[:-1]) / 2)]
    codes = torch.where(weight == 0, -1, codes).int()
    moved = centroids.double().clone()
    for k in range(len(centroids)):
        if (codes == k).any():
            moved[k] = weight[codes == k].double().mean()
    return moved, codes
