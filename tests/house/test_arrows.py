"""Imports go one way: labs → stack, platforms → techniques, zoo → measure, estimate → files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LABKIT = ROOT / "labkit"

# Each floor may import itself, the floors below it, and nothing else of labkit. What stands on one floor may not import
# its neighbours, unless the list says so.
FLOORS = [
    {"checks", "files", "quiet", "table", "environment", "sources", "_show"},
    {"measure", "estimate", "scale"},
    {"record", "zoo", "techniques"},
    {"runs", "plot"},
    {"claims", "stack", "platforms", "drawings"},
    {"lab", "classroom"},
    {"authoring", "recipes"},
    {"site"},
    {"__main__"},
]
NEIGHBOURS = {("estimate", "measure")}  # a prediction is a Measurement, too
# More than the floors forbid: who must not know whom.
FORBIDDEN = {
    "techniques": {"plot", "zoo", "record", "runs", "lab", "stack"},
    "measure": {"record", "lab", "zoo", "techniques", "estimate"},
    "record": {"techniques", "zoo", "stack"},
    "zoo": {"techniques"},
}


def part(module: str) -> str:
    """The room that a module of labkit stands in."""
    return module.split(".")[1]


def imports() -> list[tuple[str, str]]:
    """Every import of one module of labkit by another, also those inside functions: (importer, imported)."""
    found = []
    for path in LABKIT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "labkit":
                found += [(name, f"labkit.{each.name}") for each in node.names if each.name != "show"]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labkit."):
                found.append((name, node.module))
            elif isinstance(node, ast.Import):
                found += [(name, each.name) for each in node.names if each.name.startswith("labkit.")]
    return [(one, other) for one, other in found if one != "labkit"]


IMPORTS = imports()
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def test_there_are_imports_to_judge():
    assert len(IMPORTS) > 200


def test_every_room_has_a_floor():
    rooms = {path.stem for path in LABKIT.iterdir() if path.suffix == ".py"} | {
        path.name for path in LABKIT.iterdir() if path.is_dir() and any(path.glob("*.py"))
    }
    assert rooms - FLOOR.keys() - {"__init__"} == set()


def test_imports_lead_down():
    up = [
        (one, other)
        for one, other in IMPORTS
        if part(one) != part(other)
        and FLOOR[part(other)] >= FLOOR[part(one)]
        and (part(one), part(other)) not in NEIGHBOURS
    ]
    assert up == []


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_not_know(room):
    assert [(one, other) for one, other in IMPORTS if part(one) == room and part(other) in FORBIDDEN[room]] == []


def test_nothing_in_the_package_imports_a_recipe():
    assert [pair for pair in IMPORTS if part(pair[1]) == "recipes" and part(pair[0]) != "recipes"] == []


def test_labs_import_no_recipe_and_no_tool_of_the_author():
    for lab in ROOT.glob("labs/[0-9][0-9]_*/*.py"):
        text = lab.read_text(encoding="utf-8")
        assert not any(f"from labkit.{room}" in text for room in ("recipes", "authoring", "site", "classroom")), lab
