import json

import pytest
import torch

from labkit.zoo import fashion_mnist, mobilenet_v2_fashion_mnist, to_input
from labkit.zoo.origin import ASSETS


@pytest.fixture(scope="module")
def pretrained():
    return mobilenet_v2_fashion_mnist()


def test_the_model_is_ready_to_use(pretrained):
    assert not pretrained.model.training
    assert {p.dtype for p in pretrained.model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in pretrained.model.parameters()) == 2_236_682
    assert pretrained.origin.source == "embedded"


def test_the_scores_are_those_of_the_training_run(pretrained):
    scores = json.loads((ASSETS / "mobilenet_v2_fashion_mnist" / "scores.json").read_text())
    assert pretrained.scores == scores
    assert pretrained.size == scores["size"]
    assert scores["test_images"] == 10_000
    assert scores["test_accuracy"] >= 0.935


@torch.no_grad()
def test_the_model_knows_clothing(pretrained):
    test = fashion_mnist("test", source="embedded")
    images, labels = test.images[:500], test.labels[:500]
    hits = pretrained.model(to_input(images, pretrained.size)).argmax(1) == labels
    # Within four standard errors of the accuracy that was measured in training.
    p = pretrained.scores["test_accuracy"]
    assert hits.float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 500) ** 0.5)
