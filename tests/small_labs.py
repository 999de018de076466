"""Tiny labs in a temporary project, for the tests of `labkit run`, and the command itself."""

import contextlib
import io
import json
from pathlib import Path
from types import SimpleNamespace

import psutil

from labkit.__main__ import main
from labkit.record import Record
from labkit.runs import RecordedRun

HELPER = "import json, os, subprocess, sys, time\nfrom pathlib import Path\n"
# Cells: one saves a record, one leaves a mark for each time that the lab is run.
RUN = RecordedRun(Record("lab", "quick", 0, headline="12 times [smaller]"), {"device": "cpu"}, "labkit run")
SAVE = (
    "records = Path(os.environ['LABKIT_RECORDS'])\nrecords.mkdir(exist_ok=True)\n"
    f"record = {RUN.as_dict()!r} | {{'scale': os.environ['LABKIT_SCALE']}}\n"
    "_ = (records / f'{Path.cwd().name}.json').write_text(json.dumps(record))"
)
COUNT = "with open('../../count', 'a') as file:\n    _ = file.write('x')"


def write_lab(project: Path, name: str, *cells: str, header: str = "", peak: float = 1e6) -> Path:
    """A lab in percent format; its recorded run says that it needs `peak` bytes at scale quick."""
    folder = project / "labs" / name
    folder.mkdir(parents=True)
    (project / "pyproject.toml").touch()
    source = [header, "# %% [markdown]\n# # A lab\n", *(f"# %%\n{cell}\n" for cell in (HELPER, *cells))]
    (folder / f"{name[3:]}.py").write_text("\n".join(source))
    RUN.took(1, peak, "2026-11-27").write(folder / "recorded" / "a.json")
    return folder


def call(project: Path, *arguments: str) -> SimpleNamespace:
    """Run a command in the project; its exit code and what it printed."""
    out = io.StringIO()
    with contextlib.chdir(project), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(list(arguments))
    return SimpleNamespace(code=code, printed=out.getvalue())


def runs(project: Path) -> dict:
    return json.loads((project / "build/runs.json").read_text())


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
