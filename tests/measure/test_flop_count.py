"""FLOPs: convolutions and matrix products by formula."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from labkit.measure import flops
from labkit.techniques.quantization.int8 import dynamically_quantized


@pytest.mark.parametrize("batch, inputs, outputs", [(1, 8, 4), (5, 3, 7)])
def test_linear(batch, inputs, outputs):
    counted = flops(nn.Linear(inputs, outputs), torch.ones(batch, inputs))
    assert (counted.value, counted.unit) == (2 * batch * inputs * outputs, "FLOP")


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride, side", [(1, 16), (2, 8)])
def test_convolution(groups, stride, side):
    conv = nn.Conv2d(4, 8, kernel_size=3, stride=stride, padding=1, groups=groups)
    # Each of 8 × side × side outputs of each of 2 images sums over 3 × 3 places in 4 / groups channels.
    expected = 2 * (2 * 8 * side * side) * (3 * 3 * 4 // groups)
    assert flops(conv, torch.ones(2, 4, 16, 16)).value == expected


def test_zeros_are_multiplied_like_any_other():
    network, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 10)), torch.ones(1, 3, 8, 8)
    dense = flops(network, x)
    for layer in (network[0], network[2]):
        prune.l1_unstructured(layer, "weight", amount=0.9)
    assert flops(network, x) == dense


def test_attention_counts_though_pytorch_has_one_kernel_for_it():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    tokens, width, inner = 5, 8, 16
    projections = 2 * tokens * (4 * width * width + 2 * width * inner)
    assert flops(layer, torch.ones(1, tokens, width)).value == projections + 2 * (2 * tokens * tokens * width)


def test_products_that_pytorch_does_not_count_are_an_error():
    with pytest.raises(ValueError, match="the model is LSTM, whose products are not counted"):
        flops(nn.LSTM(4, 4), torch.ones(1, 1, 4))
    with pytest.raises(ValueError, match="0.weight is Int8Tensor, whose products are not counted"):
        flops(dynamically_quantized(nn.Sequential(nn.Linear(8, 4))), torch.ones(1, 8))
