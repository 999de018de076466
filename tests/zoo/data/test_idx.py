import pytest
import torch

from labkit.zoo import to_input
from labkit.zoo.data.idx import MEAN, STD


def test_input_of_a_network():
    images = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None].expand(2, 28, 28)
    x = to_input(images, size=48)
    assert (x.dtype, x.shape) == (torch.float32, (2, 3, 48, 48))
    assert x.is_contiguous(memory_format=torch.channels_last)
    black, white = -MEAN / STD, (1 - MEAN) / STD
    torch.testing.assert_close(x[0], torch.full((3, 48, 48), black))
    torch.testing.assert_close(x[1], torch.full((3, 48, 48), white))


@pytest.mark.parametrize("channels", [1, 3])
def test_input_of_the_same_size_is_only_normalised(channels):
    images = torch.randint(256, (4, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = (images / 255 - 0.2860) / 0.3530
    x = to_input(images, size=28, channels=channels)
    assert x.shape == (4, channels, 28, 28)
    for channel in x.unbind(1):
        torch.testing.assert_close(channel, expected)
