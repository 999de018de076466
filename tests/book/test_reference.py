"""The reference has an entry for every public name of labkit."""

import ast
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import labkit
from labkit import stack, zoo

LABKIT = Path(__file__).parents[2] / "labkit"
FOLDERS = ("drawings", "estimate", "measure", "stack", "techniques")
ALONE = ("claims", "environment", "lab", "plot", "quiet", "record", "runs", "scale", "sources", "table")
MODULES = [path for folder in FOLDERS for path in LABKIT.glob(f"{folder}/**/*.py")]
MODULES += [LABKIT / f"{name}.py" for name in ALONE]
ELSEWHERE = {"labkit.claims.main"}  # the command line


@pytest.fixture(scope="module")
def entries(site) -> set[str]:
    """Every documented name, in full."""
    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    return {name for kind in inventory if kind.startswith("py:") for name in inventory[kind]}


def public(module: Path) -> list[str]:
    """The functions and classes that a module makes, in full; those that a lab never imports are left out."""
    path = ".".join(module.relative_to(LABKIT.parent).with_suffix("").parts)
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return [
        f"{path}.{thing.name}"
        for thing in tree.body
        if isinstance(thing, ast.FunctionDef | ast.ClassDef) and not thing.name.startswith("_")
    ]


@pytest.mark.parametrize("module", [m for m in MODULES if m.stem[0] != "_"], ids=lambda m: m.stem)
def test_every_public_function_and_class_has_an_entry(entries, module):
    assert set(public(module)) - ELSEWHERE - entries == set()


@pytest.mark.parametrize("package", [labkit, zoo, stack], ids=lambda package: package.__name__)
def test_every_exported_name_has_an_entry(entries, package):
    last = {name.rpartition(".")[2] for name in entries if name.startswith(f"{package.__name__}.")}
    assert set(package.__all__) - last == set()
