"""Natural pictures out of installed packages, to run a model on where no photographs can be downloaded."""

from dataclasses import dataclass
from importlib.resources import files

import torch
from PIL import Image
from torchvision.transforms import Compose, RandomHorizontalFlip, RandomResizedCrop

from labkit.zoo.sources.fetch import ZooError, sha256_of
from labkit.zoo.sources.hub import require
from labkit.zoo.sources.origin import Origin

# (package, file in it, licence and author or origin), as docstrings, README or, for the last, the comment in the file
# and the change that added it to Matplotlib give them
PICTURES = [
    ("skimage", "data/astronaut.png", "public domain, NASA"),
    ("skimage", "data/camera.png", "CC0, Lav Varshney"),
    ("skimage", "data/chelsea.png", "CC0, Stefan van der Walt"),
    ("skimage", "data/coffee.png", "CC0, Rachel Michetti"),
    ("skimage", "data/rocket.jpg", "public domain, SpaceX"),
    ("sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele"),
    ("sklearn", "datasets/images/flower.jpg", "CC BY 2.0, vultilion"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "public domain, Wikimedia Commons"),
]


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph."""

    name: str
    image: Image.Image  #: RGB
    origin: Origin


def natural_pictures() -> list[Picture]:
    """The photographs that scikit-image, scikit-learn and Matplotlib install: people, a cat, a cup, a palace, …

    Raises:
        ZooError: a package no longer holds one of them.
    """
    return [_load(*picture) for picture in PICTURES]


def _load(package: str, file: str, licence: str) -> Picture:
    require(package)
    path = files(package) / file
    if not path.is_file():
        raise ZooError(f"The installed {package} has no {file}. Install the version that constraints.txt names.")
    return Picture(path.stem, Image.open(path).convert("RGB"), Origin(path.stem, package, licence, sha256_of(path)))


def crops(pictures: list[Picture], n: int, size: int = 256, seed: int = 0) -> list[Image.Image]:
    """`n` random views of the pictures, in turn, as RGB (size, size): resized crops, half of them mirrored.

    Two models that agree on some hundreds of such views agree on more than eight pictures; the views of one
    picture are not independent of each other, though.
    """
    view = Compose([RandomResizedCrop(size, scale=(0.2, 1.0)), RandomHorizontalFlip()])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [view(pictures[i % len(pictures)].image) for i in range(n)]
