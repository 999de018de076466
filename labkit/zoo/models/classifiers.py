"""Networks of ten classes, fresh or trained on Fashion-MNIST; the trained ones ship with labkit."""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors.torch import load_file
from torch import nn
from torchvision.models import mobilenet_v2

from labkit.zoo.sources.fetch import ZooError, sha256_of
from labkit.zoo.sources.origin import Origin, Pretrained, embedded
from labkit.zoo.sources.precision import widened


def lenet_300_100() -> nn.Module:
    """The fully connected LeNet of LeCun et al. (1998): two hidden layers of 300 and 100 units."""
    layers = {"flatten": nn.Flatten(), "ip1": nn.Linear(28 * 28, 300), "relu1": nn.ReLU()}
    layers |= {"ip2": nn.Linear(300, 100), "relu2": nn.ReLU(), "ip3": nn.Linear(100, 10)}
    return nn.Sequential(OrderedDict(layers))


def lenet_5() -> nn.Module:
    """LeNet-5 as Caffe ships it and Deep Compression uses it: two convolutions, two fully connected layers."""
    layers = {"conv1": nn.Conv2d(1, 20, 5), "pool1": nn.MaxPool2d(2)}  # (N, 20, 12, 12)
    layers |= {"conv2": nn.Conv2d(20, 50, 5), "pool2": nn.MaxPool2d(2)}  # (N, 50, 4, 4)
    layers |= {"flatten": nn.Flatten(), "ip1": nn.Linear(50 * 4 * 4, 500), "relu1": nn.ReLU()}
    layers["ip2"] = nn.Linear(500, 10)
    return nn.Sequential(OrderedDict(layers))


def vgg_9() -> nn.Module:
    """A small VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), without batch normalization.

    Three pairs of 3x3 convolutions, each with max-pooling after it, then three fully connected layers with dropout.
    """
    layers, channels = {}, 1
    for i, wider in enumerate((32, 64, 128), 1):
        for j in (1, 2):
            layers |= {f"conv{i}_{j}": nn.Conv2d(channels, wider, 3, padding=1), f"relu{i}_{j}": nn.ReLU()}
            channels = wider
        layers[f"pool{i}"] = nn.MaxPool2d(2)  # 28 → 14 → 7 → 3 pixels
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(128 * 3 * 3, 768), "relu4": nn.ReLU()}
    layers |= {"drop4": nn.Dropout(0.5), "fc2": nn.Linear(768, 512), "relu5": nn.ReLU()}
    layers |= {"drop5": nn.Dropout(0.5), "fc3": nn.Linear(512, 10)}
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # Without batch normalization the signal must keep its size from the start (He et al. 2015).
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(layers))


@dataclass(frozen=True)
class Network:
    """An architecture, and the input that it takes."""

    title: str
    make: Callable[[], nn.Module]
    size: int  # input resolution in pixels
    channels: int


NETWORKS = {
    # Enlarged to 48x48 because MobileNetV2 divides its input by 32; see `labkit.recipes.classifiers`.
    "mobilenet_v2": Network("MobileNetV2", partial(mobilenet_v2, num_classes=10), size=48, channels=3),
    "vgg_9": Network("VGG-9", vgg_9, size=28, channels=1),
    "lenet_5": Network("LeNet-5", lenet_5, size=28, channels=1),
    "lenet_300_100": Network("LeNet-300-100", lenet_300_100, size=28, channels=1),
}


PRUNED = ("vgg_9", "lenet_5", "lenet_300_100")  # networks that ship pruned, too


@dataclass(frozen=True, eq=False)
class FashionModel(Pretrained):
    """A classifier of Fashion-MNIST. Its input is `to_input(images, size, channels)`, its output logits (N, 10)."""

    size: int  #: input resolution in pixels
    channels: int
    scores: dict  #: accuracies, counts and settings, as the recipe measured them


def network(name: str) -> nn.Module:
    """A fresh, untrained network of ten classes: "mobilenet_v2", "vgg_9", "lenet_5" or "lenet_300_100".

    Raises:
        ZooError: there is no network of this name.
    """
    return _known(name).make()


def fashion_mnist_model(name: str) -> FashionModel:
    """`network(name)`, trained on Fashion-MNIST by `labkit.recipes.classifiers`.

    The weights ship rounded to fp16 and are widened to float32.

    Raises:
        ZooError: there is no network of this name, or the file that ships is missing or damaged.
    """
    known, folder = _known(name), f"{name}_fashion_mnist"
    weights, scores = embedded(f"{folder}/weights.safetensors"), embedded(f"{folder}/scores.json")
    model = known.make()
    model.load_state_dict(widened(load_file(weights)))
    origin = Origin(f"{known.title} on Fashion-MNIST", "embedded", "MIT", sha256_of(weights))
    return FashionModel(model.eval(), origin, known.size, known.channels, json.loads(scores.read_text()))


def pruned_file(name: str, seed: int) -> Path:
    """Path of a pruned network that ships: "vgg_9", "lenet_5" or "lenet_300_100", seed 0, 1 or 2, fp16.

    `labkit.recipes.pruned_classifiers` made it from `fashion_mnist_model(name)`, and
    `labkit.techniques.storage.deep_compression` reads it; scores and command are in the JSON file beside it.

    Raises:
        ZooError: there is no such network or seed, or the file that ships is missing or damaged.
    """
    if name not in PRUNED or seed not in range(3):
        raise ZooError(
            f"No pruned {name!r} with seed {seed!r} ships. There are {', '.join(PRUNED)}, with seeds 0, 1, 2."
        )
    return embedded(f"{name}_fashion_mnist/pruned_{seed}.dc")


def _known(name: str) -> Network:
    if name not in NETWORKS:
        raise ZooError(f"The zoo has no network {name!r}. Known: {', '.join(NETWORKS)}.")
    return NETWORKS[name]
