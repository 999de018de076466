"""Sets of small grey images as MNIST ships them: four gzipped IDX archives, two for training and two for test."""

import gzip
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from labkit.zoo.sources.fetch import ZooError, fetch, is_intact, sha256_of
from labkit.zoo.sources.origin import Origin, from_first

PREFIX = {"train": "train", "test": "t10k"}
MEAN, STD = 0.2860, 0.3530  # of the training pixels of Fashion-MNIST, scaled to [0, 1]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels."""

    images: torch.Tensor  #: uint8 (N, 28, 28)
    labels: torch.Tensor  #: int64 (N,), indices into `classes`
    classes: tuple[str, ...]
    origin: Origin


def to_input(images: torch.Tensor, size: int, channels: int = 3) -> torch.Tensor:
    """Turn images into a network's input: normalised, resized, grey repeated as so many channels.

    Every set goes through the same normalisation, so that a network reads clothing and digits alike.

    Args:
        images: uint8 (N, 28, 28).
        size: height and width wanted, in pixels.
        channels: 3, or 1 for a network that takes grey images.

    Returns:
        float32 (N, channels, size, size), stored channels last.
    """
    x = (images[:, None].float() / 255 - MEAN) / STD  # (N, 1, 28, 28)
    if size != x.shape[-1]:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return x.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)


def check_split(what: str, split: str) -> None:
    """Refuse a split that no set has.

    Raises:
        ZooError: `split` is not one of those that every set has.
    """
    if split not in PREFIX:
        raise ZooError(f"{what} has no split {split!r}. Known: {', '.join(PREFIX)}.")


def read_idx(path: Path) -> torch.Tensor:
    """Read a gzipped IDX file of bytes: two zeros, the type 8, the number of dimensions, the dimensions, the bytes."""
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * data[3]).reshape(shape)


def read_split(folder: Path, split: str, what: str, classes: tuple[str, ...], source: str, licence: str) -> ImageSet:
    """One split out of a folder with the four archives; the origin's hash is that of the images' archive."""
    archive = folder / f"{PREFIX[split]}-images-idx3-ubyte.gz"
    images = read_idx(archive)
    labels = read_idx(folder / f"{PREFIX[split]}-labels-idx1-ubyte.gz").long()
    origin = Origin(f"{what} {split}, {len(images):,} pictures", source, licence, sha256_of(archive))
    return ImageSet(images, labels, classes, origin)


def are_intact(folder: Path, archives: dict[str, str]) -> bool:
    """Whether the folder holds all archives, given as names with their SHA-256."""
    return all(is_intact(folder / name, sha256) for name, sha256 in archives.items())


def fetch_archives(folder: Path, archives: dict[str, str], mirrors: list[str]) -> Path:
    """Download what the folder lacks of the archives, each from the first of the mirrors that gives it."""
    for name, sha256 in archives.items():
        from_first(name, {m: partial(fetch, m + name, folder / name, sha256) for m in mirrors})
    return folder
