"""What may lie in the repository, and what may not."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAYOUT = """README.md Makefile environment.yml pyproject.toml constraints.txt LICENSE CITATION.cff .ci/run
    labs book/_toc.yml book/_config.yml book/references.bib
    labkit/measure labkit/record.py labkit/claims.py labkit/plot.py labkit/zoo labkit/techniques labkit/scale.py
    labkit/__main__.py tests/measure tests/zoo tests/techniques tests/labs tests/book tests/house""".split()

# A path of somebody's machine, the address of a package registry, and what a secret key looks like.
FOREIGN = re.compile(
    r"(?<![\w.~:$}/-])/(?:home|Users|root|tmp|work)/\w"
    r"|index[-]url|find[-]links|trusted[-]host|pypi[.]org|pythonhosted[.]org|registry[.]npmjs|deb[.]debian[.]org"
    r"|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{34}|-----BEGIN [A-Z ]*PRIVATE KEY"
)


def repository_files() -> list[Path]:
    """Files that git keeps, or would keep."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


FILES = repository_files()
ASSETS = [path for path in FILES if path.is_relative_to(ROOT / "labkit" / "zoo" / "assets")]


@pytest.mark.parametrize("path", LAYOUT)
def test_the_layout_stands(path):
    assert (ROOT / path).exists()


def test_no_file_names_a_machine_a_registry_or_a_key():
    found = []
    for path in FILES:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT)
        found += [f"{name}:{number}: {line[:120]}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)]
    assert found == []


def test_shipped_assets_take_at_most_40_mb():
    assert sum(path.stat().st_size for path in ASSETS) <= 40e6


def test_no_other_file_takes_more_than_1_mb():
    assert [path for path in set(FILES) - set(ASSETS) if path.stat().st_size > 1e6] == []


def test_the_book_holds_texts_and_settings_only():
    code = [path.name for path in FILES if path.is_relative_to(ROOT / "book") and path.suffix == ".py"]
    assert code == []


def test_the_citation_names_this_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing_to_mend(command):
    found = subprocess.run([sys.executable, "-m", "ruff", *command.split(), ROOT], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
