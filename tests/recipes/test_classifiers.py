"""The training of the networks that ship, on a few pictures."""

import json

import pytest

from labkit.recipes import classifiers


@pytest.fixture
def train(tmp_path, rehearse):
    """Rehearse the training; return its scores."""

    def train(*arguments: str) -> dict:
        rehearse(classifiers, *arguments)
        return json.loads((tmp_path / "run" / "scores.json").read_text())

    return train


@pytest.mark.parametrize("erasing", ["--erasing", "--no-erasing"])
def test_training_writes_what_ships(train, tmp_path, erasing):
    scores = train("--network", "lenet_300_100", "--epochs", "2", erasing)
    assert (scores["epochs"], scores["test_images"], scores["size"]) == (2, 32, 28)
    assert scores["command"].startswith("python -m labkit.recipes.classifiers --out ")
    assert f"--network lenet_300_100 --epochs 2 {erasing}" in scores["command"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.pt",
        "log.csv",
        "scores.json",
        "weights.safetensors",
    ]
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


def test_settings_are_tried_without_the_test_pictures(train):
    scores = train("--network", "lenet_300_100", "--epochs", "1", "--hold-out", "20")
    assert (scores["held_out_images"], scores["train_images"]) == (20, 32)
    assert not any(key.startswith("test") for key in scores)
