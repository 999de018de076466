"""Every command of the README, typed as it stands there in a clone whose labs and tests take no time."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.authoring import repository
from rehearsals.colab import kept_files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# In a block a command ends where its comment begins; in a line of text it stands between backticks.
BLOCK = re.findall(r"^(\S.*?)(?:  +#.*)?$", "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)), re.MULTILINE)
COMMANDS = {*BLOCK, *re.findall(r"`((?:make|git|conda|labkit|\.venv/\S+) [^`]*|make)`", README)}
LAB, OTHERS = "01_prune_quantize", "labs/0[2-9]_*/*.[pi][yp]*"
CELLS = """
# %%
import json
import os
from pathlib import Path

record = json.loads(Path("recorded/quick.json").read_text())
folder = Path(os.environ["LABKIT_RECORDS"])
folder.mkdir(parents=True, exist_ok=True)
(folder / f"{record['lab']}.json").write_text(json.dumps(record))

# %% [markdown]
# ## 1 · The ledger
"""
TOC = f"""
format: jb-book
root: index
parts:
  - chapters:
      - file: labs/{LAB}
      - file: ledger
      - file: references
"""
TEST = f"""
def test_the_site_has_the_page_of_the_lab(site):
    assert (site / "labs" / "{LAB}.html").is_file()
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The project with this environment, one lab cut down to its first cells, few pages and few tests."""
    folder = tmp_path_factory.mktemp("clone")
    for name in kept_files():
        page = (
            name.startswith("book/") and name.endswith(".md") and name not in ("book/ledger.md", "book/references.md")
        )
        if (ROOT / name).is_file() and not page:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name) if "/assets/" in name else shutil.copy(ROOT / name, folder / name)
    for path in folder.glob(OTHERS):
        path.unlink()
    script = folder / "labs" / LAB / f"{LAB[3:]}.py"
    script.write_text("# %%".join(script.read_text().split("# %%")[:3]) + CELLS)
    repository.derive(script)
    for path in [*folder.glob("tests/*"), *folder.glob("tests/book/*")]:
        if path.name not in ("book", "conftest.py", "executed.py", "rehearsals", "test_scale.py"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in folder.glob("tests/rehearsals/class_of_*.py"):
        path.unlink()  # which stands on tests that are gone
    (folder / "tests" / "book" / "test_site.py").write_text(TEST.lstrip())
    (folder / "book" / "_toc.yml").write_text(TOC)
    (folder / "book" / "index.md").write_text("# A small book\n")
    (folder / ".venv").symlink_to(sys.prefix)
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def start(clone: Path, command: str, **variables: str) -> subprocess.Popen:
    """A command, typed in the clone."""
    ready = " --old-file=.venv/.ready" if command.startswith("make") else ""  # this environment is as good as new
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LABKIT_SCALE", "MAKE"))}
    return subprocess.Popen(
        command + ready,
        shell=True,
        cwd=clone,
        env=environment | variables,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(clone: Path, command: str, good: tuple[int, ...] = (0,), **variables: str) -> str:
    """What a command prints, typed in the clone. It must end well."""
    process = start(clone, command, **variables)
    said = process.communicate()[0]
    assert process.returncode in good, said
    return said


def test_every_command_of_the_readme_is_typed_below():
    typed = re.findall(r'\b(?:run|start)\(\w+, f?"([^"]*)"', Path(__file__).read_text())
    assert len(COMMANDS) > 5 and COMMANDS <= set(typed)


def test_make_labs_runs_the_labs_and_builds_the_site(clone):
    said, page = run(clone, "make labs"), (clone / "build" / "site" / "index.html").as_uri()
    assert f"{LAB}  done" in said and said.index(page) < said.index(f"{LAB}  running") < said.rindex(page)
    assert (clone / "build" / "site" / "labs" / f"{LAB}.html").is_file()


def test_a_lab_that_was_done_is_run_again_only_when_that_is_asked_for(clone):
    run(clone, "make labs")
    assert f"{LAB}  done before" in run(clone, "make labs")
    assert f"{LAB}  running" in run(clone, "make labs AGAIN=1")


def test_one_lab_is_run_small(clone):
    (clone / "build" / "notebooks" / f"{LAB}.ipynb").unlink(missing_ok=True)
    assert f"{LAB}  done" in run(clone, "make labs LAB=01 SCALE=quick")
    assert (clone / "build" / "notebooks" / f"{LAB}.ipynb").is_file()


def test_make_test_runs_tests_notebooks_and_pages(clone):
    said = run(clone, "make test")
    assert len(re.findall(r"=+ .*\d+ passed.* =+", said)) == 3
    assert f"labs/{LAB}/{LAB[3:]}.ipynb" in said


def test_make_alone_lists_the_targets(clone):
    assert "make labs" in run(clone, "make")


def test_make_lab_opens_jupyterlab_on_the_labs(clone, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = f"c.ServerApp.open_browser = False\nc.ServerApp.allow_root = True\nc.ServerApp.port = {port}\n"
    (tmp_path / "jupyter_lab_config.py").write_text(settings)
    server = start(clone, "make lab", JUPYTER_CONFIG_DIR=str(tmp_path))
    try:
        said = next(line for line in server.stdout if "/lab?token=" in line)
        for _ in range(100):  # it listens a moment after it said so
            with suppress(ConnectionRefusedError), socket.create_connection(("localhost", port)):
                break
            time.sleep(0.1)
        token = re.search(r"token=(\w+)", said)[1]
        ask = f"http://localhost:{port}/api/contents/{LAB}/{LAB[3:]}.py?type=notebook&token={token}"
        with urllib.request.urlopen(ask) as answer:  # a .py is opened as a notebook: jupytext is at work
            assert b'"cell_type": "markdown"' in answer.read()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate()


def test_homework_is_made_and_graded(clone):
    assert f"build/assignments/{LAB}/student.ipynb" in run(clone, "make assignments")
    (clone / "submissions").mkdir()
    shutil.copy(clone / "build" / "assignments" / LAB / "student.ipynb", clone / "submissions" / "ada.ipynb")
    assert "ada  0 points" in run(clone, "make grade DIR=submissions")
    assert (clone / "build" / "grades" / "feedback" / "ada.html").is_file()


def test_the_doctor_looks_at_the_machine(clone):
    assert "[OK]   Python" in run(clone, ".venv/bin/labkit doctor", good=(0, 1))  # 1: this machine lacks something


def test_a_fork_names_itself(clone):
    assert "OWNER/NAME" in run(clone, ".venv/bin/labkit repository OWNER/NAME")
    assert "https://github.com/OWNER/NAME" in (clone / "labs" / LAB / f"{LAB[3:]}.py").read_text()
