"""Fashion-MNIST: 28x28 grey images of ten kinds of clothing (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from torchvision.datasets import FashionMNIST

from labkit.files import cache_folder
from labkit.zoo.data.idx import ImageSet, are_intact, check_split, fetch_archives, read_split
from labkit.zoo.sources.fetch import ZooError, install, locked, run_program
from labkit.zoo.sources.origin import embedded, from_first

CLASSES = tuple(FashionMNIST.classes)

# The four official archives; every full source must give exactly these.
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}


def fashion_mnist(
    split: Literal["train", "test"], source: Literal["torchvision", "debian", "embedded"] | None = None
) -> ImageSet:
    """Load one split of Fashion-MNIST.

    Args:
        split: "train" (60,000 images) or "test" (10,000).
        source: "torchvision" (the download that torchvision uses), "debian" (the package dataset-fashion-mnist,
            unpacked without root rights), or "embedded" (a class-balanced subset that ships with labkit: 12,000 and
            5,000 images). None takes the first that delivers. The official archives, once cached, are read from
            there.

    Raises:
        ZooError: unknown split or source, or the source does not deliver.
    """
    check_split("Fashion-MNIST", split)
    sources = {"torchvision": _from_torchvision, "debian": _from_debian, "embedded": _embedded}
    if source in (None, "torchvision", "debian") and are_intact(_folder(), SHA256):
        found, folder = "cache", _folder()
    else:
        found, folder = from_first("Fashion-MNIST", sources, source)
    return read_split(folder, split, "Fashion-MNIST", CLASSES, found, "MIT")


def _folder() -> Path:
    return cache_folder() / "fashion_mnist"


def _from_torchvision() -> Path:
    return fetch_archives(_folder(), SHA256, FashionMNIST.mirrors)


def _from_debian() -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ZooError(f"{program} is not on this machine; Debian, Ubuntu and Colab have it.")
    with locked(_folder()), TemporaryDirectory() as scratch:
        if not are_intact(_folder(), SHA256):  # another process may have brought it while this one waited
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
