import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clones import changes, git, make_clone

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TEXTS = """README.md CONTRIBUTING.md CHANGELOG.md book/index.md book/contribute.md labkit/site/__main__.py .ci/run
    .pre-commit-config.yaml .github/dependabot.yml""".split()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_plain_make_lists_every_target_with_a_word_about_it():
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^make (\w+) +\S", listed, re.MULTILINE)) == TARGETS


def test_no_target_is_mistaken_for_a_file():
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()) == TARGETS


def test_every_target_that_a_text_names_is_there():
    for name in TEXTS:
        assert set(re.findall(r"(?:`|^)make (\w+)", (ROOT / name).read_text(), re.MULTILINE)) <= TARGETS, name


@pytest.mark.parametrize("name, target", [("LAB", "labs"), ("SCALE", "labs"), ("AGAIN", "labs"), ("OUT", "grade")])
def test_arguments_are_those_of_the_command_line_and_not_of_the_environment(name, target):
    def said(*arguments: str, **variables: str) -> str:
        command = ["make", "-n", "-o", ".venv/.ready", target, "DIR=in", *arguments]
        environment = os.environ | variables
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert said(**{name: "biology"}) == said()
    if name != "SCALE":
        assert said(f"{name}=biology") != said()


def filter_of_make(folder: Path, **variables: str) -> None:
    """Have git set up in a folder as the recipe of the environment does it."""
    recipe = re.search(r"^\t@if test -z \"\$\$\(git(?:.*\\\n)*.*$", MAKEFILE, re.MULTILINE)[0]
    head = MAKEFILE[: MAKEFILE.index("# Arguments of make")]
    (folder / "part.mk").write_text(f"{head}\nfilter:\n{recipe}\n")
    subprocess.run(["make", "-s", "-f", "part.mk", "filter"], cwd=folder, check=True)
    (folder / "part.mk").unlink()


@pytest.fixture
def clone(tmp_path) -> tuple[Path, Path]:
    """A clone with one lab, set up by make, and the lab's notebook with an output."""
    lab = next((ROOT / "labs").glob("01_*"))
    name = f"labs/{lab.name}/{lab.name[3:]}.ipynb"
    clone = tmp_path / "clone"
    clone.mkdir()
    make_clone(clone, ".gitattributes", ".gitignore", name)
    filter_of_make(clone)
    (clone / ".venv").symlink_to(sys.prefix)
    notebook = json.loads((clone / name).read_text())
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["mine"]}]
    (clone / name).write_text(json.dumps(notebook, indent=1) + "\n")
    return clone, clone / name


def test_git_keeps_no_output_also_where_the_clone_was_moved(clone, tmp_path):
    assert "mine" not in changes(clone[0])
    moved = clone[0].rename(tmp_path / "moved again")
    assert "mine" not in changes(moved)


def test_git_writes_a_notebook_that_it_has_kept(clone):
    folder, notebook = clone
    notebook.unlink()
    git(folder, "checkout", "--", ".")
    assert notebook.exists()


def test_where_the_environment_is_gone_git_keeps_nothing_rather_than_outputs(clone):
    folder, notebook = clone
    (folder / ".venv").unlink()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(folder, "add", "-A")
    assert "nbstripout" in refused.value.stderr
    assert "mine" not in git(folder, "show", f":{notebook.relative_to(folder)}")


def test_a_tree_without_git_changes_no_repository_around_it(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "course").mkdir()
    filter_of_make(tmp_path / "course")
    assert "nbstripout" not in (tmp_path / ".git" / "config").read_text()


def test_a_clone_has_the_ends_of_lines_that_its_hashes_are_of(tmp_path):
    (tmp_path / "there").mkdir()
    texts = ["labkit/zoo/assets/sha256sums", "labkit/zoo/assets/lenet_5_fashion_mnist/log.csv", "Makefile"]
    make_clone(tmp_path / "there", ".gitattributes", *texts)
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "-q", "there", "here")
    for name in texts:
        assert (tmp_path / "here" / name).read_bytes() == (ROOT / name).read_bytes()
