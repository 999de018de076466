"""Real models and data, with the source that is reachable from where you are."""

from labkit.zoo.fashion_mnist import ImageSet, fashion_mnist, to_input
from labkit.zoo.fetch import ZooError
from labkit.zoo.imagenet import ImageNetModel, imagenet_model
from labkit.zoo.mobilenet import FashionModel, mobilenet_v2_fashion_mnist
from labkit.zoo.origin import Origin, Pretrained
from labkit.zoo.pictures import Picture, crops, natural_pictures

__all__ = [
    "FashionModel", "ImageNetModel", "ImageSet", "Origin", "Picture", "Pretrained", "ZooError", "crops",
    "fashion_mnist", "fetch_all", "imagenet_model", "mobilenet_v2_fashion_mnist", "natural_pictures", "to_input",
]  # fmt: skip


def fetch_all() -> list[Origin]:
    """Put everything that the labs load into the cache, and say what came from where. Raises ZooError."""
    return [
        fashion_mnist("train").origin,
        fashion_mnist("test").origin,
        mobilenet_v2_fashion_mnist().origin,
        imagenet_model().origin,
        *(picture.origin for picture in natural_pictures()),
    ]
