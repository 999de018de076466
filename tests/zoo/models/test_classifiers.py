import copy
import itertools
import json

import pytest
import torch
from torch import nn

from labkit.techniques.pruning.magnitude import prunable
from labkit.techniques.storage import deep_compression
from labkit.zoo import NETWORKS, ZooError, fashion_mnist, fashion_mnist_model, network, pruned_file, to_input
from labkit.zoo.sources.origin import ASSETS

# Parameters, and the least test accuracy that a training run must have reached to ship.
NAMES = {
    "mobilenet_v2": (2_236_682, 0.94),
    "vgg_9": (1_570_794, 0.94),
    "lenet_5": (431_080, 0.92),
    "lenet_300_100": (266_610, 0.90),
}


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pretrained(name):
    return fashion_mnist_model(name)


def test_all_networks_are_tested():
    assert list(NAMES) == list(NETWORKS)


def test_the_model_is_ready_to_use(pretrained, name):
    assert not pretrained.model.training
    assert {p.dtype for p in pretrained.model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in pretrained.model.parameters()) == NAMES[name][0]
    assert str(pretrained.origin).startswith(f"{NETWORKS[name].title} on Fashion-MNIST (source: embedded; licence: MIT")


def test_the_scores_are_those_of_the_training_run(pretrained, name):
    scores = json.loads((ASSETS / f"{name}_fashion_mnist" / "scores.json").read_text())
    assert pretrained.scores == scores
    assert pretrained.size == scores["size"]
    assert scores["test_images"] == 10_000
    assert scores["test_accuracy"] >= NAMES[name][1]


def test_the_log_belongs_to_the_scores(pretrained, name):
    epoch, _, _, accuracy, seconds = (
        (ASSETS / f"{name}_fashion_mnist" / "log.csv").read_text().splitlines()[-1].split(",")
    )
    assert int(epoch) == pretrained.scores["epochs"]
    assert float(seconds) == pretrained.scores["seconds"]
    # The log scores the weights before they were rounded to fp16.
    assert float(accuracy) == pytest.approx(pretrained.scores["test_accuracy"], abs=0.001)


@torch.no_grad()
def knows_clothing(model: nn.Module, name: str, p: float) -> bool:
    """Whether the accuracy on 500 pictures is within four standard errors of `p`, the one that was measured."""
    test = fashion_mnist("test", source="embedded")
    images, labels = test.images[:500], test.labels[:500]
    hits = model(to_input(images, NETWORKS[name].size, NETWORKS[name].channels)).argmax(1) == labels
    return hits.float().mean().item() == pytest.approx(p, abs=4 * (p * (1 - p) / 500) ** 0.5)


def test_the_model_knows_clothing(pretrained, name):
    assert knows_clothing(pretrained.model, name, pretrained.scores["test_accuracy"])


def test_a_fresh_network_has_the_layers_of_the_trained_one_and_none_of_its_weights(pretrained, name):
    fresh = network(name).state_dict()
    trained = pretrained.model.state_dict()
    assert {key: value.shape for key, value in fresh.items()} == {key: value.shape for key, value in trained.items()}
    assert not any(torch.equal(fresh[key], trained[key]) for key in fresh if key.endswith("weight"))


def test_layers_have_the_names_of_the_papers():
    def shapes(name):
        layers = network(name).named_modules()
        return {key: tuple(m.weight.shape) for key, m in layers if isinstance(m, nn.Conv2d | nn.Linear)}

    assert shapes("lenet_300_100") == {"ip1": (300, 784), "ip2": (100, 300), "ip3": (10, 100)}
    conv = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5)}
    assert shapes("lenet_5") == conv | {"ip1": (500, 800), "ip2": (10, 500)}
    widths = {"conv1_1": (32, 1), "conv1_2": (32, 32), "conv2_1": (64, 32), "conv2_2": (64, 64)}
    widths |= {"conv3_1": (128, 64), "conv3_2": (128, 128)}
    conv = {key: (*width, 3, 3) for key, width in widths.items()}
    assert shapes("vgg_9") == conv | {"fc1": (768, 1152), "fc2": (512, 768), "fc3": (10, 512)}


def test_the_signal_keeps_its_size_through_a_fresh_vgg():
    torch.manual_seed(0)
    x = torch.randn(16, 1, 28, 28)
    assert 0.3 < network("vgg_9").eval()(x).std() < 5


def test_an_unknown_network():
    for load in (network, fashion_mnist_model):
        with pytest.raises(ZooError, match=r"no network 'vgg'\. Known: mobilenet_v2, vgg_9, lenet_5, lenet_300_100\."):
            load("vgg")


PRUNED = ["vgg_9", "lenet_5", "lenet_300_100"]


def pruned_scores(name: str, seed: int) -> dict:
    return json.loads(pruned_file(name, seed).with_suffix(".json").read_text())


@pytest.fixture(scope="module", params=itertools.product(PRUNED, range(3)), ids="{0[0]}-{0[1]}".format)
def shipped(request):
    """Name, seed, the network of a pruned file as it ships, in fp16, and its scores."""
    name, seed = request.param
    return name, seed, deep_compression.load_(pruned_file(name, seed), network(name).half()), pruned_scores(name, seed)


def sparsity(model: nn.Module) -> float:
    zero = torch.cat([(weight == 0).flatten() for weight in prunable(model).values()])
    return zero.count_nonzero().item() / len(zero)


def test_a_pruned_network_has_the_sparsity_of_its_scores(shipped):
    _, _, model, scores = shipped
    assert sparsity(model) == pytest.approx(scores["sparsity"], abs=1e-5)
    for weight in prunable(model).values():
        assert weight.any()
        assert not weight[weight == 0].signbit().any()  # -0.0 would be a second zero in the codebook


def test_a_pruned_network_is_close_to_the_dense_one(shipped):
    name, _, _, scores = shipped
    assert scores["teacher_test_accuracy"] == fashion_mnist_model(name).scores["test_accuracy"]
    assert scores["test_accuracy"] > scores["teacher_test_accuracy"] - 0.003
    assert (scores["test_images"], scores["train_images"]) == (10_000, 60_000)


def test_a_pruned_network_knows_clothing(shipped):
    name, _, model, scores = shipped
    assert knows_clothing(copy.deepcopy(model).float().eval(), name, scores["test_accuracy"])


def test_the_command_of_a_pruned_network_says_what_its_scores_say(shipped):
    name, seed, _, scores = shipped
    words = scores["command"].split()
    said = {word: value for word, value in itertools.pairwise(words) if word.startswith("--")}
    for key, default in {"batch": 128, "lr": 0.02, "dropout": 0.0}.items():
        assert float(said.get(f"--{key}", default)) == scores.get(key, default)
    assert (float(said["--sparsity"]), int(said["--steps"])) == (scores["sparsity"], scores["steps"])
    assert said["--network"] == name and int(said["--seed"]) == scores["seed"] == seed
    assert ("--augment" in said) == scores["augment"]
    assert ("--no-teacher" in said) == (not scores.get("teacher", True))


@pytest.mark.parametrize("name", PRUNED)
def test_every_seed_gave_another_network(name):
    files = [pruned_file(name, seed).read_bytes() for seed in range(3)]
    assert len(set(files)) == 3


def test_a_pruned_network_that_does_not_ship():
    for name, seed in [("vgg_9", 3), ("lenet_5", -1), ("mobilenet_v2", 0)]:
        with pytest.raises(ZooError, match=f"{name}.*{seed}"):
            pruned_file(name, seed)
