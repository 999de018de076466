"""Image classification: MobileNetV2 on Fashion-MNIST as a task, and its steps."""

from labkit.stack.image_classifier.steps import distill, fold, half, prune, quantize, recover, settle_, share, thin
from labkit.stack.image_classifier.study import STUDY
from labkit.stack.image_classifier.task import ImageClassifier

__all__ = [
    "STUDY",
    "ImageClassifier",
    "distill",
    "fold",
    "half",
    "prune",
    "quantize",
    "recover",
    "settle_",
    "share",
    "thin",
]
