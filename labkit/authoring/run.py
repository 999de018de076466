"""Run labs: each from a clean kernel in its own folder, as many at once as do not disturb one another."""

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import IO

import jupytext
import nbformat
import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters import strip_ansi
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from labkit import files

UNKNOWN_PEAK = 6e9  # bytes; what a lab may use at scale standard
TICK = 0.5  # seconds between two samples of memory, and two pictures of the live table
DETAIL_LINES = 20


def find_labs(root: Path) -> list[Path]:
    """The project's labs, sorted: folders labs/NN_name that hold name.py.

    Raises LookupError when there is none.
    """
    folders = sorted((root / "labs").glob("[0-9][0-9]_*"))
    labs = [folder for folder in folders if (folder / f"{folder.name[3:]}.py").is_file()]
    if not labs:
        raise LookupError(f"no labs in {root / 'labs'}; a lab is a folder NN_name that holds name.py")
    return labs


def select(labs: list[Path], wanted: list[str]) -> list[Path]:
    """The labs asked for by number ("1", "01") or name ("prune_quantize", "01_prune_quantize"); all for [].

    Raises LookupError that lists the labs when one asked for is not there.
    """

    def names(lab: Path) -> set[str]:
        return {lab.name, lab.name[3:], lab.name[:2], lab.name[:2].lstrip("0")}

    for name in wanted:
        if not any(name in names(lab) for lab in labs):
            raise LookupError(f"there is no lab {name!r}; the labs are {', '.join(lab.name for lab in labs)}")
    return [lab for lab in labs if not wanted or names(lab) & set(wanted)]


def expected_peak(lab: Path, scale: str) -> float:
    """Peak memory in bytes of the lab's recorded runs at this scale; 6 GB where there is none."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in lab.glob("reference/*.json")]
    return max((r["run"]["peak_bytes"] for r in records if r["scale"] == scale and "run" in r), default=UNKNOWN_PEAK)


def run(
    labs: list[Path], scale: str, build: Path, jobs: int | None = None, timeout: int | None = None, keep: bool = False
) -> int:
    """Run labs and return the exit code: 0 all done, 1 some failed, 130 interrupted.

    Each lab leaves notebooks/<lab>.ipynb and html/<lab>.html in `build`, also when it failed, and its outcome in
    runs.json. At most `jobs` run at once; `timeout`, in seconds a cell, overrides the lab's own. With `keep` the record
    of each lab that was done becomes its recorded run at this scale, reference/<scale>.json.
    """
    # Not more than one lab for every two cores: the labs are written for two cores and time what they do, and
    # on the same cores they would measure one another. And only what fits into memory: swapping is no measurement.
    cores = psutil.cpu_count() or 1
    jobs = min(jobs or max(1, cores // 2), len(labs))
    memory = psutil.virtual_memory().available
    threads = {"OMP_NUM_THREADS": str(max(1, cores // jobs))} if jobs > 1 else {}
    runs = [LabRun(lab, scale, build, timeout, threads) for lab in labs]
    waiting, running = list(runs), []
    console = Console()
    with _interruption() as stop, _display(console, runs) as show:
        while running or (waiting and not stop.is_set()):
            for lab in () if stop.is_set() else list(waiting):
                peaks = sum(each.expected_peak for each in [lab, *running])
                if not running or (len(running) < jobs and peaks <= memory):
                    waiting.remove(lab)
                    running.append(lab)
                    lab.start()
                    show(lab)
            time.sleep(TICK)
            for lab in list(running):
                lab.sample()
                if stop.is_set():
                    lab.stop()
                if not lab.is_alive():
                    running.remove(lab)
                    lab.keep()
                    show(lab)
            show()
    for lab in runs if keep else ():
        if lab.state == "done" and lab.record.exists():
            files.write(lab.source.parent / "reference" / f"{scale}.json", lab.record.read_bytes())
            console.out(f"{lab.lab}: record kept as reference/{scale}.json", highlight=False)
    failed = [lab for lab in runs if lab.state == "failed"]
    for lab in failed:
        console.out(f"\n{lab.report}", highlight=False)
    return 130 if stop.is_set() else int(bool(failed))


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Set the event on Ctrl-C or a request to end, instead of breaking off wherever the program is."""
    event = threading.Event()
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _display(console: Console, runs: list["LabRun"]) -> Iterator[Callable]:
    """In a terminal a live table; elsewhere, where it would fill a log, a line at each start and end of a lab."""
    if not console.is_interactive:
        yield lambda lab=None: lab and console.out(*lab.columns(), sep="  ", highlight=False)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda lab=None: live.update(_table(runs), refresh=True)


def _table(runs: list["LabRun"]) -> Table:
    table = Table("lab", "state", "time", "peak", "", box=None)
    for lab in runs:
        table.add_row(*map(Text, lab.columns()))  # Text: brackets in a headline are no markup
    return table


class LabRun(threading.Thread):
    """One run of one lab: its kernel, its state, what it left behind.

    A thread each, because nbclient takes over the signals of the main thread, where `run` waits for Ctrl-C.
    """

    def __init__(self, lab: Path, scale: str, build: Path, timeout: int | None, environment: dict[str, str]):
        super().__init__(daemon=True)  # if the runner itself breaks, it does not wait for the labs; kernels end with it
        self.lab, self.scale, self.build, self.timeout = lab.name, scale, build, timeout
        self.source = lab / f"{lab.name[3:]}.py"
        self.expected_peak = expected_peak(lab, scale)
        self.notebook = build / "notebooks" / f"{lab.name}.ipynb"
        self.page = build / "html" / f"{lab.name}.html"
        self.record = build / "records" / f"{lab.name}.json"
        self.environment = {
            "TORCHINDUCTOR_CACHE_DIR": str(
                files.cache_folder() / "inductor"
            ),  # kernels compiled in one run serve the next
            **environment,
            **os.environ,
            "LABKIT_SCALE": scale,
            "LABKIT_RECORDS": str(self.record.parent),
        }
        self.state = "waiting"  # running, done, failed, interrupted
        self.headline = self.error = self.report = ""
        self.started = self.ended = None  # seconds on the monotonic clock
        self.peak_bytes = 0
        self.cells, self.cell = [], -1  # code cells, and the index of the one that runs
        self.manager = None  # of the kernel
        self.kernel: psutil.Process | None = None
        self.processes: set[psutil.Process] = set()  # every process of the kernel's tree that was seen
        self.stopped = False

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    def start(self) -> None:
        for old in (self.record, self.notebook, self.page):
            old.unlink(missing_ok=True)  # or an earlier run's result would be taken for this one's
        self.state, self.started = "running", time.monotonic()
        self.keep()
        super().start()

    def run(self) -> None:
        with tempfile.TemporaryFile() as log:  # what the kernel prints past the notebook: its last words
            try:
                self._execute(log)
                self.state = "done"
            except Exception as error:
                self.state = "interrupted" if self.stopped else "failed"
                if not self.stopped:
                    self._describe(error, log)
        self.ended = self.ended or time.monotonic()

    def _execute(self, log: IO[bytes]) -> None:
        notebook = jupytext.read(self.source)
        self.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        self.timeout = self.timeout or notebook.metadata.get("execution", {}).get("timeout")
        client = NotebookClient(
            notebook, timeout=self.timeout, kernel_name="python3", record_timing=False, on_cell_execute=self._count
        )
        self.manager = client.create_kernel_manager()
        self.manager.kernel_spec.argv = make_ipkernel_cmd()  # this interpreter, whatever "python3" is for the user
        self.manager.transport_encryption = "auto"  # else newer kernels print a warning
        try:
            folder = str(self.source.parent)
            asyncio.run(client.async_execute(cwd=folder, env=self.environment, stdout=log, stderr=log))
        finally:
            self.ended = time.monotonic()
            self._end_processes()
            if not self.stopped:
                files.write(self.notebook, nbformat.writes(notebook).encode())
                files.write(self.page, HTMLExporter(embed_images=True).from_notebook_node(notebook)[0].encode())
                for picture in self.source.parents[1].glob("*.svg"):  # which lie beside the labs: ../NAME.svg
                    files.write(self.build / picture.name, picture.read_bytes())
        if self.record.exists():
            record = json.loads(self.record.read_text(encoding="utf-8"))
            self.headline = record.get("headline", "")
            record["run"] = {
                "seconds": round(self.seconds, 1),
                "peak_bytes": self.peak_bytes,
                "date": datetime.now(UTC).date().isoformat(),
            }
            files.write(self.record, (json.dumps(record, indent=1) + "\n").encode())

    def _count(self, **_) -> None:
        self.cell += 1

    def sample(self) -> None:
        """Note how much memory the kernel and its children hold.

        It is the sum of their resident sets: pages that a child shares with its parent count twice.
        """
        with suppress(psutil.Error):
            if self.kernel is None and getattr(getattr(self.manager, "provisioner", None), "pid", None):
                self.kernel = psutil.Process(self.manager.provisioner.pid)
            if self.kernel:
                self.processes.update([self.kernel, *self.kernel.children(recursive=True)])
        total = 0
        for process in self.processes:
            with suppress(psutil.Error):  # ended meanwhile
                total += process.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        """End the kernel now. To be called until the thread has ended, for the kernel may only be starting."""
        self.stopped = True
        self._kill()

    def _kill(self) -> None:
        for process in list(self.processes):
            with suppress(psutil.Error):
                process.kill()

    def _end_processes(self) -> None:
        """The kernel has ended; see to it that what it started ends as well. Raises RuntimeError when it does not."""
        if not self._gone(within=2):
            self._kill()
            if not self._gone(within=5):
                raise RuntimeError(f"these processes of the lab cannot be ended: {[p.pid for p in self.processes]}")

    def _gone(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while running := any(map(_is_running, list(self.processes))):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return not running

    def _describe(self, error: Exception, log: IO[bytes]) -> None:
        """Say what went wrong: `error` in a line, `report` with the cell and the end of the traceback."""
        cell = self.cells[self.cell] if self.cell >= 0 else None
        details = ""
        if isinstance(error, CellExecutionError):
            self.error = f"{error.ename}: {error.evalue}"
            details = "\n".join(next(o.traceback for o in reversed(cell.outputs) if o.output_type == "error"))
        elif isinstance(error, CellTimeoutError):
            self.error = f"the cell did not end within {self.timeout} s"
            details = f"--timeout SECONDS gives every cell another limit, execution.timeout in {self.source} its own."
        else:
            self.error = f"{type(error).__name__}: {error}"
            if isinstance(error, DeadKernelError):
                self.error = f"the kernel died ({_exit_reason(self.manager.provisioner.process.poll())})"
            log.seek(0)
            details = log.read().decode(errors="replace")
        where = f"cell {self.cell + 1} of {len(self.cells)}" if cell else "before the first cell"
        source = indent(cell.source, "    ") if cell else ""
        ending = "\n".join(strip_ansi(details).splitlines()[-DETAIL_LINES:])
        self.report = "\n\n".join(filter(None, [f"{self.lab} failed, {where}: {self.error}", source, ending]))

    def keep(self) -> None:
        """Write the lab's entry into runs.json; those of other labs stay."""
        path = self.build / "runs.json"
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        entries[self.lab] = {
            "state": self.state,
            "seconds": round(self.seconds, 1),
            "peak_bytes": self.peak_bytes,
            "scale": self.scale,
        } | ({"error": self.error} if self.error else {})
        files.write(path, (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())

    def columns(self) -> tuple[str, str, str, str, str]:
        """Name, state, elapsed time, peak memory, and headline or error."""
        at_cell = self.state == "running" and self.cell >= 0
        state = f"cell {self.cell + 1} of {len(self.cells)}" if at_cell else self.state
        minutes, seconds = divmod(round(self.seconds), 60)
        words = self.headline or self.error
        return self.lab, state, f"{minutes}:{seconds:02}", f"{self.peak_bytes / 1e9:.1f} GB", words


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _exit_reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, most often because memory ran out: try a smaller --scale, or --jobs 1"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
