"""One environment, written down four times: pyproject.toml, constraints.txt, environment.yml and the Makefile."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(r) for part in (PROJECT["dependencies"], *EXTRAS.values()) for r in part]
CONSTRAINTS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINNED = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in CONSTRAINTS)}
INSTALLED = {canonicalize_name(d.metadata["Name"]): d for d in metadata.distributions()}


def extras_in(text: str) -> set[str]:
    return set(re.search(r"\.\[([\w,]+)\]", text)[1].split(","))


def needed() -> set[str]:
    """The names of all distributions that the project asks for with every extra, and that those ask for in turn."""
    asked = {(canonicalize_name(r.name), extra) for r in REQUIREMENTS for extra in ("", *r.extras)}
    seen = set()
    while asked:
        name, extra = asked.pop()
        seen.add((name, extra))
        for r in map(Requirement, INSTALLED[name].requires or []):
            if r.marker is None or r.marker.evaluate({"extra": extra}):
                asked |= {(canonicalize_name(r.name), of) for of in ("", *r.extras)} - seen
    return {name for name, _ in seen}


def test_conda_asks_for_the_same_python():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python{PROJECT['requires-python']}" in conda["dependencies"]


def test_conda_installs_this_package_with_every_extra_and_the_same_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    [pip] = [d["pip"] for d in conda["dependencies"] if isinstance(d, dict)]
    assert pip[0] == "-c constraints.txt"
    assert extras_in(pip[1]) == set(EXTRAS)


def test_what_a_lab_on_colab_installs_leaves_the_running_kernel_alone():
    asked = {Requirement(r).name for r in (*PROJECT["dependencies"], *EXTRAS["labs"])}
    assert asked.isdisjoint({"ipykernel", "ipython", "jupyterlab"})


def test_make_installs_every_extra():
    assert extras_in((ROOT / "Makefile").read_text()) == set(EXTRAS)


def test_every_constraint_is_one_exact_version_from_no_particular_host():
    exact = re.compile(r"[A-Za-z0-9][\w.-]*==\d[a-z0-9.]*")
    assert [line for line in CONSTRAINTS if not exact.fullmatch(line)] == []


def test_every_requirement_is_pinned_within_its_bounds():
    pins = {str(r): PINNED.get(canonicalize_name(r.name), "none") for r in REQUIREMENTS}
    assert {text: pin for text, pin in pins.items() if pin == "none" or pin not in Requirement(text).specifier} == {}


def test_every_requirement_has_a_lower_bound():
    assert [str(r) for r in REQUIREMENTS if ">=" not in str(r.specifier)] == []


def test_all_that_is_installed_for_the_project_is_pinned():
    assert needed() - set(PINNED) == set()


def test_what_is_installed_is_what_is_pinned():
    assert {canonicalize_name(r.name) for r in REQUIREMENTS} <= set(INSTALLED)
    versions = {name: INSTALLED[name].version for name in PINNED if name in INSTALLED}
    assert {name: (version, PINNED[name]) for name, version in versions.items() if version != PINNED[name]} == {}


def test_no_installed_package_lacks_another_or_a_version_of_it():
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_wheel_says_that_labkit_has_types():
    assert "labkit/py.typed" in {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
