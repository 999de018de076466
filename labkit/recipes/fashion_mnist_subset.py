"""Make the subset of Fashion-MNIST that ships with labkit, from the official archives.

    python -m labkit.recipes.fashion_mnist_subset --out DIR

The first 1,200 training and 500 test pictures of each class, in the archives' order, as gzipped IDX files.
The same archives always give the same bytes (for one version of zlib).
"""

import argparse
import gzip
import os
import struct
from pathlib import Path

import torch

from labkit.zoo import ImageSet, fashion_mnist
from labkit.zoo.sources.origin import ASSETS

PER_CLASS = {"train": 1200, "test": 500}
PREFIX = {"train": "train", "test": "t10k"}


def balanced(labels: torch.Tensor, per_class: int) -> torch.Tensor:
    """Ascending indices of the first `per_class` examples of each class; (N,) → (classes * per_class,)."""
    return torch.cat([torch.nonzero(labels == c).flatten()[:per_class] for c in labels.unique()]).sort().values


def idx_gz(data: torch.Tensor, level: int = 9) -> bytes:
    """A uint8 tensor as a gzipped IDX file. No time stamp goes in, so that equal data give equal bytes."""
    header = struct.pack(f">BBBB{data.dim()}I", 0, 0, 8, data.dim(), *data.shape)
    return gzip.compress(header + data.numpy().tobytes(), compresslevel=level, mtime=0)


def write(subset: ImageSet, per_class: int, prefix: str, out: Path) -> None:
    """Write the balanced subset's two archives, images and labels, into the folder `out`."""
    chosen = balanced(subset.labels, per_class)
    archives = {
        f"{prefix}-images-idx3-ubyte.gz": subset.images[chosen],
        f"{prefix}-labels-idx1-ubyte.gz": subset.labels[chosen].to(torch.uint8),
    }
    for name, data in archives.items():
        new = out / (name + ".new")
        new.write_bytes(idx_gz(data))
        os.replace(new, out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS / "fashion_mnist")
    parser.add_argument("--source", choices=["torchvision", "debian"], default="torchvision")
    args = parser.parse_args()
    for split, per_class in PER_CLASS.items():
        write(fashion_mnist(split, source=args.source), per_class, PREFIX[split], args.out)


if __name__ == "__main__":
    main()
