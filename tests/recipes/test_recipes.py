"""What all recipes have in common: how they are run, what may import them, and that no code lies among the data."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import labkit.recipes
from labkit.zoo.sources.origin import ASSETS

LABKIT = Path(labkit.__file__).parent
FOLDER = LABKIT / "recipes"
LISTED = [line.split()[0] for line in labkit.recipes.__doc__.splitlines()[2:]]


def imported(module: Path) -> set[str]:
    """The full names of what a module imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_every_recipe_is_listed():
    modules = {path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    packages = {path.parent.name for path in FOLDER.glob("*/__main__.py")}
    assert set(LISTED) == modules | packages


@pytest.mark.parametrize("name", LISTED)
def test_a_recipe_says_how_it_is_run(name):
    folder = FOLDER / name
    module = folder / "train.py" if folder.is_dir() else folder.with_suffix(".py")
    assert f"    python -m labkit.recipes.{name} " in ast.get_docstring(ast.parse(module.read_text()))


def test_a_package_of_modules_is_run_like_a_module():
    command = [sys.executable, "-m", "labkit.recipes.text_to_image", "--help"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith("usage: python -m labkit.recipes.text_to_image")


def test_nothing_else_in_the_package_imports_a_recipe():
    others = [path for path in LABKIT.rglob("*.py") if FOLDER not in path.parents]
    assert [path for path in others if any(name.startswith("labkit.recipes") for name in imported(path))] == []


def test_no_code_lies_among_what_ships():
    assert [*ASSETS.rglob("*.py")] == []
