"""What may lie in the repository, and what may not."""

import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from labkit.authoring import repository
from rehearsals.colab import kept_files

ROOT = Path(__file__).parents[2]
LAYOUT = """README.md CONTRIBUTING.md CHANGELOG.md Makefile environment.yml pyproject.toml constraints.txt LICENSE
    CITATION.cff .ci/run labs book/_toc.yml book/_config.yml book/references.bib
    labkit/measure labkit/record.py labkit/claims.py labkit/plot.py labkit/zoo labkit/techniques labkit/scale.py
    labkit/__main__.py tests/measure tests/zoo tests/techniques tests/labs tests/book tests/house""".split()

# A path of somebody's machine, the address of a package registry, and what a secret key looks like.
FOREIGN = re.compile(
    r"(?<![\w.~:$}/-])/(?:home|Users|root|tmp|work)/\w"
    r"|index[-]url|find[-]links|trusted[-]host|pypi[.]org|pythonhosted[.]org|registry[.]npmjs|deb[.]debian[.]org"
    r"|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{34}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
# A repository of the project's name, with an owner such as GitHub gives out: no two hyphens, none at an end.
OURS = re.compile(r"(?<![\w.-])(?!github/)((?:[A-Za-z0-9]+-)*[A-Za-z0-9]+/efficiency-stack)(?![\w-])")
FETCHES = re.compile(r"git clone|git\+https?:")


def git(folder: Path, *command: str) -> str:
    return subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def repository_files() -> list[Path]:
    """Files that git keeps, or would keep."""
    return [ROOT / name for name in kept_files()]


FILES = repository_files()
ASSETS = [path for path in FILES if path.is_relative_to(ROOT / "labkit" / "zoo" / "assets")]
WEIGHTS = ("*.safetensors", "*.dc", "*.gz", "*.npz")  # models and data, wherever they lie


def committed_weights(folder: Path) -> dict[str, set[str]]:
    """The contents, as hashes, that history has of each file of weights; a file that moves takes them along.

    The history of a shallow clone is short, and begins with all files.
    """
    contents = defaultdict(set)
    form = ["--reverse", "--topo-order", "--raw", "--no-abbrev", "--format=", "-M", "--diff-merges=first-parent"]
    for line in git(folder, "log", *form, "--", *WEIGHTS).splitlines():
        entry, *paths = line.split("\t")
        content, change = entry.split()[3:]
        if change.startswith("R"):
            contents[paths[1]] |= contents.pop(paths[0], set())
        if change != "D":
            contents[paths[-1]].add(content)
    return contents


def test_the_layout_stands():
    assert [path for path in LAYOUT if not (ROOT / path).exists()] == []


def texts() -> dict[str, str]:
    """The files that are text, by their names."""
    found = {}
    for path in FILES:
        with suppress(UnicodeDecodeError):
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    return found


def test_no_file_names_a_machine_a_registry_or_a_key():
    found = [
        f"{name}:{number}: {line[:120]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if FOREIGN.search(line)
    ]
    assert found == []


def test_no_file_leads_to_a_repository_of_ours_that_was_not_chosen():
    """Whoever registers such a name could have his code run on the machines of readers."""
    chosen = repository.read(ROOT)
    named = {(name, found) for name, text in texts().items() for found in OURS.findall(text)}
    assert [f"{name}: {found}" for name, found in sorted(named) if chosen is None or found != chosen.name] == []


def test_a_lab_fetches_from_the_chosen_repository_and_from_no_other():
    chosen = repository.read(ROOT)
    for name, text in texts().items():
        if name.startswith("labs/") or name in ("README.md", "environment.yml"):
            lines = [line for line in text.splitlines() if FETCHES.search(line)]
            assert [line for line in lines if chosen is None or f" {chosen.address} " not in line] == [], name


def test_shipped_assets_take_at_most_120_mb():
    assert sum(path.stat().st_size for path in ASSETS) <= 120e6


def test_a_model_or_a_data_set_takes_at_most_12_mb():
    sizes = Counter()  # of each folder without its subfolders: a pipeline is made of several models
    for path in ASSETS:
        sizes[path.parent] += path.stat().st_size
    assert {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > 12e6} == {}


def test_weights_are_committed_once():
    if not (ROOT / ".git").exists():
        pytest.skip("a tree without its history")
    contents = committed_weights(ROOT)
    there = git(ROOT, "ls-tree", "-r", "--name-only", "HEAD").splitlines()
    assert {path for path in there if any(Path(path).match(pattern) for pattern in WEIGHTS)} <= contents.keys()
    assert {path: hashes for path, hashes in contents.items() if len(hashes) > 1} == {}


def test_weights_that_are_committed_again_are_found_wherever_they_have_moved(tmp_path):
    def commit(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name}.dc").write_text(text)
        git(tmp_path, "add", "-A")
        git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-q", "-m", "weights")

    def count(folder: Path) -> dict[str, int]:
        return {path: len(hashes) for path, hashes in committed_weights(folder).items()}

    git(tmp_path, "init", "-q")
    commit(kept="a", moved="b", again="c", back="d")
    (tmp_path / "folder").mkdir()
    (tmp_path / "moved.dc").rename(tmp_path / "folder" / "moved.dc")
    (tmp_path / "back.dc").unlink()
    commit(new="e")
    assert count(tmp_path) == {"kept.dc": 1, "folder/moved.dc": 1, "again.dc": 1, "back.dc": 1, "new.dc": 1}
    (tmp_path / "folder" / "moved.dc").write_text("f")
    commit(again="g", back="h")
    assert count(tmp_path) == {"kept.dc": 1, "folder/moved.dc": 2, "again.dc": 2, "back.dc": 2, "new.dc": 1}
    git(tmp_path, "clone", "-q", "--depth=1", tmp_path.as_uri(), "shallow")
    assert count(tmp_path / "shallow") == {"kept.dc": 1, "folder/moved.dc": 1, "again.dc": 1, "back.dc": 1, "new.dc": 1}


def test_no_other_file_takes_more_than_1_mb():
    assert [path for path in set(FILES) - set(ASSETS) if path.stat().st_size > 1e6] == []


def test_the_book_holds_texts_and_settings_only():
    code = [path.name for path in FILES if path.is_relative_to(ROOT / "book") and path.suffix == ".py"]
    assert code == []


def test_the_citation_names_this_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_changelog_tells_of_this_version_and_of_what_comes_after_it():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert told[:2] == ["Unreleased", version]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_link_to_a_file_leads_to_one(name):
    links = re.findall(r"\]\(([^):#]+)\)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing_to_mend(command):
    found = subprocess.run([sys.executable, "-m", "ruff", *command.split(), ROOT], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
