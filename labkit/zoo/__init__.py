"""Real models and data, with the source that is reachable from where you are."""

from labkit.zoo.batches import mirrored, random_batches, random_blocks
from labkit.zoo.coloured import (
    PROMPTS,
    Judge,
    check_prompt,
    coloured_fashion_mnist,
    frechet_distance,
    moments,
    prompt_index,
    to_float,
)
from labkit.zoo.digits import digits
from labkit.zoo.fashion_mnist import fashion_mnist
from labkit.zoo.fetch import ZooError
from labkit.zoo.idx import ImageSet, to_input
from labkit.zoo.imagenet import ImageNetModel, imagenet_model
from labkit.zoo.language import Corpus, LanguageModel, blocks, complete, documentation_corpus, language_model
from labkit.zoo.networks import NETWORKS, FashionModel, fashion_mnist_model, network, pruned_file
from labkit.zoo.origin import Origin, Pretrained
from labkit.zoo.pictures import Picture, crops, natural_pictures
from labkit.zoo.precision import refill_
from labkit.zoo.text_to_image import TextToImage, recorded_scores, text_to_image

__all__ = [
    "NETWORKS",
    "PROMPTS",
    "Corpus",
    "FashionModel",
    "ImageNetModel",
    "ImageSet",
    "Judge",
    "LanguageModel",
    "Origin",
    "Picture",
    "Pretrained",
    "TextToImage",
    "ZooError",
    "blocks",
    "check_prompt",
    "coloured_fashion_mnist",
    "complete",
    "crops",
    "digits",
    "documentation_corpus",
    "fashion_mnist",
    "fashion_mnist_model",
    "fetch_all",
    "frechet_distance",
    "imagenet_model",
    "language_model",
    "mirrored",
    "moments",
    "natural_pictures",
    "network",
    "prompt_index",
    "pruned_file",
    "random_batches",
    "random_blocks",
    "recorded_scores",
    "refill_",
    "text_to_image",
    "to_float",
    "to_input",
]


def fetch_all() -> list[Origin]:
    """Put everything that the labs load into the cache, and say what came from where. Raises ZooError."""
    return [
        fashion_mnist("train").origin,
        fashion_mnist("test").origin,
        digits("train").origin,
        digits("test").origin,
        *(fashion_mnist_model(name).origin for name in NETWORKS),
        imagenet_model().origin,
        *(picture.origin for picture in natural_pictures()),
        language_model("package").origin,
    ]
