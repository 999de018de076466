"""Run labs: each from a clean kernel in its own folder, as many at once as do not disturb one another."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import jupytext
import nbformat
import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from labkit import files
from labkit.authoring import fingerprint
from labkit.authoring.kernel import Kernel
from labkit.authoring.report import Report, describe
from labkit.authoring.results import Results, done_before, held, load_states, save_state
from labkit.authoring.site_process import SiteProcess
from labkit.authoring.sweeper import Sweeper
from labkit.claims import judge
from labkit.environment import cores
from labkit.runs import RECORDED, across_processes, load, recorded_runs

UNKNOWN_PEAK = 6e9  # bytes; what a lab may use at scale standard
PROCESSES = 3  # of a recorded run
INTERRUPTED = 130  # exit code
ADVICE = "Free some room, if the disk is full, and run again."
TICK = 0.5  # seconds between two samples of memory, and two pictures of the live table


def find_labs(root: Path) -> list[Path]:
    """The project's labs: folders labs/NN_name that hold name.py.

    They come in the order of book/_toc.yml, and then those that are not in the book, by number. Raises LookupError when
    there is none.
    """
    toc = root / "book" / "_toc.yml"
    # Not read as YAML: where the book is damaged the labs run all the same.
    book = re.findall(r"^ *- file: labs/(\w+)", toc.read_text(encoding="utf-8"), re.MULTILINE) if toc.is_file() else []
    folders = sorted((root / "labs").glob("[0-9][0-9]_*"))
    folders.sort(key=lambda folder: book.index(folder.name) if folder.name in book else len(book))
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
    """Peak memory in bytes of the lab's recorded runs at this scale; 6 GB where there is none, or one is damaged."""
    try:
        peaks = [run.peak_bytes for run in recorded_runs(lab).values() if run.scale == scale and run.peak_bytes]
    except ValueError:  # the lab, which reads them too, says so
        return UNKNOWN_PEAK
    return max(peaks, default=UNKNOWN_PEAK)


def run_labs(
    labs: list[Path],
    scale: str,
    build: Path,
    jobs: int | None = None,
    timeout: int | None = None,
    again: bool = False,
    site_of: Path | None = None,
) -> int:
    """Run labs, in the order given.

    Each lab leaves notebooks/<lab>.ipynb in `build`, also when it failed, and its outcome in runs.json. A lab that was
    done there before, with the same fingerprint, is not run.

    Args:
        jobs: Labs at once; None for one for every two cores.
        timeout: Seconds for each cell; None for the lab's own limit.
        again: Every lab is run.
        site_of: The project whose site is built after each lab that was done. No lab begins meanwhile: on the same
            cores it would measure the build as well.

    Returns:
        The exit code: 0 all done, 1 some failed, or the site did, 130 interrupted.

    Raises:
        filelock.Timeout: another run is at work in `build`.
        OSError: nothing can be written there.
        ZooError: there is no folder for downloads.
    """
    with held(build), Sweeper(build) as sweeper:
        return _run_labs(labs, scale, build, jobs, timeout, again, site_of, sweeper)


def _run_labs(
    labs: list[Path],
    scale: str,
    build: Path,
    jobs: int | None,
    timeout: int | None,
    again: bool,
    site_of: Path | None,
    sweeper: Sweeper,
) -> int:
    surroundings = fingerprint.surroundings(scale)
    runs = [LabRun(lab, scale, build, timeout, surroundings) for lab in labs]
    if not again:
        for lab in runs:
            lab.recall()
    waiting, running = [lab for lab in runs if lab.state == "waiting"], []
    # Not more than one lab for every two cores: the labs are written for two cores and time what they do, and
    # on the same cores they would measure one another. And only what fits into memory: swapping is no measurement.
    jobs = min(jobs or max(1, cores() // 2), max(1, len(waiting)))
    memory = psutil.virtual_memory().available
    threads = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {}
    defaults, ours = compiled_kernels() | threads, sweeper.variables
    console = Console()
    with _interruption() as stop, _display(console, runs) as show, SiteProcess(site_of, build, ours) as site:
        for lab in runs:
            if lab.state == "done before":
                show(lab)
                site.ask()
        while running or (not stop.is_set() and (waiting or site.is_busy)):
            if not (stop.is_set() or site.is_busy):
                for lab in _that_fit(waiting, running, jobs, memory):
                    lab.start(defaults, ours)
                    show(lab)
            time.sleep(TICK)
            for lab in list(running):
                lab.kernel.sample()
                if stop.is_set():
                    lab.kernel.stop()
                if not lab.is_alive():
                    running.remove(lab)
                    lab.save()
                    show(lab)
                    if lab.state == "done" or not (running or waiting):  # the last may leave pages to take away
                        site.ask()
            if not stop.is_set() and (line := site.step()):
                console.out(line, highlight=False)
            show()
    failures = [str(lab.report) for lab in runs if lab.state == "failed"]
    if site.failure:
        failures.append(site.failure)
    for lab in runs:
        if lab.unsaved:
            lab.save()  # once more, for another lab may have given back its room
    if unsaved := [lab for lab in runs if lab.unsaved]:
        names = ", ".join(lab.lab for lab in unsaved)
        failures.append(f"{build / 'runs.json'} lacks {names}: {unsaved[0].unsaved}. {ADVICE}")
    for failure in failures:
        console.out(f"\n{failure}", highlight=False)
    return INTERRUPTED if stop.is_set() else int(bool(failures))


def compiled_kernels() -> dict[str, str]:
    """The variable that has torch.compile keep its kernels in the cache: what one run compiles serves the next.

    None where the compiler's command, which is not quoted, would come apart at the folder's name.

    Raises:
        ZooError: there is no folder for downloads.
    """
    folder = str(files.cache_folder() / "inductor")
    return {} if re.search(r"""[\s'"\\]""", folder) else {"TORCHINDUCTOR_CACHE_DIR": folder}


def keep_labs(labs: list[Path], scale: str, build: Path, jobs: int | None = None, timeout: int | None = None) -> int:
    """Run labs and keep what they find as their recorded runs at this scale, recorded/<scale>.json.

    Each lab is run in three processes, from which `runs.across_processes` makes one record: two processes of one
    machine differ by more than the rounds of one. At scale quick, where nothing is concluded, one process does.

    Returns:
        The largest exit code of `run_labs`; a lab's record is kept if all processes have done it.
    """
    folders, code = [build / f"process-{number + 1}" for number in range(1 if scale == "quick" else PROCESSES)], 0
    for folder in folders:
        code = max(code, run_labs(labs, scale, folder, jobs, timeout, again=True))
        if code == INTERRUPTED:
            return code
    for lab in labs:
        if not all(load_states(folder).get(lab.name, {}).get("state") == "done" for folder in folders):
            continue
        try:
            found = [load(path) for folder in folders if (path := Results.of(lab.name, folder).record).exists()]
            if found:
                run = across_processes(found)
                if len(found) > 1:
                    judge(lab / "claims.toml", run.record)
                run.write(lab / RECORDED / f"{scale}.json")
                print(f"{lab.name}: record kept as recorded/{scale}.json")
        except (OSError, ValueError) as error:  # the records of other labs can be kept all the same
            print(f"{lab.name}: no record kept: {error}")
            code = 1
    return code


def _that_fit(waiting: list["LabRun"], running: list["LabRun"], jobs: int, memory: float) -> Iterator["LabRun"]:
    """Move labs from `waiting` to `running`, as many as there are jobs and memory for."""
    for lab in list(waiting):
        peaks = sum(each.expected_peak for each in [lab, *running])
        if not running or (len(running) < jobs and peaks <= memory):
            waiting.remove(lab)
            running.append(lab)
            yield lab


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
    """One run of one lab: its state, its kernel, what it left behind.

    A thread each, because nbclient takes over the signals of the main thread, where `run_labs` waits for Ctrl-C.
    """

    def __init__(self, lab: Path, scale: str, build: Path, timeout: int | None = None, surroundings: str = ""):
        super().__init__(daemon=True)  # if the runner itself breaks, it does not wait for the labs; kernels end with it
        self.lab = lab.name
        self.scale = scale
        self.build = build
        self.timeout = timeout
        self.source = lab / f"{lab.name[3:]}.py"
        self.expected_peak = expected_peak(lab, scale)
        self.results = Results.of(lab.name, build)
        self.surroundings, self.fingerprint = surroundings, ""  # of the lab as it is when it is looked at
        self.kernel = Kernel()
        self.state = "waiting"  # running, done, failed, interrupted; or done before
        self.headline = ""
        self.report: Report | None = None  # on a failure
        self.unsaved: OSError | None = None  # why its entry is not in runs.json
        self.started = self.ended = None  # seconds on the monotonic clock

    @property
    def seconds(self) -> float:
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started

    def recall(self) -> None:
        """Take the results of an earlier run for this one's, where a run would only repeat it."""
        if entry := done_before(self.build, self.lab, fingerprint.of(self.source.parent, self.surroundings)):
            self.state, self.headline = "done before", entry["headline"]
            self.started = 0.0
            self.ended = entry["seconds"]
            self.kernel.peak_bytes = entry["peak_bytes"]

    def start(self, defaults: dict[str, str], variables: dict[str, str]) -> None:
        """Begin, with these environment variables, and with the defaults where the user has not set them."""
        self.results.delete()  # or an earlier run's result would be taken for this one's
        self.fingerprint = fingerprint.of(self.source.parent, self.surroundings)
        self.environment = {
            **defaults,
            **os.environ,
            **variables,
            "LABKIT_SCALE": self.scale,
            "LABKIT_RECORDS": str(self.results.record.parent),
        }
        self.state, self.started = "running", time.monotonic()
        self.save()
        try:
            super().start()
        except RuntimeError as error:  # the machine has no thread left
            self.state, self.report = "failed", describe(self.source, error, self.kernel)

    def run(self) -> None:
        notebook = None
        try:
            notebook = jupytext.read(self.source)
            self.kernel.execute(notebook, self.source.parent, self.environment, self.timeout)
        except Exception as error:
            self._fail(describe(self.source, error, self.kernel))
        self.ended = time.monotonic()
        try:
            self.kernel.end()
        except RuntimeError as error:
            self._fail(describe(self.source, error, self.kernel))
        if notebook and not self.kernel.is_stopped:
            try:
                self._write(notebook)
                if self.state == "running" and self.results.record.exists():
                    self._complete_record()
            except (OSError, ValueError) as error:
                self._fail(Report(self.lab, f"{type(error).__name__}: {error}", "after its last cell", "", ADVICE))
        if self.state == "running":
            self.state = "done"

    def _fail(self, report: Report) -> None:
        """The first reason stays."""
        if self.kernel.is_stopped:
            self.state = "interrupted"
        elif self.state == "running":
            self.state, self.report = "failed", report

    def _write(self, notebook: nbformat.NotebookNode) -> None:
        """The notebook, with the pictures that lie beside the labs: ../NAME.svg."""
        files.write(self.results.notebook, nbformat.writes(notebook).encode())
        for picture in self.source.parents[1].glob("*.svg"):
            files.write(self.build / picture.name, picture.read_bytes())

    def _complete_record(self) -> None:
        """What only the runner knows goes into the record; its headline is shown."""
        run = load(self.results.record)
        self.headline = run.record.summary
        date = datetime.now(UTC).date().isoformat()
        run.took(round(self.seconds, 1), self.kernel.peak_bytes, date).write(self.results.record)

    def save(self) -> None:
        """Write the lab's entry into runs.json; where that fails, `unsaved` says why."""
        entry = {
            "state": self.state,
            "seconds": round(self.seconds, 1),
            "peak_bytes": self.kernel.peak_bytes,
            "scale": self.scale,
            "headline": self.headline,
            "fingerprint": self.fingerprint,
        }
        if self.report:
            entry["error"] = self.report.error
        try:
            save_state(self.build, self.lab, entry)
            self.unsaved = None
        except OSError as error:  # of a disk that is full, which is no reason to break off other labs
            self.unsaved = error

    def columns(self) -> tuple[str, str, str, str, str]:
        """Name, state, elapsed time, peak memory, and headline or error."""
        kernel, state = self.kernel, self.state
        if state == "running" and kernel.cell >= 0:
            state = f"cell {kernel.cell + 1} of {len(kernel.cells)}"
        minutes, seconds = divmod(round(self.seconds), 60)
        words = self.report.error if self.report else self.headline
        return self.lab, state, f"{minutes}:{seconds:02}", f"{kernel.peak_bytes / 1e9:.1f} GB", words
