"""The one setting that says where Colab opens the labs from, and the command that changes it everywhere."""

import importlib.util
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from labkit.__main__ import main
from labkit.authoring import repository
from labkit.authoring.repository import Repository

ROOT = Path(__file__).parents[2]
OLD = repository.read(ROOT)
LABS = sorted(path.name for path in (ROOT / "labs").glob("[0-9][0-9]_*"))
COPIED = LABS[:2]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy of all that may name the repository, with two of the labs; it is the working directory."""
    for path in [*ROOT.glob("*.*"), *(path for lab in COPIED for path in (ROOT / "labs" / lab).glob("*.*"))]:
        if path.is_file():
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_every_lab_has_the_badge_and_the_setup_cell_of_the_setting():
    for lab in LABS:
        source = (ROOT / "labs" / lab / f"{lab[3:]}.py").read_text()
        assert f"# {repository.badge(OLD, lab)}\n" in source
        assert f'# %% tags=["hide-input"]\n{repository.setup_cell(OLD, lab)}' in source


def test_one_command_changes_it_wherever_it_stands(project):
    assert main(["repository", "ada/lovelace", "--branch", "term-2"]) == 0
    new = Repository("ada/lovelace", "term-2")
    assert repository.read(project) == new
    for name, text in texts(project).items():
        assert OLD.address not in text and f"/github/{OLD.name}" not in text, name
    for lab in COPIED:
        source = (project / "labs" / lab / f"{lab[3:]}.py").read_text()
        assert repository.badge(new, lab) in source and repository.setup_cell(new, lab) in source
        assert new.colab(lab) in (project / "labs" / lab / f"{lab[3:]}.ipynb").read_text()
        assert new.colab(lab) in (project / "README.md").read_text()


def test_every_file_that_names_it_is_one_that_the_command_changes(monkeypatch):
    named = subprocess.check_output(["git", "grep", "-lIF", "--untracked", OLD.name], cwd=ROOT, text=True).splitlines()
    monkeypatch.setattr(repository.files, "write", lambda path, data: None)
    monkeypatch.setattr(repository, "derive", lambda script: None)
    changed = repository.change(ROOT, Repository("ada/lovelace"))
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in changed)


def test_without_a_name_the_branch_alone_is_changed(project):
    assert main(["repository", "--branch", "term-2"]) == 0
    assert repository.read(project) == Repository(OLD.name, "term-2")


def test_without_a_branch_the_one_that_is_set_stays(project):
    main(["repository", "ada/lovelace", "--branch", "term-2"])
    assert main(["repository", "grace/hopper"]) == 0
    assert repository.read(project) == Repository("grace/hopper", "term-2")


def test_it_says_to_push_what_changed_because_colab_reads_it_from_there(project, capsys):
    for last in ("lovelace, main: commit and push what changed\n", "lovelace, main\n"):
        main(["repository", "ada/lovelace", "--branch", "main"])
        assert capsys.readouterr().out.endswith(last)


def test_the_notebooks_are_derived_from_the_changed_scripts(project):
    main(["repository", "ada/lovelace"])
    before = texts(project)
    for lab in COPIED:
        repository.derive(project / "labs" / lab / f"{lab[3:]}.py")
    assert texts(project) == before


def test_changing_it_back_leaves_every_file_as_it_was(project):
    before = texts(project)
    main(["repository", "ada/lovelace", "--branch", "other"])
    main(["repository", OLD.name, "--branch", OLD.branch])
    assert texts(project) == before


def test_without_a_name_it_says_what_is_set_and_changes_nothing(project, capsys):
    before = texts(project)
    assert main(["repository"]) == 0
    assert OLD.address in capsys.readouterr().out
    assert texts(project) == before


@pytest.mark.parametrize("name", ["lovelace", "https://github.com/ada/lovelace", "ada/love lace", "ada/", 'a/"b"'])
def test_what_is_no_repository_is_refused_and_changes_nothing(project, name, capsys):
    before = texts(project)
    assert main(["repository", name]) == 2
    assert "OWNER/NAME" in capsys.readouterr().err
    assert texts(project) == before


@pytest.mark.parametrize("branch", ['main"', "a b", ""])
def test_what_is_no_branch_is_refused(project, branch, capsys):
    assert main(["repository", "ada/lovelace", "--branch", branch]) == 2
    assert "branch" in capsys.readouterr().err


def test_a_name_that_begins_alike_is_left_alone(project):
    other = f"{OLD.address}-atlas"
    (project / "README.md").write_text(f"See {other} and {OLD.address}.\n")
    repository.change(project, Repository("ada/lovelace"))
    assert (project / "README.md").read_text() == f"See {other} and https://github.com/ada/lovelace.\n"


def test_where_the_lab_is_at_home_the_setup_cell_only_says_the_version(monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "labs" / LABS[0])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a command was run"))
    exec(repository.setup_cell(OLD, LABS[0]), {})
    assert capsys.readouterr().out == f"labkit {metadata.version('efficiency-stack')}\n"
    assert Path.cwd() == ROOT / "labs" / LABS[0]


def test_opened_alone_a_lab_installs_the_package_and_keeps_the_torch_that_is_there(tmp_path, monkeypatch):
    (tmp_path / "efficiency-stack" / "labs" / LABS[0]).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    find, commands = importlib.util.find_spec, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "labkit" else find(name))
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or done)
    exec(repository.setup_cell(OLD, LABS[0]), {})
    [pip] = commands
    kept = [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision")]
    assert pip[2:4] == ("pip", "install") and pip[-3:] == ("../..[labs]", *kept)
