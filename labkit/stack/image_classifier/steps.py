"""The steps that can be stacked on a classifier of images."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from labkit.stack.image_classifier.task import ImageClassifier
from labkit.stack.steps import step
from labkit.techniques.distillation import soft_targets
from labkit.techniques.pruning import magnitude, recovery, structured
from labkit.techniques.quantization import codebook, packed
from labkit.techniques.training import Batches, Loss

RULES = {"global": magnitude.global_masks, "layer": magnitude.layer_masks, "lamp": magnitude.lamp_masks}
INTEGERS = {"integers": "they have no gradient; retrain first, and quantize then"}
WITHOUT = {"BatchNorm": "without it training does not settle; fold it at the end"}
HALF = {"16-bit weights": "it would make them 32 bits again; round at the end"}


@step(gives=["fewer channels"], refuses={"codebooks": "too few weights would be left for each", **INTEGERS, **HALF})
def thin(model: nn.Module, task: ImageClassifier, share: float) -> nn.Module:
    """Remove this share of the channels of every group, and their weights with them."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    return settle_(structured.channels_pruned(model, task.inputs[:1].to(task.device), share, keep=last), task)


def settle_(model: nn.Module, task: ImageClassifier) -> nn.Module:
    """With BatchNorm's statistics measured again: without that one measures BatchNorm, and not what was done."""
    model.to(memory_format=torch.channels_last)  # new weights come in another order, which rounds otherwise
    return recovery.reestimate_batchnorm_(model, [x for (x, _), _ in zip(task.batches(0), range(8))])


@step(gives=["zeros"], refuses=HALF)
def prune(
    model: nn.Module, task: ImageClassifier, sparsity: float, rule: Literal["global", "layer", "lamp"] = "global"
):
    """Set this share of the weights to zero, those of smallest magnitude as the rule ranks them."""
    return settle_(magnitude.apply_masks_(model, RULES[rule](model, sparsity)), task)


@step(needs=WITHOUT, refuses={**INTEGERS, **HALF})
def recover(model: nn.Module, task: ImageClassifier, seed: int, steps: int) -> nn.Module:
    """Train on with the labels: the weights under their mask or, where there are codebooks, the centroids."""
    return _retrained(model, task, steps, task.batches(seed))


@step(needs=WITHOUT, refuses={**INTEGERS, **HALF})
def distill(model: nn.Module, task: ImageClassifier, seed: int, steps: int) -> nn.Module:
    """As `recover`, with the predictions of the network as trained for a teacher."""
    batches = soft_targets.with_teacher(task.batches(seed), task.start())
    return _retrained(model, task, steps, batches, loss=soft_targets.distillation_loss)


def _retrained(
    model: nn.Module, task: ImageClassifier, steps: int, batches: Batches, loss: Loss = F.cross_entropy
) -> nn.Module:
    weights = magnitude.prunable(model)
    if books := _codebooks(weights):
        return settle_(codebook.finetune_centroids_(model, books, batches, steps, loss=loss), task)
    return recovery.finetune_(model, batches, steps, {name: w != 0 for name, w in weights.items()}, loss=loss)


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
def share(model: nn.Module, task: ImageClassifier, bits: int) -> nn.Module:
    """Let the weights of each layer take their values from a codebook of so many bits."""
    # A layer of which nothing is left has nothing to share.
    codebook.share_(model, {name: bits for name, weight in magnitude.prunable(model).items() if weight.any()})
    return settle_(model, task)


@step(
    gives=["integers"],
    refuses={"integers": "they are quantized already", "codebooks": "few values would become many", **HALF},
)
def quantize(model: nn.Module, task: ImageClassifier, kind: Literal["int8"] = "int8") -> nn.Module:
    """Round the weights to 8 bits, one scale for every output channel."""
    for name in magnitude.prunable(model):
        packed.hold_packed_(model.get_submodule(name.removesuffix(".weight")), packed.Int8())
    return settle_(model, task)


@step(
    takes=["BatchNorm"],
    needs={"BatchNorm": "there is none to fold"},
    refuses={"codebooks": "a factor for every channel makes many values of few", **INTEGERS, **HALF},
)
def fold(model: nn.Module, task: ImageClassifier) -> nn.Module:
    """Merge every BatchNorm into the convolution before it, which computes the same."""
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (after, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, nn.Identity())
    return model


@step(gives=["16-bit weights"], refuses={"16-bit weights": "they are rounded already"})
def half(model: nn.Module, task: ImageClassifier) -> nn.Module:
    """Round to 16 bits whatever is not an integer: biases, BatchNorm, scales, codebooks, weights."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return model
