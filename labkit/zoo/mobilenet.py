"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) trained on Fashion-MNIST; it ships with labkit."""

import json
from dataclasses import dataclass

from safetensors.torch import load_file
from torchvision.models import mobilenet_v2

from labkit.zoo.fetch import sha256_of
from labkit.zoo.origin import Origin, Pretrained, embedded

FOLDER = "mobilenet_v2_fashion_mnist"


@dataclass(frozen=True, eq=False)
class FashionModel(Pretrained):
    """A classifier of Fashion-MNIST. Its input is `to_input(images, size)`, its output logits (N, 10)."""

    size: int  # input resolution in pixels
    scores: dict  # what the training script measured: accuracies, counts, settings


def mobilenet_v2_fashion_mnist() -> FashionModel:
    """torchvision's MobileNetV2 with ten classes, trained on Fashion-MNIST by the `train.py` that ships beside it.

    The weights ship rounded to fp16 and are widened to float32.

    Raises:
        ZooError: the file that ships is missing or damaged.
    """
    weights, scores = embedded(f"{FOLDER}/weights.safetensors"), embedded(f"{FOLDER}/scores.json")
    model = mobilenet_v2(num_classes=10)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    origin = Origin("MobileNetV2 on Fashion-MNIST", "embedded", "MIT", sha256_of(weights))
    scores = json.loads(scores.read_text())
    return FashionModel(model.eval(), origin, scores["size"], scores)
