"""A classifier of Fashion-MNIST as a task: MobileNetV2 unless told otherwise."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from labkit import measure, zoo
from labkit.measure import Measurement
from labkit.stack.steps import Facts
from labkit.techniques.pruning import magnitude
from labkit.techniques.quantization import packed
from labkit.techniques.storage import deep_compression

BATCH = 64


class ImageClassifier:
    """A network that ships, trained on Fashion-MNIST, measured on its test images.

    Rows have `file` (bytes of a Deep Compression file that loads again), `smaller` (times smaller than four bytes per
    parameter), `accuracy` (%), `lost` (points, paired with the network as trained) and `latency` (times that of the
    network as trained, timed in turn on the CPU, weights unpacked). A latency is a property of the architecture: it is
    timed once for each, and `latencies` keeps it.

    Raises:
        ZooError: as `zoo.fashion_mnist`.
    """

    def __init__(
        self,
        network: str = "mobilenet_v2",
        test_images: int = 10_000,
        source: Literal["torchvision", "debian", "embedded"] | None = None,
        device: str = "cpu",
        latencies: dict[str, Measurement] | None = None,
    ):
        self.pretrained = zoo.fashion_mnist_model(network)
        self.shape = self.pretrained.size, self.pretrained.channels
        train, test = zoo.fashion_mnist("train", source), zoo.fashion_mnist("test", source)
        self.device = device
        self.training = replace(train, images=train.images.to(device), labels=train.labels.to(device))
        self.inputs = zoo.to_input(test.images[:test_images], *self.shape)
        self.labels = test.labels[:test_images]
        self.name = f"{network}, {len(self.labels):,} test pictures, {len(train.labels):,} for training"
        self.facts: Facts = frozenset(
            {"BatchNorm"} if any(isinstance(m, nn.BatchNorm2d) for m in self.pretrained.model.modules()) else ()
        )
        self.latencies = {} if latencies is None else latencies

    def start(self) -> nn.Module:
        """The network with the digits filled that were cut off when it was shipped with 16-bit weights."""
        model = copy.deepcopy(self.pretrained.model)
        model.to(memory_format=torch.contiguous_format)  # in which its digits are filled
        model = zoo.refill_(model, torch.Generator().manual_seed(0))
        return model.to(self.device, memory_format=torch.channels_last)

    def batches(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Random training batches (inputs, labels), without end, the same on every device."""
        return zoo.random_batches(self.training, BATCH, seed, self.shape)

    def measure(self, model: nn.Module, facts: Facts) -> dict[str, Measurement]:
        """The measurements of a row; its file is written, to know its size, and removed."""
        predictions = self.predictions(model)
        with tempfile.TemporaryDirectory() as folder:
            file = self.save(model, facts, Path(folder, "model.dc")).stat().st_size
        whole = 4 * measure.parameters(self.pretrained.model).value
        return {
            "file": Measurement.exact(file, "bytes"),
            "smaller": Measurement.exact(whole / file, "×"),
            "accuracy": measure.accuracy(predictions, self.labels),
            "lost": measure.accuracy_loss(predictions, self._reference, self.labels),
            "latency": self.latency(model),
        }

    @cached_property
    def _reference(self) -> torch.Tensor:
        return self.predictions(self.start())

    def predictions(self, model: nn.Module) -> torch.Tensor:
        """The class that the model gives each test image, int64 (images,)."""
        batch = 100 if self.device == "cpu" else 1000
        return measure.predict(lambda x: model(x.to(self.device)), self.inputs, batch).cpu()

    def save(self, model: nn.Module, facts: Facts, path: Path) -> Path:
        """Write the model as a Deep Compression file, with 16 bits for what has been rounded to them."""
        model = copy.deepcopy(model).cpu()
        return deep_compression.save(model.half() if "16-bit weights" in facts else model, path)

    def load(self, path: Path, like: nn.Module, facts: Facts) -> nn.Module:
        """What `save` wrote, into a copy of a model of the same architecture and grids."""
        model = copy.deepcopy(like).cpu()
        model = deep_compression.load_(path, model.half() if "16-bit weights" in facts else model)
        return model.float().to(memory_format=torch.channels_last).eval()

    def latency(self, model: nn.Module) -> Measurement:
        """How many times the time of the network as trained the model takes, for 50 images on the CPU."""
        model = packed.unpack_(copy.deepcopy(model).cpu())
        key = " ".join("x".join(map(str, w.shape)) for w in magnitude.prunable(model).values())
        if not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()):
            key += " folded"
        if key not in self.latencies:
            x, trained = self.inputs[:50], self.pretrained.model.to(memory_format=torch.channels_last)
            timings = measure.time_in_turn({"model": lambda: model(x), "trained": lambda: trained(x)}, rounds=30)
            self.latencies[key] = timings.ratio("model", "trained")
        return self.latencies[key]
