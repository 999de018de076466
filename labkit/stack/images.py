"""A classifier of Fashion-MNIST as a task, and the steps that can be stacked on it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from labkit import measure, zoo
from labkit.measure import Measurement
from labkit.stack import grids
from labkit.stack.steps import Facts, step
from labkit.techniques import codebook, container
from labkit.techniques import distill as distillation
from labkit.techniques import prune as pruning
from labkit.techniques.training import Batches, Loss

BATCH = 64
RULES = {"global": pruning.global_masks, "layer": pruning.layer_masks, "lamp": pruning.lamp_masks}
INTEGERS = {"integers": "they have no gradient; retrain first, and quantize then"}
WITHOUT = {"BatchNorm": "without it training does not settle; fold it at the end"}
HALF = {"16-bit weights": "it would make them 32 bits again; round at the end"}


class Images:
    """A network that ships, trained on Fashion-MNIST, measured on its test pictures.

    Rows have `file` (bytes of a container that loads again), `smaller` (times smaller than four bytes a parameter),
    `accuracy` (%), `lost` (points, paired with the network as trained) and `latency` (times that of the network as
    trained, timed in turn on the processor, weights unpacked). A latency is a property of the architecture: it is
    timed once for each, and `latencies` keeps it. Raises what `zoo.fashion_mnist` raises.
    """

    def __init__(
        self,
        network: str = "mobilenet_v2",
        test_images: int = 10_000,
        source: str | None = None,
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
        answers = self.answers(model)
        with tempfile.TemporaryDirectory() as folder:
            file = self.save(model, facts, Path(folder, "model.dc")).stat().st_size
        whole = 4 * measure.parameters(self.pretrained.model).value
        return {
            "file": Measurement.exact(file, "bytes"),
            "smaller": Measurement.exact(whole / file, "×"),
            "accuracy": measure.accuracy(answers, self.labels),
            "lost": measure.accuracy_loss(answers, self._reference, self.labels),
            "latency": self.latency(model),
        }

    @cached_property
    def _reference(self) -> torch.Tensor:
        return self.answers(self.start())

    def answers(self, model: nn.Module) -> torch.Tensor:
        """The class that the model gives each test picture, int64 (pictures,)."""
        batch = 100 if self.device == "cpu" else 1000
        return measure.predict(lambda x: model(x.to(self.device)), self.inputs, batch).cpu()

    def save(self, model: nn.Module, facts: Facts, path: Path) -> Path:
        """Write the model as a container, with 16 bits for what has been rounded to them."""
        model = copy.deepcopy(model).cpu()
        return container.save(model.half() if "16-bit weights" in facts else model, path)

    def load(self, path: Path, like: nn.Module, facts: Facts) -> nn.Module:
        """What `save` wrote, into a copy of a model of the same architecture and grids."""
        model = copy.deepcopy(like).cpu()
        model = container.load(path, model.half() if "16-bit weights" in facts else model)
        return model.float().to(memory_format=torch.channels_last).eval()

    def latency(self, model: nn.Module) -> Measurement:
        """How many times the time of the network as trained the model takes, for 50 pictures on the processor."""
        model = grids.unpacked(copy.deepcopy(model).cpu())
        key = " ".join("x".join(map(str, w.shape)) for w in pruning.prunable(model).values())
        key += " folded" * (not any(isinstance(m, nn.BatchNorm2d) for m in model.modules()))
        if key not in self.latencies:
            x, trained = self.inputs[:50], self.pretrained.model.to(memory_format=torch.channels_last)
            timings = measure.time_in_turn({"model": lambda: model(x), "trained": lambda: trained(x)}, rounds=30)
            self.latencies[key] = timings.ratio("model", "trained")
        return self.latencies[key]


@step(gives=["fewer channels"], refuses={"codebooks": "too few weights would be left for each", **INTEGERS, **HALF})
def thin(model: nn.Module, task: Images, share: float) -> nn.Module:
    """Remove this share of the channels of every group, and their weights with them."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    return settled(pruning.prune_channels(model, task.inputs[:1].to(task.device), share, keep=last), task)


def settled(model: nn.Module, task: Images) -> nn.Module:
    """With BatchNorm's statistics measured again: without that one measures BatchNorm, and not what was done."""
    model.to(memory_format=torch.channels_last)  # new weights come in another order, which rounds otherwise
    return pruning.reestimate_batchnorm(model, [x for (x, _), _ in zip(task.batches(0), range(8))])


@step(gives=["zeros"], refuses=HALF)
def prune(model: nn.Module, task: Images, sparsity: float, rule: Literal["global", "layer", "lamp"] = "global"):
    """Set this share of the weights to zero, those of smallest magnitude as the rule ranks them."""
    return settled(grids.drop(model, RULES[rule](model, sparsity)), task)


@step(needs=WITHOUT, refuses={**INTEGERS, **HALF})
def recover(model: nn.Module, task: Images, seed: int, steps: int) -> nn.Module:
    """Train on with the labels: the weights under their mask or, where there are codebooks, the centroids."""
    return _retrained(model, task, steps, task.batches(seed))


@step(needs=WITHOUT, refuses={**INTEGERS, **HALF})
def distill(model: nn.Module, task: Images, seed: int, steps: int) -> nn.Module:
    """As `recover`, with the answers of the network as trained for a teacher."""
    batches = distillation.with_teacher(task.batches(seed), task.start())
    return _retrained(model, task, steps, batches, loss=distillation.distillation_loss)


def _retrained(model: nn.Module, task: Images, steps: int, batches: Batches, loss: Loss = F.cross_entropy) -> nn.Module:
    weights = pruning.prunable(model)
    if books := _codebooks(weights):
        return settled(codebook.finetune_centroids(model, books, batches, steps, loss=loss), task)
    return pruning.finetune(model, batches, steps, {name: w != 0 for name, w in weights.items()}, loss=loss)


def _codebooks(weights: dict[str, torch.Tensor]) -> dict[str, codebook.Codebook]:
    """The codebooks that the weights show, layer by layer; none if a layer has too many values for 8 bits."""
    books = {}
    for name, weight in weights.items():
        kept = weight.flatten().nonzero().squeeze(1)
        centroids, codes = weight.flatten()[kept].unique(return_inverse=True)
        if len(centroids) > 2**8:
            return {}
        books[name] = codebook.Codebook(centroids, codes, kept, weight.shape)
    return books


@step(
    gives=["codebooks"],
    refuses={"codebooks": "they are shared already", "integers": "they share few values already", **HALF},
)
def share(model: nn.Module, task: Images, bits: int) -> nn.Module:
    """Let the weights of each layer take their values from a codebook of so many bits."""
    # A layer of which nothing is left has nothing to share.
    codebook.share(model, {name: bits for name, weight in pruning.prunable(model).items() if weight.any()})
    return settled(model, task)


@step(
    gives=["integers"],
    refuses={"integers": "they are quantized already", "codebooks": "few values would become many", **HALF},
)
def quantize(model: nn.Module, task: Images, kind: Literal["int8"] = "int8") -> nn.Module:
    """Round the weights to 8 bits, one scale for every output channel."""
    for name in pruning.prunable(model):
        grids.pack(model.get_submodule(name.removesuffix(".weight")), grids.Int8())
    return settled(model, task)


@step(
    takes=["BatchNorm"],
    needs={"BatchNorm": "there is none to fold"},
    refuses={"codebooks": "a factor for every channel makes many values of few", **INTEGERS, **HALF},
)
def fold(model: nn.Module, task: Images) -> nn.Module:
    """Merge every BatchNorm into the convolution before it, which computes the same."""
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (after, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, nn.Identity())
    return model


@step(gives=["16-bit weights"], refuses={"16-bit weights": "they are rounded already"})
def half(model: nn.Module, task: Images) -> nn.Module:
    """Round to 16 bits whatever is not an integer: biases, BatchNorm, scales, codebooks, weights."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return model
