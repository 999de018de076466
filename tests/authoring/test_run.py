"""`labkit run`: tiny labs in a temporary project, executed for real."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

import labkit
from labkit import files
from labkit.authoring import results, run
from small_labs import SAVE, call, is_running, runs, write_lab

pytestmark = pytest.mark.slow

CHILD = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
LIMIT = "# ---\n# jupyter:\n#   execution:\n#     timeout: {}\n# ---"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    project = tmp_path_factory.mktemp("project")
    write_lab(
        project,
        "01_good",
        "block = bytearray(b'x' * 200_000_000)\ntime.sleep(1)",
        "print('scale', os.environ['LABKIT_SCALE'], 'in', Path.cwd().name, 'by', sys.executable)",
        SAVE,
    )
    write_lab(project, "02_raises", "def invert(x):\n    return 1 / x", "print('so far so good')\ninvert(0)")
    write_lab(project, "03_slow", "time.sleep(300)", header=LIMIT.format(1))
    write_lab(project, "04_dies", CHILD + "Path('child').write_text(str(child.pid))\ntime.sleep(1)", "os._exit(3)")
    write_lab(project, "05_not_run")
    return project


@pytest.fixture(scope="module")
def result(project) -> SimpleNamespace:
    """One run of four labs, in a build folder where earlier runs left something."""
    (project / "build/records").mkdir(parents=True)
    (project / "build/records/02_raises.json").write_text("{}")
    (project / "build/runs.json").write_text(json.dumps({"05_not_run": {"state": "done"}}))
    return call(project, "run", "1", "02", "slow", "04_dies", "--scale", "quick", "--jobs", "4")


def test_a_lab_that_ends_well_leaves_notebook_and_record(project, result):
    notebook = json.loads((project / "build/notebooks/01_good.ipynb").read_text())
    printed = [o["text"] for cell in notebook["cells"] for o in cell.get("outputs", [])]
    assert "".join(printed[0]) == f"scale quick in 01_good by {sys.executable}\n"
    path = project / "build/records/01_good.json"
    record = json.loads(path.read_text())
    entry = runs(project)["01_good"]
    ended = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    assert record["headline"] == "12 times [smaller]"
    assert record["run"].pop("date") == ended.date().isoformat()
    assert record["run"] == {"seconds": entry["seconds"], "peak_bytes": entry["peak_bytes"]}
    assert (entry["state"], entry["scale"]) == ("done", "quick")


def test_peak_memory_is_that_of_the_kernel(project, result):
    assert 200e6 < runs(project)["01_good"]["peak_bytes"] < 600e6
    assert 10e6 < runs(project)["02_raises"]["peak_bytes"] < 200e6


def test_without_a_terminal_there_is_a_line_at_each_start_and_end(result):
    lines = [line.split() for line in result.printed.splitlines()]
    assert [line[1] for line in lines if line[:1] == ["01_good"]] == ["running", "done"]
    assert "a rehearsal: at scale quick nothing is concluded" in result.printed
    assert [line[1] for line in lines if line[:1] == ["02_raises"]][:2] == ["running", "failed"]


def test_a_lab_that_raises_shows_its_cell_and_error(project, result):
    report = result.printed[result.printed.index("02_raises failed") :].split("03_slow")[0]
    assert report.startswith("02_raises failed, cell 3 of 3: ZeroDivisionError: division by zero")
    assert "    print('so far so good')\n    invert(0)\n" in report
    assert "return 1 / x" in report
    assert "\x1b" not in result.printed
    assert runs(project)["02_raises"]["error"] == "ZeroDivisionError: division by zero"
    assert "so far so good" in (project / "build/notebooks/02_raises.ipynb").read_text()


def test_one_lab_that_fails_stops_no_other_and_the_exit_code_tells(project, result):
    states = {lab: entry["state"] for lab, entry in runs(project).items()}
    assert result.code == 1
    assert states == {
        "01_good": "done",
        "02_raises": "failed",
        "03_slow": "failed",
        "04_dies": "failed",
        "05_not_run": "done",
    }


def test_a_cell_that_runs_out_of_time_is_told_with_the_limit(project, result):
    assert "03_slow failed, cell 2 of 2: the cell did not end within 1 s" in result.printed
    assert "    time.sleep(300)" in result.printed
    assert runs(project)["03_slow"]["seconds"] < 20


def test_a_limit_on_the_command_line_overrides_that_of_the_lab(tmp_path):
    write_lab(tmp_path, "01_slow", "time.sleep(300)", header=LIMIT.format(60))
    result = call(tmp_path, "run", "--scale", "quick", "--timeout", "1")
    assert result.code == 1
    assert "the cell did not end within 1 s" in result.printed


def test_a_kernel_that_dies_is_a_failure_and_its_children_end(project, result):
    assert "04_dies failed, cell 3 of 3: the kernel died (exit code 3)" in result.printed
    assert not is_running(int((project / "labs/04_dies/child").read_text()))


def test_a_stale_record_is_not_taken_for_this_run(project, result):
    assert not (project / "build/records/02_raises.json").exists()


def test_the_record_of_a_run_is_kept_in_the_lab_only_when_asked_for_and_only_of_a_lab_that_was_done(tmp_path):
    good, bad = write_lab(tmp_path, "01_good", SAVE), write_lab(tmp_path, "02_raises", SAVE, "1 / 0")
    call(tmp_path, "run", "1", "--scale", "quick")
    assert not (good / "recorded/quick.json").exists()
    result = call(tmp_path, "run", "--scale", "quick", "--keep")
    kept = json.loads((good / "recorded/quick.json").read_text())
    ran = json.loads((tmp_path / "build/process-1/records/01_good.json").read_text())
    assert kept["findings"] == ran["findings"] and kept["run"]["seconds"] > 0
    assert "01_good: record kept as recorded/quick.json\n" in result.printed
    assert result.code == 1 and (tmp_path / "build/process-1/records/02_raises.json").exists()
    assert not (bad / "recorded/quick.json").exists() and "02_raises: record" not in result.printed


def test_labs_run_together_only_while_their_memory_fits(tmp_path):
    meet = (
        "root, mine = Path('../..'), Path('../..', f'{Path.cwd().name}.here')\nmine.touch()\n"
        "while len(list(root.glob('*.here'))) < 2 and not (root / 'met').exists():\n    time.sleep(0.05)\n"
        "(root / 'met').touch()\nassert int(os.environ['OMP_NUM_THREADS']) >= 1"
    )
    leave = "mine.unlink()"
    alone = "assert Path('../../met').exists()\nassert not list(Path('../..').glob('*.here'))"
    header = LIMIT.format(30)
    write_lab(tmp_path, "01_one", meet, leave, header=header)
    write_lab(tmp_path, "02_huge", alone, peak=1e15)
    write_lab(tmp_path, "03_two", meet, leave, header=header)
    result = call(tmp_path, "run", "--scale", "quick", "--jobs", "3")
    assert result.code == 0, result.printed


def test_expected_peak_is_that_of_the_recorded_runs_at_the_scale(tmp_path):
    lab = write_lab(tmp_path, "01_one", peak=3e9)
    assert run.expected_peak(lab, "quick") == 3e9
    assert run.expected_peak(lab, "full") == 6e9


def test_ctrl_c_ends_the_kernels_and_keeps_what_is_finished(tmp_path):
    write_lab(tmp_path, "01_quick")
    write_lab(
        tmp_path,
        "02_long",
        CHILD + "text = f'{os.getpid()} {child.pid}'\n_ = Path('new').write_text(text)\n"
        "os.rename('new', 'pids')\ntime.sleep(300)",
    )
    write_lab(tmp_path, "03_never")
    command = [sys.executable, "-m", "labkit", "run", "--scale", "quick", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(labkit.__file__).parents[1])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as runner:
        marker, deadline = tmp_path / "labs/02_long/pids", time.monotonic() + 60
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        runner.send_signal(signal.SIGINT)
        printed, _ = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert not any(map(is_running, map(int, marker.read_text().split())))
    assert {lab: entry["state"] for lab, entry in runs(tmp_path).items()} == {
        "01_quick": "done",
        "02_long": "interrupted",
    }
    assert (tmp_path / "build/notebooks/01_quick.ipynb").exists()
    assert "Traceback" not in printed


def test_a_lab_that_cannot_be_read_fails_with_the_reason(tmp_path):
    (write_lab(tmp_path, "01_odd") / "odd.py").write_bytes(b"# %%\n'\xff'\n")
    result = call(tmp_path, "run", "--scale", "quick")
    assert result.code == 1
    assert "01_odd failed, before the first cell: UnicodeDecodeError" in result.printed


def test_the_live_table_shows_every_lab_and_leaves_brackets_alone(project):
    first, second = (run.LabRun(lab, "quick", project / "build") for lab in run.find_labs(project)[:2])
    first.state, first.kernel.cells, first.kernel.cell, first.kernel.peak_bytes = "running", [None] * 5, 2, 1.25e9
    second.state, second.headline = "done", "12 times [smaller]"
    console = Console(file=io.StringIO(), width=100, force_terminal=True, force_interactive=True)
    with run._display(console, [first, second]) as show:
        show()
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert "01_good cell 3 of 5 0:00 1.2 GB" in lines
    assert "02_raises done 0:00 0.0 GB 12 times [smaller]" in lines


def test_labs_come_in_the_order_of_the_book_and_then_the_others_by_number(tmp_path):
    for name in ("01_one", "02_two", "03_three", "04_four"):
        write_lab(tmp_path, name)
    assert [lab.name[:2] for lab in run.find_labs(tmp_path)] == ["01", "02", "03", "04"]
    (tmp_path / "book").mkdir()
    chapters = "parts:\n  - chapters:\n      - file: labs/04_four\n      - file: ledger\n      - file: labs/02_two\n"
    (tmp_path / "book" / "_toc.yml").write_text(chapters)
    assert [lab.name[:2] for lab in run.find_labs(tmp_path)] == ["04", "02", "01", "03"]
    assert [lab.name[:2] for lab in run.select(run.find_labs(tmp_path), ["1", "4"])] == ["04", "01"]


@pytest.mark.parametrize("wanted", ["2", "02", "raises", "02_raises"])
def test_a_lab_is_chosen_by_number_or_name(project, wanted):
    assert [lab.name for lab in run.select(run.find_labs(project), [wanted])] == ["02_raises"]


def test_without_a_choice_every_lab_is_chosen(project):
    assert len(run.select(run.find_labs(project), [])) == 5


def test_an_unknown_lab_is_refused_with_a_list_of_labs(project):
    result = call(project, "run", "9", "--scale", "quick")
    assert result.code == 2
    assert "no lab '9'" in result.printed and "01_good, 02_raises, 03_slow, 04_dies" in result.printed


def test_a_folder_without_its_source_is_no_lab(tmp_path):
    (write_lab(tmp_path, "01_empty") / "empty.py").unlink()
    result = call(tmp_path, "run", "--scale", "quick")
    assert result.code == 2
    assert "no labs in" in result.printed


def test_a_picture_beside_the_labs_is_found_from_the_notebook(tmp_path):
    write_lab(tmp_path, "01_one", header="# %% [markdown]\n# ![A square](../square.svg)\n")
    (tmp_path / "labs" / "square.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert call(tmp_path, "run", "1", "--scale", "quick").code == 0
    notebook = tmp_path / "build" / "notebooks" / "01_one.ipynb"
    assert "(../square.svg)" in notebook.read_text() and (notebook.parents[1] / "square.svg").is_file()


def start(project: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "labkit", "run", "--scale", "quick", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(labkit.__file__).parents[1])} | variables
    return subprocess.Popen(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(found)


def test_killed_it_leaves_no_process_and_no_half_file_and_says_what_did_not_end(tmp_path):
    write_lab(tmp_path, "01_quick")
    write_lab(
        tmp_path,
        "02_long",
        CHILD + "apart = subprocess.Popen(child.args, start_new_session=True)\n"
        "Path(os.environ['LABKIT_RECORDS']).mkdir(exist_ok=True)\n"
        "Path(os.environ['LABKIT_RECORDS'], 'tmpx.part').touch()\n"
        "_ = Path('new').write_text(f'{os.getpid()} {child.pid} {apart.pid}')\n"
        "os.rename('new', 'pids')\ntime.sleep(300)",
    )
    (tmp_path / "temporary").mkdir()
    marker = tmp_path / "labs/02_long/pids"
    with start(tmp_path, "--jobs", "1", TMPDIR=str(tmp_path / "temporary")) as runner:
        assert wait_for(marker.exists)
        runner.kill()
    assert wait_for(lambda: not any(map(is_running, map(int, marker.read_text().split()))), 10)
    assert wait_for(lambda: runs(tmp_path)["02_long"]["state"] == "interrupted", 10)
    assert runs(tmp_path)["01_quick"]["state"] == "done" and not list((tmp_path / "build").rglob("*.part"))
    assert not list((tmp_path / "temporary").iterdir())


def test_what_the_last_run_left_half_done_is_put_right_by_the_next_one(tmp_path):
    write_lab(tmp_path, "01_quick")
    (tmp_path / "build/notebooks").mkdir(parents=True)
    (tmp_path / "build/notebooks/tmpx.part").touch()
    (tmp_path / "build/runs.json").write_text(json.dumps({"02_gone": {"state": "running", "seconds": 1}, "03_odd": 7}))
    assert call(tmp_path, "run", "--scale", "quick").code == 0
    assert runs(tmp_path)["02_gone"] == {"state": "interrupted", "seconds": 1}
    assert runs(tmp_path)["01_quick"]["state"] == "done" and not list((tmp_path / "build").rglob("*.part"))


def test_two_runs_do_not_share_a_folder(tmp_path):
    write_lab(tmp_path, "01_quick")
    with results.held(tmp_path / "build"):
        result = call(tmp_path, "run", "--scale", "quick")
        assert result.code == 1 and "another run is at work in" in result.printed
        assert call(tmp_path, "run", "--scale", "quick", "--build", str(tmp_path / "other")).code == 0


@pytest.mark.parametrize("full", ["runs.json", "01_one.ipynb", "01_one.json"])
def test_a_disk_that_is_full_breaks_off_no_other_lab_and_is_told(tmp_path, monkeypatch, full):
    write_lab(tmp_path, "01_one", SAVE)
    write_lab(tmp_path, "02_two", SAVE)
    write = files.write

    def write_until_full(path, data):
        if path.name == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(files, "write", write_until_full)
    result = call(tmp_path, "run", "--scale", "quick", "--jobs", "1")
    assert result.code == 1 and "Traceback" not in result.printed
    assert "No space left on device" in result.printed and "Free some room" in result.printed
    assert (tmp_path / "build/notebooks/02_two.ipynb").exists() and "02_two  done" in result.printed
    if full != "runs.json":
        assert {lab: entry["state"] for lab, entry in runs(tmp_path).items()} == {"01_one": "failed", "02_two": "done"}
        assert "01_one failed, after its last cell: OSError" in result.printed


def test_where_nothing_can_be_written_it_says_so_and_runs_nothing(tmp_path):
    write_lab(tmp_path, "01_one")
    (tmp_path / "build").touch()
    result = call(tmp_path, "run", "--scale", "quick")
    assert result.code == 1 and "labkit run: [Errno 17] File exists" in result.printed


def test_without_a_folder_for_downloads_it_says_so_and_runs_nothing(tmp_path, monkeypatch):
    write_lab(tmp_path, "01_one")
    monkeypatch.setenv("LABKIT_CACHE", "cache")
    result = call(tmp_path, "run", "--scale", "quick")
    assert result.code == 1 and "Set LABKIT_CACHE to the whole path" in result.printed


def test_a_damaged_recorded_run_stops_no_lab(tmp_path):
    lab = write_lab(tmp_path, "01_one")
    (lab / "recorded/a.json").write_text('{"lab": "01_one"}')
    assert run.expected_peak(lab, "quick") == 6e9
    assert call(tmp_path, "run", "--scale", "quick").code == 0


@pytest.mark.parametrize("name, kept", [("cache", True), ("josé", True), ("my cache", False), ("it's", False)])
def test_compiled_kernels_are_kept_where_the_compiler_finds_them(tmp_path, monkeypatch, name, kept):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / name))
    folder = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / name / "inductor")}
    assert run.compiled_kernels() == (folder if kept else {})
