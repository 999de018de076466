"""The part of Fashion-MNIST that ships, made anew of a small set."""

import torch

from labkit.recipes.fashion_mnist_subset import write
from labkit.zoo import ImageSet
from labkit.zoo.data.idx import read_idx


def test_the_subset_is_made_of_the_first_of_each_class_with_the_same_bytes_each_time(tmp_path):
    images = torch.arange(6, dtype=torch.uint8)[:, None, None].expand(6, 28, 28).contiguous()
    whole = ImageSet(images, torch.tensor([1, 0, 1, 1, 0, 0]), ("a", "b"), origin=None)
    made = []
    for folder in (tmp_path / "once", tmp_path / "again"):
        folder.mkdir()
        write(whole, 2, "train", folder)
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]
    assert sorted(made[0]) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    assert read_idx(folder / "train-images-idx3-ubyte.gz")[:, 0, 0].tolist() == [0, 1, 2, 4]
    assert read_idx(folder / "train-labels-idx1-ubyte.gz").tolist() == [1, 0, 1, 0]
