"""Fashion-MNIST: 28x28 grey pictures of ten kinds of clothing (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

import gzip
import shutil
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
import torch.nn.functional as F
from torchvision.datasets import FashionMNIST

from labkit.files import cache_folder
from labkit.zoo.fetch import ZooError, fetch, install, is_intact, locked, run_program, sha256_of
from labkit.zoo.origin import Origin, embedded, from_first

PREFIX = {"train": "train", "test": "t10k"}
CLASSES = tuple(FashionMNIST.classes)
MEAN, STD = 0.2860, 0.3530  # of the training pixels, scaled to [0, 1]

# The four official archives; every full source must give exactly these.
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures with their labels."""

    images: torch.Tensor  # uint8 (N, 28, 28)
    labels: torch.Tensor  # int64 (N,), indices into `classes`
    classes: tuple[str, ...]
    origin: Origin


def fashion_mnist(
    split: Literal["train", "test"], source: Literal["torchvision", "debian", "embedded"] | None = None
) -> ImageSet:
    """Load one split of Fashion-MNIST.

    Args:
        split: "train" (60,000 pictures) or "test" (10,000).
        source: "torchvision" (the download that torchvision uses), "debian" (the package dataset-fashion-mnist, unpacked
            without root rights), or "embedded" (a class-balanced subset that ships with labkit: 12,000 and 5,000
            pictures). None takes the first that delivers. The official archives, once cached, are read from there.

    Raises:
        ZooError: unknown split or source, or the source does not deliver.
    """
    if split not in PREFIX:
        raise ZooError(f"Fashion-MNIST has no split {split!r}. Known: {', '.join(PREFIX)}.")
    sources = {"torchvision": _from_torchvision, "debian": _from_debian, "embedded": _embedded}
    if source in (None, "torchvision", "debian") and _is_cached():
        found, folder = "cache", _folder()
    else:
        found, folder = from_first("Fashion-MNIST", sources, source)
    archive = folder / f"{PREFIX[split]}-images-idx3-ubyte.gz"
    images = read_idx(archive)
    labels = read_idx(folder / f"{PREFIX[split]}-labels-idx1-ubyte.gz").long()
    name = f"Fashion-MNIST {split}, {len(images):,} pictures"
    return ImageSet(images, labels, CLASSES, Origin(name, found, "MIT", sha256_of(archive)))


def to_input(images: torch.Tensor, size: int) -> torch.Tensor:
    """Turn pictures into a network's input: normalised, resized, grey repeated as three channels.

    Args:
        images: uint8 (N, 28, 28).
        size: height and width wanted, in pixels.

    Returns:
        float32 (N, 3, size, size), stored channels last.
    """
    x = (images[:, None].float() / 255 - MEAN) / STD  # (N, 1, 28, 28)
    x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def read_idx(path: Path) -> torch.Tensor:
    """Read a gzipped IDX file of bytes: two zeros, the type 8, the number of dimensions, the dimensions, the bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _folder() -> Path:
    return cache_folder() / "fashion_mnist"


def _is_cached() -> bool:
    return all(is_intact(_folder() / name, sha256) for name, sha256 in SHA256.items())


def _from_torchvision() -> Path:
    for name, sha256 in SHA256.items():
        from_first(name, {m: partial(fetch, m + name, _folder() / name, sha256) for m in FashionMNIST.mirrors})
    return _folder()


def _from_debian() -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ZooError(f"{program} is not on this machine; Debian, Ubuntu and Colab have it.")
    with locked(_folder()), TemporaryDirectory() as scratch:
        if not _is_cached():  # another process may have brought it while this one waited
            _unpack_debian_package("dataset-fashion-mnist", scratch)
            for name, sha256 in SHA256.items():
                with open(Path(scratch, "usr/share/datasets/fashion-mnist", name), "rb") as file:
                    install(file, _folder() / name, sha256)
    return _folder()


def _unpack_debian_package(package: str, scratch: str) -> None:
    apt = ["apt-get", "-qq"]
    for option in ("Acquire::Retries=1", "Acquire::http::Timeout=20", "APT::Update::Error-Mode=any"):
        apt += ["-o", option]
    try:
        run_program([*apt, "download", package], scratch)
    except ZooError:
        # The machine's package lists are empty or old, and only root may refresh them: make private ones.
        Path(scratch, "lists/partial").mkdir(parents=True)
        apt += ["-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache"]
        run_program([*apt, "update"], scratch)
        run_program([*apt, "download", package], scratch)
    run_program(["dpkg-deb", "-x", next(Path(scratch).glob("*.deb")).name, "."], scratch)


def _embedded() -> Path:
    for name in SHA256:
        file = embedded(f"fashion_mnist/{name}")
    return file.parent
