"""`labkit run --site`: the site grows lab by lab, and no lab is measured while it is built."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import labkit
from small_labs import SAVE, call, is_running, runs, write_lab

# In place of labkit.site: notes in a file which labs are in which state, and makes a page. A file `instead` in the
# project is executed before that.
FAKE = """
import json, os, subprocess, sys, time
from pathlib import Path

build = Path(sys.argv[sys.argv.index("--build") + 1])
states = {lab[:2]: entry["state"] for lab, entry in json.loads((build / "runs.json").read_text()).items()}
if Path("instead").exists():
    exec(Path("instead").read_text())
with open("built", "a") as file:
    file.write(json.dumps(states) + "\\n")
(build / "site").mkdir(exist_ok=True)
(build / "site" / "index.html").touch()
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """A project with three labs and the fake."""
    for name in ("01_one", "02_two", "03_three"):
        write_lab(tmp_path, name, SAVE)
    (tmp_path / "labkit" / "site").mkdir(parents=True)
    (tmp_path / "labkit" / "__init__.py").touch()
    (tmp_path / "labkit" / "site" / "__main__.py").write_text(FAKE)
    return tmp_path


def built(project: Path) -> list[dict[str, str]]:
    """The states of the labs at each build."""
    path = project / "built"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_site_is_built_after_each_lab_and_before_the_next_one_begins(project):
    result = call(project, "run", "--site", "--scale", "quick", "--jobs", "1")
    assert result.code == 0, result.printed
    one, two, three = ({f"0{number}": "done" for number in range(1, count + 1)} for count in (1, 2, 3))
    assert built(project) == [one, two, three]
    lines = result.printed.splitlines()
    there = f"The site has what is done so far: {(project / 'build/site/index.html').as_uri()}"
    assert [line.split("  ")[1] if line != there else "site" for line in lines] == ["running", "done", "site"] * 3


def test_labs_that_run_at_once_are_not_begun_while_it_is_built(project):
    (project / "instead").write_text("assert list(states.values()).count('running') <= 1, states")
    result = call(project, "run", "--site", "--scale", "quick", "--jobs", "2")
    assert result.code == 0, result.printed
    assert set(built(project)[-1].values()) == {"done"}


def test_without_the_option_it_is_not_built(project):
    assert call(project, "run", "1", "--scale", "quick").code == 0
    assert built(project) == []


def test_where_all_was_done_before_it_is_built_once(project):
    call(project, "run", "--scale", "quick")
    result = call(project, "run", "--site", "--scale", "quick")
    assert result.code == 0 and len(built(project)) == 1
    assert result.printed.count("done before") == 3


def test_one_that_cannot_be_built_stops_no_lab_and_is_told_at_the_end(project):
    (project / "instead").write_text("if len(states) == 1:\n    sys.exit('No site: a page lacks its lab')")
    result = call(project, "run", "--site", "--scale", "quick", "--jobs", "1")
    assert result.code == 1
    assert {entry["state"] for entry in runs(project).values()} == {"done"} and len(built(project)) == 2
    lines = result.printed.splitlines()
    assert lines[2] == "The site could not be built; the reason stands at the end"
    assert lines[-1] == "No site: a page lacks its lab" and lines[-3].startswith("The site has")


def test_a_lab_that_fails_adds_nothing_but_the_last_takes_its_page_away(project):
    for name in ("one", "three"):
        (lab,) = project.glob(f"labs/*/{name}.py")
        lab.write_text(lab.read_text() + "\n# %%\n1 / 0\n")
    result = call(project, "run", "--site", "--scale", "quick", "--jobs", "1")
    assert result.code == 1
    assert built(project) == [{"01": "failed", "02": "done"}, {"01": "failed", "02": "done", "03": "failed"}]


def test_ctrl_c_ends_the_build_and_what_it_started(project):
    (project / "instead").write_text(
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "Path('new').write_text(f'{os.getpid()} {child.pid}')\nos.rename('new', 'pids')\ntime.sleep(300)"
    )
    command = [sys.executable, "-m", "labkit", "run", "--site", "--scale", "quick", "--jobs", "1"]
    (project / "elsewhere").mkdir()  # the fake is found from the project's folder, and labkit is not to be
    environment = os.environ | {"PYTHONPATH": str(Path(labkit.__file__).parents[1])}
    with subprocess.Popen(
        command, cwd=project / "elsewhere", env=environment, stdout=subprocess.PIPE, text=True
    ) as runner:
        marker, deadline = project / "pids", time.monotonic() + 120
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        runner.send_signal(signal.SIGINT)
        printed, _ = runner.communicate(timeout=60)
    assert runner.returncode == 130 and "Traceback" not in printed
    assert not any(map(is_running, map(int, marker.read_text().split())))
    assert {lab: entry["state"] for lab, entry in runs(project).items()} == {"01_one": "done"}
