"""The command line: what each command answers, and that it does not keep the user waiting for imports."""

import os
import subprocess
import sys

import pytest

from labkit import authoring, runs, zoo
from labkit.__main__ import find_root, main
from labkit.record import Record


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, which is the working directory."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "labs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {command} " in printed for command in ("run", "fetch", "doctor", "claims", "new"))
    assert "LABKIT_SCALE" in printed


def test_help_does_not_wait_for_heavy_imports():
    code = "import sys, labkit.__main__; sys.exit(bool({'torch', 'nbclient', 'rich'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [[], ["bake"], ["run", "--jobs", "0"], ["run", "--scale", "huge"]])
def test_wrong_usage_has_its_own_exit_code(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: labkit" in capsys.readouterr().err


def test_the_project_is_found_from_a_folder_in_it(project):
    (project / "labs/01_one/reference").mkdir(parents=True)
    assert find_root(project / "labs/01_one/reference") == project


@pytest.mark.parametrize("command", [["run"], ["new", "two_words"]])
def test_outside_a_project_a_command_says_what_it_looked_for(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert "holds labs/ and pyproject.toml" in capsys.readouterr().err


def test_a_project_without_labs_says_so(project, capsys):
    assert main(["run"]) == 2
    assert "no labs in" in capsys.readouterr().err


def test_an_unknown_scale_in_the_environment_is_refused(project, monkeypatch, capsys):
    (project / "labs/01_one").mkdir()
    (project / "labs/01_one/one.py").touch()
    monkeypatch.setenv("LABKIT_SCALE", "huge")
    assert main(["run"]) == 2
    assert "'huge'" in capsys.readouterr().err


def test_a_missing_package_is_named(project, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "labkit.authoring.run", raising=False)
    monkeypatch.delattr(authoring, "run", raising=False)
    monkeypatch.setitem(sys.modules, "jupytext", None)  # as if it were not installed
    assert main(["run"]) == 1
    assert "jupytext is missing; `labkit doctor`" in capsys.readouterr().err


def test_claims_reads_the_records_of_the_build_folder(project, capsys):
    records = project / "build/records"
    verdict = {"verdict": "holds", "claim": "Pruned weights compress."}
    runs.save(Record("01_one", "quick", 0, verdicts=[verdict]), records / "01_one.json")
    assert main(["claims"]) == main(["claims", "--build", "build"]) == 0
    assert "Pruned weights compress." in capsys.readouterr().out


def test_fetch_prints_what_came_from_where(monkeypatch, capsys):
    origin = zoo.Origin("a model", "package", "MIT", "0" * 64)
    monkeypatch.setattr(zoo, "fetch_all", lambda: [origin])
    assert main(["fetch"]) == 0
    assert capsys.readouterr().out == f"{origin}\n"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_a_terminal_that_lacks_a_character_gets_another_one(encoding):
    code = "import sys; from labkit.__main__ import main; from labkit import zoo\n"
    code += "zoo.fetch_all = lambda: ['1 × 1 …', '≥ 2']; sys.exit(main(['fetch']))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode(encoding) in ("1 × 1 ?\n? 2\n", "1 ? 1 ?\n? 2\n")


def test_claims_names_a_record_that_is_damaged(project, capsys):
    (project / "build/records").mkdir(parents=True)
    (project / "build/records/01_one.json").write_text("{")
    assert main(["claims"]) == 2
    assert "01_one.json is not the record of a run" in capsys.readouterr().err


def test_fetch_ends_in_one_clear_error(monkeypatch, capsys):
    def fail():
        raise zoo.ZooError("no source could be reached")

    monkeypatch.setattr(zoo, "fetch_all", fail)
    assert main(["fetch"]) == 1
    assert capsys.readouterr().err == "labkit fetch: no source could be reached\n"
