"""Sparse rows compute what the dense layers do, and a perceptron has the Linear layers and nothing else."""

import pytest
import torch
from torch import nn

from labkit.techniques.pruning.magnitude import layer_masks, pruned
from labkit.techniques.pruning.sparse import SparseLinear, in_three_forms, perceptron

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    head = [nn.Linear(32, 12), nn.Dropout(0.5), nn.Linear(12, 5, bias=False)]
    dense = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), *head).eval()
    return pruned(dense, layer_masks(dense, 0.8))


@pytest.mark.parametrize("batch", [1, 7])
def test_sparse_rows_give_the_outputs_of_the_dense_layers(model, batch):
    x = torch.randn(batch, 32)
    dense, sparse = perceptron(model), perceptron(model, SparseLinear)
    torch.testing.assert_close(sparse(x.T.contiguous()).T, dense(x))
    torch.testing.assert_close(dense(x), model[4](model[2](x).relu()))


def test_only_what_is_not_zero_is_stored(model):
    sparse = SparseLinear(model[2])
    assert sparse.weight.layout is torch.sparse_csr
    assert sparse.weight.values().numel() == model[2].weight.count_nonzero()


def test_a_perceptron_leaves_the_rest_out_and_ends_with_a_linear_layer(model):
    assert [type(module) for module in perceptron(model)] == [nn.Linear, nn.ReLU, nn.Linear]


def test_the_three_forms_take_the_same_input(model):
    torch.manual_seed(1)
    calls = in_three_forms(model, model, batch=3)
    assert list(calls) == ["dense", "pruned", "pruned, CSR"]
    torch.testing.assert_close(calls["pruned"](), calls["dense"]())
    torch.testing.assert_close(calls["pruned, CSR"]().T, calls["pruned"]())
