"""Real models and data, with the source that is reachable from where you are."""

from labkit.zoo.data.batches import mirrored, random_batches, random_blocks
from labkit.zoo.data.coloured import PROMPTS, check_prompt, coloured_fashion_mnist, prompt_index, to_float
from labkit.zoo.data.corpus import Corpus, block_topics, blocks, documentation_corpus, held_out_blocks
from labkit.zoo.data.fashion_mnist import fashion_mnist
from labkit.zoo.data.idx import ImageSet, to_input
from labkit.zoo.data.pictures import Picture, crops, natural_pictures
from labkit.zoo.models.classifiers import NETWORKS, FashionModel, fashion_mnist_model, network, pruned_file
from labkit.zoo.models.imagenet import ImageNetModel, imagenet_model
from labkit.zoo.models.judges import Judge, frechet_distance, moments
from labkit.zoo.models.language import LanguageModel, complete, language_model
from labkit.zoo.models.sampler_scores import Scores, Variant, distance_by_number
from labkit.zoo.models.text_to_image import TextToImage, recorded_scores, text_to_image
from labkit.zoo.sources.fetch import ZooError
from labkit.zoo.sources.origin import Origin, Pretrained
from labkit.zoo.sources.precision import refill_

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
    "Scores",
    "TextToImage",
    "Variant",
    "ZooError",
    "block_topics",
    "blocks",
    "check_prompt",
    "coloured_fashion_mnist",
    "complete",
    "crops",
    "distance_by_number",
    "documentation_corpus",
    "fashion_mnist",
    "fashion_mnist_model",
    "fetch_all",
    "frechet_distance",
    "held_out_blocks",
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
    """Put everything that the labs load into the cache, and say what came from where.

    Raises:
        ZooError: something could not be had.
    """
    return [
        fashion_mnist("train").origin,
        fashion_mnist("test").origin,
        *(fashion_mnist_model(name).origin for name in NETWORKS),
        imagenet_model().origin,
        *(picture.origin for picture in natural_pictures()),
        language_model("package").origin,
    ]
