"""Random batches to train on, without end."""

from collections.abc import Callable, Iterator

import torch

from labkit.zoo.data.idx import ImageSet, to_input

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]  #: of images, uint8 (N, 28, 28), to others


def random_batches(
    data: ImageSet,
    size: int,
    seed: int,
    shape: tuple[int, int] = (28, 1),
    augment: Augment | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of images drawn at random, each time from all of them, without end.

    Args:
        data: images with labels; batches are on their device.
        size: images in a batch.
        seed: of the random numbers.
        shape: pixels to a side and channels of the network's input, as `to_input` takes them.
        augment: changes images before they become inputs, with random numbers of the generator that it is given, such
            as `mirrored`.
        device: where random numbers are drawn. On the CPU they are the same wherever the data are.

    Returns:
        An iterator of inputs, float32 (size, channels, pixels, pixels), and labels, int64 (size,).
    """
    generator = torch.Generator(device).manual_seed(seed)
    while True:
        index = torch.randint(len(data.labels), (size,), device=device, generator=generator).to(data.labels.device)
        images = data.images[index]
        if augment is not None:
            images = augment(images, generator)
        yield to_input(images, *shape), data.labels[index]


def mirrored(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures, (N, height, width), each turned left to right with a chance of one half."""
    turn = torch.randint(2, (len(images), 1, 1), device=generator.device, generator=generator).bool()
    return torch.where(turn.to(images.device), images.flip(2), images)


def random_blocks(blocks: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Batches of blocks of tokens, without end: all blocks in random order, then all of them in another.

    Args:
        blocks: int64 (n, length); batches are on their device.
        size: blocks in a batch; the last of a round has what is left.
        seed: of the order, which does not depend on the device.

    Returns:
        An iterator of int64 (size, length).
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(blocks), generator=generator).split(size):
            yield blocks[index.to(blocks.device)]
