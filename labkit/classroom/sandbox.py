"""Run a student's cells and then the tests in a process of their own, with limits, and start again past what ends it.

What is limited: time (of a cell, of a test, of all), memory, the size of a file, open files; and, looked at once a
second and after each cell and test, the number of processes, the memory of all of them and the bytes in their folder.
The process works in an empty folder, which is removed, and its environment names nothing of the teacher's. Two walls
stand around it where Linux has them: `landlock` keeps it from files and processes outside, `seccomp` from what else
two processes could do to each other; `protection` says which. Nothing protects inside the process. Code that attacks
on purpose can pretend that its cells are done, look at the tests when they come or when they call it, and forge their
results.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from labkit.classroom import landlock, seccomp

WORKER = Path(__file__).with_name("worker.py")
OVERRUN_SECONDS = 3  # past the limit of a cell or test, until the process is ended that should have stopped it itself
KILL_SECONDS = 3  # at most, for ending a process with all its descendants
POLL_SECONDS = 1  # between two looks at what all processes together take
GRACE_SECONDS = 0.3  # by which a timer may be later in one attempt than in another
DIED = "ended the whole process and was left out"
LINE_BYTES = 2**14  # of a line that is read: the longest honest one, a note, is shorter


@dataclass(frozen=True)
class Limits:
    """For one submission: seconds of a cell or test, seconds of all, bytes of memory, of a file and of all files."""

    seconds: int = 20
    all_seconds: int = 300
    memory: int = 6 * 2**30  # of addresses: importing PyTorch alone reserves more than half of it
    file_bytes: int = 2**24
    folder_bytes: int = 2**28
    processes: int = 32


@dataclass
class Outcome:
    """What became of the tests, and what there is to say about the cells.

    `passed[exercise][i]` is "" where test i passed, else what it said.
    """

    passed: dict[str, dict[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CellStep:
    """A cell to be run, by its place in the notebook."""

    number: int


@dataclass(frozen=True)
class TestStep:
    """A test to be run, by its exercise and its place among that exercise's tests."""

    exercise: str
    number: int


Step = CellStep | TestStep


@dataclass(frozen=True)
class _End:
    """How a process ended: in which cell or test, or while it waited behind one, and why.

    `delays` has, for each cell that was done before, the seconds from its beginning to this end.
    """

    step: Step
    why: str
    waiting: bool
    overran: bool
    delays: dict[Step, float]
    behind_each: bool = False  # whether the next attempt waits behind each of these cells, or once behind the last


def run(
    cells: list[str], tests: dict[str, str], limits: Limits = Limits(), hidden: Collection[TestStep] = ()
) -> Outcome:
    """Run the cells in order, then all tests on what they left; `tests` has the source of the functions by exercise.

    The process is given one test at a time, and none that is hidden before all others are done: so nothing of a hidden
    one can stand in what another says.

    A cell that ends the process is left out at the next attempt, a test that does so counts as not passed; so every
    other answer is still graded. Which one it was is tried, for an earlier cell can have started a timer or a thread:
    the next attempt waits before that place until such a one would have done it, and if that ends the process, the
    one after it waits behind each cell. After `limits.all_seconds` the rest counts as not passed.
    """
    outcome, deadline = Outcome(), time.monotonic() + limits.all_seconds
    left_out: set[int] = set()
    suspect: _End | None = None
    has_seen_hidden = False

    def blame(end: _End) -> None:
        match end.step:
            case CellStep(number):
                left_out.add(number)
                outcome.notes.append(f"cell {number + 1}: {end.why}")
            case TestStep(exercise, number):
                # An answer that had to be ended from outside is not waited for again.
                after = range(number, number + 1 if end.why == DIED else len(each(tests[exercise])))
                outcome.passed.setdefault(exercise, {}).update(dict.fromkeys(after, end.why))

    while True:
        attempt = _Attempt(cells, tests, limits, hidden, left_out, suspect, outcome)
        end = attempt.run(deadline)
        if not has_seen_hidden:
            outcome.notes = list(dict.fromkeys(outcome.notes + attempt.notes))
        # By the moment at which it ends, a hidden test could tell the cells of the next attempt what it was asked.
        has_seen_hidden = has_seen_hidden or not set(hidden).isdisjoint(attempt.began)
        waited, was = end is not None and end.waiting, suspect
        if suspect and not waited:
            if suspect.step not in attempt.finished:  # a test can have passed this time
                blame(suspect)
            suspect = None
        if end is None:
            return outcome
        if time.monotonic() > deadline:
            outcome.notes.append(f"after {limits.all_seconds} s in all, the rest was not run")
            return outcome
        if waited and (was.behind_each or len(was.delays) == 1):
            blame(end)
            suspect = None
        elif waited:
            suspect = replace(was, behind_each=True)
        elif not end.delays or end.overran:
            blame(end)
        elif was is None or end.step != was.step:
            suspect = end


def each(tests: str) -> list[str]:
    """The source of each test function in a source."""
    return re.split(r"^(?=def test_)", tests, flags=re.MULTILINE)[1:]


class _Attempt:
    """One process, from its start to its end."""

    def __init__(
        self,
        cells: list[str],
        tests: dict[str, str],
        limits: Limits,
        hidden: Collection[TestStep],
        left_out: set[int],
        suspect: _End | None,
        outcome: Outcome,
    ):
        self.limits = limits
        self.outcome = outcome
        self.suspect = suspect
        if suspect and isinstance(suspect.step, CellStep):
            left_out = left_out | {suspect.step.number}
        known = [TestStep(exercise, number) for exercise, results in outcome.passed.items() for number in results]
        self.job = {
            "cells": [(number, cell) for number, cell in enumerate(cells) if number not in left_out],
            "seconds": limits.seconds,
            "cpu_seconds": limits.all_seconds,
            "memory": limits.memory,
            "file_bytes": limits.file_bytes,
        }
        sources = {TestStep(name, i): source for name, text in tests.items() for i, source in enumerate(each(text))}
        in_order = sorted(sources, key=lambda step: step in hidden)
        self.tests_ahead = {step: sources[step] for step in in_order if step not in known}
        self.ahead: list[Step] = [CellStep(number) for number, _ in self.job["cells"]]
        self.begun: Step | None = None
        self.began: dict[Step, float] = {}
        self.finished: list[Step] = []
        self.result_due = self.tests_sent = self.waiting = False
        self.notes: list[str] = []
        self.stopped, self.overran = "", False

    def run(self, deadline: float) -> _End | None:
        """None if all was run; else how the process ended. Raises RuntimeError if no cell or test had begun."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = subprocess.Popen(
                [sys.executable, "-s", "-P", WORKER],
                cwd=folder,
                env=_environment(folder),
                start_new_session=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                self._send(process, self.job)
                for line in self._lines(process, folder, deadline):
                    if self._handle(line, process, folder):
                        return None
                    if self.stopped:
                        break
                ended = time.monotonic()
            finally:
                _kill(process)
                said = process.stderr.read().decode(errors="replace")
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.stdout.close(), process.stderr.close()
                # Python gives up at deep folders, and rm at those that their owner may not list.
                for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
                    subprocess.run([*command, folder], stderr=subprocess.DEVNULL)
        if self.begun is None:
            raise RuntimeError(f"the process for a student's code did not start: {said.strip()[-500:] or 'no word'}")
        done = [step for step in self.finished if isinstance(step, CellStep) and step != self.begun]
        delays = {step: ended - self.began[step] for step in done}
        return _End(self.begun, self.stopped or DIED, self.waiting, self.overran, delays)

    def _send(self, process: subprocess.Popen, what: object) -> None:
        """Write a line, and do not wait until it is read: a student's code can keep that from happening."""

        def write() -> None:
            with contextlib.suppress(BrokenPipeError, ValueError):  # ended; closed
                process.stdin.write((json.dumps(what) + "\n").encode())
                process.stdin.flush()

        threading.Thread(target=write, daemon=True).start()

    def _lines(self, process: subprocess.Popen, folder: str, deadline: float):
        """Lines that the process writes, until it ends, gets no further for too long, or takes too much."""
        rest, looked = b"", time.monotonic()
        self.last_progress = looked
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not self.stopped:
                ready, now = selector.select(POLL_SECONDS), time.monotonic()
                if now > min(self.last_progress + self.limits.seconds + OVERRUN_SECONDS, deadline):
                    self.stopped = f"ran for more than {self.limits.seconds} s and was stopped"
                    self.overran = True
                elif now > looked + POLL_SECONDS:
                    looked, self.stopped = now, self._exceeded(process, folder)
                elif ready:
                    if not (data := os.read(process.stdout.fileno(), 65536)):
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    yield from lines
                    rest = rest[:LINE_BYTES]

    def _handle(self, line: bytes, process: subprocess.Popen, folder: str) -> bool:
        """Note what a line says, if it is its turn: a student's code can write lines, too. True for the last."""
        match _parsed(line):
            case {"begins": announced} if (step := _step(announced)) in self.ahead:
                at = self.ahead.index(step)
                self.begun, self.ahead = self.ahead[at], self.ahead[at + 1 :]
                self.result_due, self.waiting = True, False
                self.began[self.begun] = self.last_progress = time.monotonic()
            case {"cell": int(number), "note": str(note), "printed": int(printed)} if self._is_due(CellStep(number)):
                if note:
                    self.notes.append(f"cell {number + 1}: {note}")
                if printed:
                    self.notes.append(f"cell {number + 1} printed {printed:,} characters")
                self._let_next_begin(process, folder)
            case {"test": [str(exercise), int(number)], "note": str(note)} if self._is_due(TestStep(exercise, number)):
                self.outcome.passed.setdefault(exercise, {})[number] = note
                self._let_next_begin(process, folder)
            case {"cells": "done"} if not self.tests_sent:
                self.tests_sent = True
                self.ahead = list(self.tests_ahead)
                self.last_progress = time.monotonic()
                self._send_next(process)
            case {"tests": "done"}:
                return True
        return False

    def _is_due(self, step: Step) -> bool:
        """Whether it is this step whose result is waited for."""
        return self.result_due and step == self.begun

    def _let_next_begin(self, process: subprocess.Popen, folder: str) -> None:
        """Let the next cell or test begin, unless the processes together have passed a limit."""
        self.result_due = False
        self.finished.append(self.begun)
        self.stopped = self._exceeded(process, folder)
        self._wait(process, folder)
        if not self.stopped:
            self._send_next(process)

    def _send_next(self, process: subprocess.Popen) -> None:
        """Send the next test, or null if there is none; while there are cells, which are there, a word."""
        if not self.tests_sent:
            self._send(process, "go on")
        elif step := next(iter(self.ahead), None):
            self._send(process, [step.exercise, step.number, self.tests_ahead[step]])
        else:
            self._send(process, None)

    def _wait(self, process: subprocess.Popen, folder: str) -> None:
        """Behind a cell that may have started what ended the last attempt: wait until that would end this one."""
        delays = self.suspect.delays if self.suspect else {}
        if not (self.suspect and self.begun in delays):
            return
        started = [self.begun] if self.suspect.behind_each else [step for step in delays if step in self.began]
        if not self.suspect.behind_each and self.begun != list(delays)[-1]:
            return
        self.waiting = True
        until = GRACE_SECONDS + max(self.began[step] + delays[step] for step in started)
        while not self.stopped and _descendants(process) and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, GRACE_SECONDS))
            self.stopped = self._exceeded(process, folder)
        self.last_progress = time.monotonic()

    def _exceeded(self, process: subprocess.Popen, folder: str) -> str:
        """Which limit all processes together have passed; empty for none."""
        descendants = _descendants(process)
        if len(descendants) > self.limits.processes:
            return f"started more than {self.limits.processes} processes and was stopped"
        if sum(descendants.values()) > self.limits.memory:
            return "needed more memory than there is for an answer"
        if _holds_more_than(self.limits.folder_bytes, folder):
            return f"wrote more than {self.limits.folder_bytes >> 20} MB and was stopped"
        return ""


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _step(announced: object) -> Step | None:
    """The cell or test that a line names as its beginning; None for what names neither."""
    match announced:
        case int(number):
            return CellStep(number)
        case [str(exercise), int(number)]:
            return TestStep(exercise, number)
    return None


def _descendants(process: subprocess.Popen) -> dict[psutil.Process, int]:
    """The processes that run below one, and the bytes of memory that each holds."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.status() != psutil.STATUS_ZOMBIE:
                    found[each] = each.memory_info().rss
    return found


def _holds_more_than(limit: int, folder: str) -> bool:
    """Whether the files below a folder hold more bytes than that; one counts as a block of 4096 at least."""
    total, folders = 0, [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                total += max(4096, entry.stat(follow_symlinks=False).st_size)
                if total > limit:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return False


def _kill(process: subprocess.Popen) -> None:
    """End a process and its descendants. None can leave it before: it adopts those whose parent has ended."""
    deadline, empty = time.monotonic() + KILL_SECONDS, 0
    while empty < 2 and time.monotonic() < deadline:  # one look can miss a child whose parent ends meanwhile
        descendants = _descendants(process)
        for each in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        empty = 0 if descendants else empty + 1
    process.kill()
    process.wait()


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the teacher's but where programs are; one thread, so that submissions do not disturb one another."""
    return {
        "PATH": os.defpath,
        "HOME": folder,
        "TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",  # a helper that is written twice in a second would be the old one
    }


def protection() -> list[str]:
    """What a student's code is kept from on this machine, and what is open to it, in sentences."""
    kernel, filtered = landlock.version(), seccomp.available()
    kept, open_ = [], []
    for stands, what in (
        (kernel >= (1 if filtered else 3), "files outside its folder, but for those of Python and the system"),
        (filtered, "permissions and times of files, the limits and priorities of processes, and shared memory"),
        (filtered, "the network and all other sockets"),
        (filtered or kernel >= 6, "signals to other processes"),
    ):
        (kept if stands else open_).append(what)
    said = [f"A student's code is kept from: {'; '.join(kept)}"] if kept else []
    if open_:
        said.append(f"OPEN to it, because this Linux has no wall there: {'; '.join(open_)}. Use Otter's containers")
    return said
