"""The pruning of the networks that ship, on a few pictures."""

import json

import pytest
import torch

from labkit.recipes import pruned_classifiers
from labkit.techniques.pruning.magnitude import prunable
from labkit.techniques.storage import deep_compression
from labkit.zoo import network, pruned_file
from labkit.zoo.models.classifiers import PRUNED


@pytest.mark.parametrize("teacher", ["--teacher", "--no-teacher"])
def test_pruning_writes_what_ships(rehearse, tmp_path, teacher):
    options = "--network lenet_300_100 --sparsity 0.9 --steps 4 --augment --seed 1".split()
    rehearse(pruned_classifiers, *options, teacher)
    scores = json.loads((tmp_path / "run" / "pruned_1.json").read_text())
    assert scores["command"].startswith("python -m labkit.recipes.pruned_classifiers --out ")
    assert (scores["sparsity"], scores["steps"], scores["seed"], scores["test_images"]) == (0.9, 4, 1, 32)
    assert scores["teacher"] == (teacher == "--teacher")
    model = deep_compression.load_(tmp_path / "run" / "pruned_1.dc", network("lenet_300_100").half())
    zeros = torch.cat([(weight == 0).flatten() for weight in prunable(model).values()])
    assert zeros.double().mean().item() == pytest.approx(0.9, abs=1e-5)
    for name in PRUNED:
        # LeNet-5 was pruned before the recipe had these two settings.
        later = {"dropout", "teacher"} if name == "lenet_5" else set()
        for seed in range(3):
            shipped = json.loads(pruned_file(name, seed).with_suffix(".json").read_text())
            assert shipped.keys() == scores.keys() - later
