"""Where Colab opens the labs from: nowhere before a repository is chosen, and then the tag of the version."""

import importlib.util
import os
import runpy
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.__main__ import main
from labkit.authoring import repository
from labkit.authoring.repository import Repository

ROOT = Path(__file__).parents[2]
SET = repository.read(ROOT)
LABS = sorted(path.name for path in (ROOT / "labs").glob("[0-9][0-9]_*"))
COPIED = LABS[:2]
ADA = Repository("ada/lovelace", "v1.2.0")
LAB = f"""\
# %% [markdown]
# # Lab 01 · First
#
# {repository.badge(None, "01_first")}
#
# **Is it?**

# %% tags=["hide-input"]
{repository.setup_cell(None, "01_first")}
# %%
import os
"""
README = """\
Lab 01 is in [its folder](labs/01_first/). See https://github.com/ada/lovelace-atlas.

| | Lab | Question |
| --- | --- | --- |
| 01 | [First [of all]](labs/01_first/) | Is it [that](labs/01_first/)? |
"""
PYPROJECT = """\
[project]
name = "book"
version = "1.2.0"

[project.scripts]
labkit = "labkit.__main__:main"
"""


@pytest.fixture
def unset(tmp_path, monkeypatch) -> Path:
    """A project for which no repository was chosen; it is the working directory, and its notebooks are not derived."""
    (tmp_path / "labs" / "01_first").mkdir(parents=True)
    (tmp_path / "labs" / "01_first" / "first.py").write_text(LAB)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "CITATION.cff").write_text("license: MIT\nkeywords:\n  - pruning\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    monkeypatch.setattr(repository, "derive", lambda script: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A copy of all files of this project that may name the repository, with two labs; it is the working directory."""
    for path in [*ROOT.glob("*.*"), *(path for lab in COPIED for path in (ROOT / "labs" / lab).glob("*.*"))]:
        if path.is_file():
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_every_lab_has_the_badge_and_the_setup_cell_of_what_is_set_and_of_this_version():
    for lab in LABS:
        source = (ROOT / "labs" / lab / f"{lab[3:]}.py").read_text()
        assert f"# {repository.badge(SET, lab)}\n" in source
        assert f'# %% tags=["hide-input"]\n{repository.setup_cell(SET, lab)}' in source


def test_where_one_is_set_it_stands_everywhere_with_the_tag_of_this_version(monkeypatch):
    if SET is None:
        pytest.skip("no repository is chosen")
    monkeypatch.setattr(repository.files, "write", lambda path, data: None)
    monkeypatch.setattr(repository, "derive", lambda script: None)
    assert repository.change(ROOT, SET.name) == [], "type `labkit repository`"


def test_before_one_is_chosen_a_lab_has_neither_a_link_nor_a_command_that_fetches():
    source = repository.badge(None, LABS[0]) + repository.setup_cell(None, LABS[0])
    assert not any(word in source for word in ("](", "http", "git clone", "subprocess"))


def test_an_address_that_is_not_on_github_is_refused(unset, capsys):
    with open("pyproject.toml", "a") as settings:
        settings.write('[project.urls]\nRepository = "https://example.org/ada/lovelace"\n')
    assert main(["repository"]) == 2
    assert "example.org/ada/lovelace' is no repository" in capsys.readouterr().err


def test_the_first_choice_is_written_wherever_it_belongs(unset):
    assert repository.read(unset) is None
    assert main(["repository", ADA.name]) == 0
    assert repository.read(unset) == ADA
    now, lab = texts(unset), "01_first"
    badge, cell = repository.badge(ADA, lab), repository.setup_cell(ADA, lab)
    due = LAB.replace(repository.badge(None, lab), badge).replace(repository.setup_cell(None, lab), cell)
    assert now["labs/01_first/first.py"] == due and ADA.address in cell and "-b v1.2.0 " in cell
    row = f"| 01 | [First [of all]](labs/01_first/) ([Colab]({ADA.colab(lab)})) | Is it [that](labs/01_first/)? |\n"
    assert now["README.md"] == README[: README.index("| 01 |")] + row
    assert now["CITATION.cff"] == f'license: MIT\nrepository-code: "{ADA.address}"\nkeywords:\n  - pruning\n'
    urls = repository.PROJECT_URLS.format(address=ADA.address)
    assert now["pyproject.toml"] == PYPROJECT.replace("[project.scripts]", f"{urls}[project.scripts]")


def test_another_choice_takes_the_place_of_the_first(unset):
    main(["repository", "grace/hopper"])
    due = texts(unset)
    for name in (ADA.name, "grace/hopper"):
        assert main(["repository", name]) == 0
    assert texts(unset) == due


def test_the_same_choice_changes_nothing(unset):
    assert repository.change(unset, ADA.name) != []
    assert repository.change(unset, ADA.name) == []


def test_a_new_version_has_its_tag_written_without_naming_the_repository_again(unset):
    main(["repository", ADA.name])
    (unset / "pyproject.toml").write_text((unset / "pyproject.toml").read_text().replace("1.2.0", "1.3.0"))
    assert main(["repository"]) == 0
    now = texts(unset)
    assert "-b v1.3.0 " in now["labs/01_first/first.py"] and "v1.2.0" not in "".join(now.values())
    assert repository.read(unset) == Repository(ADA.name, "v1.3.0")


def test_the_files_of_this_project_have_the_places_and_the_notebooks_follow(copied):
    for name in (ADA.name, "grace/hopper"):
        assert main(["repository", name]) == 0
    new, now = repository.read(copied), texts(copied)
    assert new.name == "grace/hopper" and "ada/lovelace" not in "".join(now.values())
    for lab in COPIED:
        for file in ("README.md", f"labs/{lab}/{lab[3:]}.py", f"labs/{lab}/{lab[3:]}.ipynb"):
            assert new.colab(lab) in now[file], file
        assert repository.setup_cell(new, lab) in now[f"labs/{lab}/{lab[3:]}.py"]
        repository.derive(copied / "labs" / lab / f"{lab[3:]}.py")
    assert new.address in now["CITATION.cff"]
    assert texts(copied) == now


def test_it_says_each_time_to_commit_tag_and_push_because_colab_reads_it_from_there(unset, capsys):
    for _ in range(2):
        main(["repository", ADA.name])
        *_, last = capsys.readouterr().out.splitlines()
        assert f"{ADA.address} at v1.2.0" in last and "git tag v1.2.0" in last and "pushed" in last


def test_the_address_of_a_clone_is_no_name(unset):
    with pytest.raises(ValueError, match="OWNER/NAME"):
        repository.change(unset, "ada/lovelace.git")


def test_without_a_name_where_none_is_set_it_asks_for_one(unset, capsys):
    before = texts(unset)
    assert main(["repository"]) == 2
    assert "no repository is set" in (said := capsys.readouterr().err) and "OWNER/NAME" in said
    assert texts(unset) == before


@pytest.mark.parametrize(
    "name",
    [
        "ada/..",
        "ada/.",
        "ada/lovelace.GIT",
        "lovelace",
        "https://github.com/ada/lovelace",
        "ada/love lace",
        "ada/",
        'a/"b"',
    ],
)
def test_what_is_no_repository_is_refused_and_changes_nothing(unset, name, capsys):
    before = texts(unset)
    assert main(["repository", name]) == 2
    assert "OWNER/NAME" in capsys.readouterr().err
    assert texts(unset) == before


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("labs/01_first/first.py", repository.NO_BADGE),
        ("labs/01_first/first.py", "_ = runpy"),
        ("CITATION.cff", "keywords:"),
        ("pyproject.toml", "[project.scripts]"),
    ],
)
def test_a_file_that_has_lost_the_place_is_named_and_nothing_is_changed(unset, file, place, capsys):
    (unset / file).write_text((unset / file).read_text().replace(place, place.upper()))
    before = texts(unset)
    assert main(["repository", ADA.name]) == 2
    assert f"{file} has no place for the repository" in capsys.readouterr().err
    assert texts(unset) == before


def test_where_the_lab_is_at_home_the_setup_cell_only_says_the_version(monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "labs" / LABS[0])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a command was run"))
    for setting in (None, ADA):
        exec(repository.setup_cell(setting, LABS[0]), {})
        assert capsys.readouterr().out == f"labkit {metadata.version('efficiency-stack')}\n"
        assert Path.cwd() == ROOT / "labs" / LABS[0]


def test_opened_alone_a_lab_without_a_repository_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="(?s)alone.*clone.*`labkit repository OWNER/NAME`"):
        exec(repository.setup_cell(None, LABS[0]), {})
    assert list(tmp_path.iterdir()) == []


def test_opened_alone_a_lab_fetches_the_version_that_it_was_published_with(tmp_path, monkeypatch, capfd):
    lab, published = "01_first", tmp_path / "published"
    (published / "labs" / lab).mkdir(parents=True)
    (published / "labs" / lab / "claims.toml").touch()
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for version, then in (("1.2.0", ["tag", "v1.2.0"]), ("1.3.0", ["status", "-s"])):
        (published / "labs" / "set_up.py").write_text(f"print({version!r})")
        for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", version], then):
            subprocess.run(["git", *command], cwd=published, check=True)
    (tmp_path / "reader").mkdir()
    monkeypatch.chdir(tmp_path / "reader")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{published.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", ADA.address)
    for _ in range(2):  # the second time it is there
        exec(repository.setup_cell(ADA, lab), {})
        assert capfd.readouterr() == ("1.2.0\n", "")
        assert Path.cwd() == tmp_path / "reader" / "efficiency-stack" / "labs" / lab
        os.chdir(tmp_path / "reader")


def test_in_a_clone_the_lab_is_found_from_its_top_folder_and_nothing_is_fetched(tmp_path, monkeypatch, capfd):
    (tmp_path / "labs" / "01_first").mkdir(parents=True)
    (tmp_path / "labs" / "01_first" / "claims.toml").touch()
    (tmp_path / "labs" / "set_up.py").write_text("print('here')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    exec(repository.setup_cell(ADA, "01_first"), {})
    assert Path.cwd() == tmp_path / "labs" / "01_first" and capfd.readouterr().out == "here\n"
    assert not (tmp_path / "efficiency-stack").exists()


@pytest.mark.parametrize("names", [{"labkit"}, {"labkit", "efficiency-stack"}, set()])
def test_another_package_called_labkit_is_told(monkeypatch, names):
    there = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(metadata, "distributions", lambda: there)
    with pytest.raises(RuntimeError, match="another package is called labkit .*pip uninstall labkit"):
        runpy.run_path(str(ROOT / "labs" / "set_up.py"))


def test_opened_alone_a_lab_installs_the_package_and_keeps_the_torch_that_is_there(tmp_path, monkeypatch):
    project = tmp_path / "efficiency-stack"
    (project / "labs" / LABS[0]).mkdir(parents=True)
    shutil.copy(ROOT / "labs" / "set_up.py", project / "labs")
    monkeypatch.chdir(tmp_path)
    find, commands = importlib.util.find_spec, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "labkit" else find(name))
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command) or done)
    exec(repository.setup_cell(ADA, LABS[0]), {})
    kept = [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision")]
    assert commands[-1][2:4] == ["pip", "install"] and commands[-1][-3:] == [f"{project}[labs]", *kept]


def test_an_installation_that_fails_shows_what_pip_said(tmp_path, monkeypatch):
    set_up = runpy.run_path(str(ROOT / "labs" / "set_up.py"))
    with pytest.raises(RuntimeError, match="(?s)pip install.*nowhere.*does not appear to be a Python project|nowhere"):
        set_up["install"](tmp_path / "nowhere")
