import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import nn

from labkit.techniques.pruning.magnitude import apply_masks_, global_masks, prunable
from labkit.techniques.quantization.codebook import (
    Codebook,
    finetune_centroids_,
    initial_centroids,
    kmeans,
    share_,
    shared,
)

WAYS = ("linear", "density", "random")
EIGHT = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0])


def random_weights(n: int = 1000, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)).eval()


def batches(seed: int = 0):
    """Three classes that the signs of two inputs tell apart."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(64, 8, generator=draw)
        yield x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def test_linear_starts_evenly_between_the_extremes_and_density_evenly_over_the_weights():
    assert initial_centroids(EIGHT, 3, "linear").tolist() == [0, 35, 70]
    assert initial_centroids(EIGHT, 4, "density").tolist() == [1, 3, 5, 70]


def test_random_starts_at_weights_that_the_seed_chooses():
    first, again, other = (initial_centroids(EIGHT, 4, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert set(first.tolist()) <= set(EIGHT.tolist()) and len(first.unique()) == 4


def test_an_unknown_initialisation():
    with pytest.raises(ValueError, match="'best' is none of linear, density, random"):
        initial_centroids(EIGHT, 4, "best")


def test_kmeans_on_numbers_to_check_in_the_head():
    weights = torch.tensor([1.0, 2.0, 9.0, 0.0, 11.0])
    centroids, codes = kmeans(weights, torch.tensor([0.0, 10.0]))
    assert centroids.tolist() == [1, 10]
    assert codes.tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("levels", [2, 8, 16])
def test_kmeans_is_that_of_scikit_learn(how, levels):
    weights = random_weights()
    start = initial_centroids(weights, levels, how)
    centroids, codes = kmeans(weights, start)
    theirs = KMeans(levels, init=start[:, None].double().numpy(), n_init=1, tol=0, max_iter=300)
    theirs.fit(weights[:, None].double().numpy())
    np.testing.assert_allclose(centroids.numpy(), theirs.cluster_centers_[:, 0], rtol=1e-5)
    assert (codes.numpy() == theirs.labels_).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=60), st.integers(1, 9), st.sampled_from(WAYS))
def test_every_weight_gets_its_nearest_centroid_and_no_cluster_is_empty(values, levels, how):
    weights = torch.tensor(values)
    centroids, codes = kmeans(weights, initial_centroids(weights, min(levels, len(values)), how))
    distances = (weights[:, None] - centroids).abs()
    chosen = distances.gather(1, codes[:, None])[:, 0]
    torch.testing.assert_close(chosen, distances.amin(1), rtol=1e-4, atol=1e-4)
    assert codes.unique().tolist() == list(range(len(centroids)))


def test_sharing_leaves_the_zeros_and_so_many_values_that_with_zero_they_fill_the_bits():
    model = net()
    apply_masks_(model, global_masks(model, 0.5))
    before = copy.deepcopy(model)
    codebooks = share_(model, {"0.weight": 3, "2.weight": 2, "0.bias": 4})
    for name, levels in {"0.weight": 7, "2.weight": 3, "0.bias": 15}.items():
        weight, old = model.get_parameter(name), before.get_parameter(name)
        assert torch.equal(weight == 0, old == 0)
        assert len(weight[weight != 0].unique()) <= levels
        assert torch.equal(weight, codebooks[name].weight())
    assert torch.equal(model[2].bias, before[2].bias)


def test_a_codebook_as_large_as_the_layer_changes_nothing():
    model, before = net(), net()
    share_(model, {name: 16 for name in prunable(model)})
    torch.testing.assert_close(model.state_dict(), before.state_dict(), rtol=0, atol=0)


def test_a_layer_without_weights_is_named():
    model = net()
    model[2].weight.data.zero_()
    with pytest.raises(ValueError, match="2.weight has no weights left to share: prune it less"):
        share_(model, {"0.weight": 4, "2.weight": 4})


def test_gradients_are_summed_by_cluster():
    book = Codebook(torch.tensor([-1.0, 2.0]), torch.tensor([0, 1, 0]), torch.tensor([0, 2, 3]), torch.Size([2, 2]))
    assert book.weight().tolist() == [[-1, 0], [2, -1]]
    assert book.gradient(torch.tensor([[1.0, 10.0], [100.0, 1000.0]])).tolist() == [1001, 100]


def test_the_summed_gradient_is_that_of_autograd():
    model = net()
    codebooks = share_(model, {"0.weight": 3})
    [(x, y)] = itertools.islice(batches(), 1)
    F.cross_entropy(model(x), y).backward()
    book = codebooks["0.weight"]
    centroids = book.centroids.clone().requires_grad_()
    weight = centroids[book.codes].view(book.shape)
    F.cross_entropy(torch.func.functional_call(model, {"0.weight": weight}, x), y).backward()
    torch.testing.assert_close(book.gradient(model[0].weight.grad), centroids.grad)


def test_fine_tuning_moves_centroids_only_and_lowers_the_loss():
    model = net()
    codebooks = share_(model, {name: 4 for name in prunable(model)})
    before, codes = copy.deepcopy(model), {name: book.codes.clone() for name, book in codebooks.items()}
    losses = []
    finetune_centroids_(model, codebooks, batches(), 300, lr=0.03, progress=lambda step, loss: losses.append(loss))
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])
    for name, book in codebooks.items():
        assert torch.equal(book.codes, codes[name])
        assert torch.equal(model.get_parameter(name), book.weight())
    assert torch.equal(model[0].bias, before[0].bias)
    assert not model.training


def test_fine_tuning_says_when_batches_or_the_loss_end():
    model = net()
    codebooks = share_(model, {"0.weight": 2})
    with pytest.raises(ValueError, match="5 steps were asked for, and the batches ended after 2"):
        finetune_centroids_(model, codebooks, itertools.islice(batches(), 2), 5)
    with pytest.raises(ValueError, match="the loss is nan at step 1"):
        finetune_centroids_(model, codebooks, ((x * torch.nan, y) for x, y in batches()), 5)


def test_a_shared_copy_has_a_codebook_for_every_parameter_and_the_original_stays():
    model = net()
    before = copy.deepcopy(model.state_dict())
    copied, codebooks = shared(model, 3, "density", bias_bits=2)
    assert codebooks.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for name, parameter in copied.named_parameters():
        assert torch.equal(parameter, codebooks[name].weight())
        assert len(parameter.unique()) <= 2 ** (3 if parameter.dim() > 1 else 2) - 1
