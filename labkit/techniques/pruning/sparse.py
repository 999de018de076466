"""Pruned layers as sparse matrices, which skip the weights that are zero.

A Linear layer in compressed sparse rows (CSR): the values that are not zero, the column
of each, and where each row begins. PyTorch multiplies it by a matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from labkit import checks


class SparseLinear(nn.Module):
    """A Linear layer with its weight in compressed sparse rows.

    It takes and gives columns: (features, batch), the layout that the sparse product
    wants.

    Raises:
        ValueError: weights are not finite, or a library holds them as integers.

    >>> layer, x = nn.Linear(4, 2), torch.ones(3, 4)
    >>> torch.allclose(SparseLinear(layer)(x.T).T, layer(x), atol=1e-6)
    True
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight = checks.finite(checks.plain(layer.weight), "weights")
        self.weight = weight.to_sparse_csr()
        self.bias = None if layer.bias is None else layer.bias.detach()[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = self.weight @ x
        return product if self.bias is None else product + self.bias


def perceptron(
    model: nn.Module, wrap: Callable[[nn.Linear], nn.Module] = lambda layer: layer
) -> nn.Sequential:
    """The Linear layers of a network in their order, with ReLU between them.

    Args:
        model: its other layers are left out.
        wrap: makes of each layer what stands in its place, such as `SparseLinear`.

    Raises:
        ValueError: it has no Linear layer.

    >>> len(perceptron(nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.Linear(3, 2))))
    3
    """
    layers = [wrap(m) for m in model.modules() if isinstance(m, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear layer")
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])


def in_three_forms(
    dense: nn.Module, pruned: nn.Module, batch: int
) -> dict[str, Callable[[], torch.Tensor]]:
    """Calls of the Linear layers of a network on one random batch, to be timed: dense;
    pruned, with its zeros in memory; and pruned, in compressed sparse rows.

    Args:
        dense: the network as trained.
        pruned: one of the same architecture with zeros.
        batch: inputs of a call.

    Raises:
        ValueError: as `perceptron` and `SparseLinear`.
        AssertionError: the two forms of the pruned network differ in what they compute.
    """
    full, zeros = perceptron(dense), perceptron(pruned)
    csr, x = perceptron(pruned, SparseLinear), torch.rand(batch, full[0].in_features)
    columns = x.T.contiguous()
    torch.testing.assert_close(csr(columns).T, zeros(x), rtol=1e-4, atol=1e-4)
    return {
        "dense": lambda: full(x),
        "pruned": lambda: zeros(x),
        "pruned, CSR": lambda: csr(columns),
    }
