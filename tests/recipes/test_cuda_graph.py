"""A recorded function gives what the function gives; without a GPU it is called as it is."""

import pytest
import torch

from labkit.recipes.cuda_graph import CudaGraph

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
on_every_device = pytest.mark.parametrize("device", DEVICES)


@on_every_device
def test_a_graph_computes_what_its_function_computes(device):
    def function(x, y):
        return x @ y, x.sum()

    x, y = torch.randn(2, 8, 8, device=device)
    graph = CudaGraph(function, (x, y))
    for a, b in ((x, y), (y, x), (2 * x, y)):
        for given, wanted in zip(graph(a, b), function(a, b), strict=True):
            assert torch.equal(given, wanted)


@on_every_device
def test_what_is_changed_in_place_changes_at_every_call(device):
    count = torch.zeros((), device=device)

    def function(x):
        count.add_(x)
        return count.clone()

    one = torch.ones((), device=device)
    graph = CudaGraph(function, (one,))
    before = count.item()
    assert [graph(one).item() - before for _ in range(3)] == [1, 2, 3]


def test_the_inputs_of_the_caller_stay_as_they_are():
    given = torch.zeros(3)
    graph = CudaGraph(lambda x: x.add_(1), (given,))
    assert graph(given).tolist() == [1, 1, 1]
    assert given.tolist() == [0, 0, 0]


def test_other_numbers_of_inputs_are_an_error():
    graph = CudaGraph(torch.add, (torch.zeros(2), torch.zeros(2)))
    with pytest.raises(ValueError):
        graph(torch.zeros(2))
