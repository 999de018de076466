"""A recipe, rehearsed."""

import sys
from functools import partial
from types import ModuleType

import pytest

from labkit.zoo import fashion_mnist


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Run a recipe on a few embedded pictures, on the CPU, into the folder `run`."""

    def rehearse(recipe: ModuleType, *arguments: str) -> None:
        toy = ["--out", str(tmp_path / "run"), "--limit", "32", "--batch", "16", "--device", "cpu"]
        monkeypatch.setattr(recipe, "fashion_mnist", partial(fashion_mnist, source="embedded"))
        monkeypatch.setattr(sys, "argv", [recipe.__name__, *toy, *arguments])
        recipe.main()

    return rehearse
