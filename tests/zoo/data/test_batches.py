"""Random batches, beside the loops that they stand for, written out."""

from itertools import islice

import pytest
import torch

from labkit.zoo import ImageSet, Origin, mirrored, random_batches, random_blocks, to_input

HERE = Origin("made up", "embedded", "MIT", "")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture(scope="module")
def data() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 28, 28), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(50), tuple(map(str, range(50))), HERE)


def same(batches, wanted) -> bool:
    return all(torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(batches, islice(wanted, 5)))


@pytest.mark.parametrize("shape", [(28, 1), (48, 3)])
def test_batches_are_drawn_by_one_generator_from_all_pictures(data, shape):
    def written_out(seed):
        generator = torch.Generator().manual_seed(seed)
        while True:
            index = torch.randint(len(data.labels), (64,), generator=generator)
            yield to_input(data.images[index], *shape), data.labels[index]

    assert same(random_batches(data, 64, 3, shape), written_out(3))
    assert not same(random_batches(data, 64, 4, shape), written_out(3))


def test_mirrors_are_drawn_after_the_pictures_by_the_same_generator(data):
    def written_out(seed):
        generator = torch.Generator().manual_seed(seed)
        while True:
            index = torch.randint(len(data.labels), (16,), generator=generator)
            mirror = torch.randint(2, (16, 1, 1), generator=generator).bool()
            images = torch.where(mirror, data.images[index].flip(2), data.images[index])
            yield to_input(images, 28, 1), data.labels[index]

    assert same(random_batches(data, 16, 1, augment=mirrored), written_out(1))


def test_about_half_of_the_pictures_are_mirrored(data):
    images = data.images[:1].expand(1000, -1, -1)
    turned = mirrored(images, torch.Generator().manual_seed(0))
    assert all(torch.equal(picture, images[0]) or torch.equal(picture, images[0].flip(1)) for picture in turned)
    assert 440 < sum(torch.equal(picture, images[0]) for picture in turned) < 560


@pytest.mark.parametrize("device", DEVICES)
def test_what_augments_is_given_the_generator_where_it_draws(data, device):
    seen = []

    def augment(images, generator):
        seen.append((images.shape, images.dtype, generator.device.type))
        return torch.zeros_like(images)

    inputs, labels = next(random_batches(data, 8, 0, augment=augment, device=device))
    assert seen == [((8, 28, 28), torch.uint8, device)]
    assert inputs.unique().numel() == 1 and labels.unique().numel() > 1


def test_blocks_come_in_a_random_order_and_then_in_another():
    blocks = torch.arange(14).view(7, 2)

    def written_out(seed):
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(blocks), generator=generator)
            for index in order.split(3):
                yield blocks[index]

    batches = [*islice(random_blocks(blocks, 3, 5), 9)]
    assert all(torch.equal(a, b) for a, b in zip(batches, written_out(5)))
    assert [len(batch) for batch in batches] == [3, 3, 1] * 3
    rounds = torch.cat(batches).view(3, 7, 2)
    assert all(sorted(each.tolist()) == blocks.tolist() for each in rounds)
    assert not torch.equal(rounds[0], rounds[1])
