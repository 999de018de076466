"""When `labkit run` runs a lab again, and when it takes the results that are there."""

import json
import platform
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit.authoring import fingerprint, run
from small_labs import COUNT, RUN, SAVE, call, runs, write_lab

LAB = "labs/01_small"
OUTPUTS = ["build/notebooks/01_small.ipynb", "build/records/01_small.json"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A project whose one lab has been run, at scale quick, with a package of a few files in place of labkit."""
    folder = tmp_path_factory.mktemp("done")
    write_lab(folder, "01_small", COUNT, SAVE)
    (folder / LAB / "claims.toml").write_text("# claims\n")
    for name in ("__init__.py", "measure/size.py", "site/build.py", "classroom/grade.py", "zoo/assets/sha256sums"):
        path = folder / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# as it was\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "PACKAGE", folder / "package")
        assert call(folder, "run", "--scale", "quick").code == 0
    return folder


@pytest.fixture
def project(done, tmp_path, monkeypatch) -> Path:
    """A copy of it."""
    copy = shutil.copytree(done, tmp_path / "project")
    monkeypatch.setattr(fingerprint, "PACKAGE", copy / "package")
    return copy


def times_run(project: Path) -> int:
    return len((project / "count").read_text())


def would_run(project: Path, scale: str = "quick") -> bool:
    lab = run.LabRun(project / LAB, scale, project / "build", surroundings=fingerprint.surroundings(scale))
    lab.recall()
    return lab.state == "waiting"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_what_was_done_and_has_not_changed_is_listed_with_its_time_and_not_run(project):
    entry = runs(project)["01_small"]
    took = f"0:{round(entry['seconds']):02}  {entry['peak_bytes'] / 1e9:.1f} GB"
    before = {path: path.read_bytes() for path in (project / "build").rglob("*") if path.is_file()}
    result = call(project, "run", "--scale", "quick")
    assert result.code == 0 and times_run(project) == 1
    line = f"01_small  done before  {took}  a rehearsal: at scale quick nothing is concluded\n"
    assert result.printed.startswith(line)
    assert {path: path.read_bytes() for path in (project / "build").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--again", "--keep"])
def test_it_is_run_again_when_that_is_asked_for_or_a_record_is_to_be_kept(project, option):
    result = call(project, "run", "--scale", "quick", option)
    assert result.code == 0 and times_run(project) == 2
    assert "01_small  done  " in result.printed


def test_a_changed_lab_is_run_and_then_not_again(project):
    with open(project / LAB / "small.py", "a") as source:
        source.write("\n# %%\n1 + 1\n")
    for _ in range(2):
        assert call(project, "run", "--scale", "quick").code == 0
    assert times_run(project) == 2


def test_another_scale_is_run(project):
    assert call(project, "run", "--scale", "standard").code == 0
    assert times_run(project) == 2 and runs(project)["01_small"]["scale"] == "standard"


@pytest.mark.parametrize(
    "changed",
    [
        f"{LAB}/small.py",
        f"{LAB}/claims.toml",
        f"{LAB}/recorded/a.json",
        f"{LAB}/recorded/quick.json",
        f"{LAB}/recorded/search/rows.jsonl",
        "labs/set_up.py",
        "package/__init__.py",
        "package/measure/size.py",
        "package/measure/memory.py",
        "package/zoo/assets/sha256sums",
    ],
)
def test_a_change_of_what_a_lab_depends_on_runs_it(project, changed):
    write(project / changed, json.dumps(replace(RUN, command="changed").as_dict()))
    assert would_run(project)


@pytest.mark.parametrize("removed", [f"{LAB}/claims.toml", f"{LAB}/recorded/a.json", "package/measure/size.py"])
def test_so_does_its_removal(project, removed):
    (project / removed).unlink()
    assert would_run(project)


@pytest.mark.parametrize(
    "changed", [f"{LAB}/small.ipynb", f"{LAB}/assignment.py", "package/site/build.py", "package/classroom/grade.py"]
)
def test_a_change_of_what_no_lab_uses_does_not(project, changed):
    write(project / changed, "# changed\n")
    assert not would_run(project)


def test_another_version_of_a_package_runs_it(project, monkeypatch):
    installed = [SimpleNamespace(name=each.name, version=each.version) for each in metadata.distributions()]
    monkeypatch.setattr(metadata, "distributions", lambda: installed)
    assert not would_run(project)
    installed[0].version += ".1"
    assert would_run(project)


def test_another_python_runs_it(project, monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert would_run(project)


def test_another_scale_would_run_it(project):
    assert not would_run(project) and would_run(project, "standard")


@pytest.mark.parametrize("state", ["running", "failed", "interrupted"])
def test_a_run_that_did_not_end_well_is_repeated(project, state):
    entries = runs(project)
    entries["01_small"]["state"] = state
    write(project / "build/runs.json", json.dumps(entries))
    assert would_run(project)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_run_whose_results_are_gone_is_repeated(project, output):
    (project / output).unlink()
    assert would_run(project)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"01_small": 1}', '{"01_small": {"state": "done"}}', '{"02_other": {}}']
)
def test_what_cannot_be_read_was_never_done(project, text):
    write(project / "build/runs.json", text)
    assert would_run(project)


def test_a_damaged_list_of_runs_is_written_anew(project):
    write(project / "build/runs.json", '{"01_small": {"state": "do')
    assert call(project, "run", "--scale", "quick").code == 0
    assert runs(project)["01_small"]["state"] == "done" and not would_run(project)


def test_a_lab_that_was_edited_while_it_ran_is_run_again(tmp_path):
    edit = "with open('small.py', 'a') as source:\n    _ = source.write('# an edit\\n')"
    write_lab(tmp_path, "01_small", SAVE, edit)
    assert call(tmp_path, "run", "--scale", "quick").code == 0
    assert would_run(tmp_path)


def test_a_lab_that_failed_is_run_again(tmp_path):
    write_lab(tmp_path, "01_small", COUNT, SAVE, "1 / 0")
    for _ in range(2):
        assert call(tmp_path, "run", "--scale", "quick").code == 1
    assert times_run(tmp_path) == 2
