"""Run a student's cells and then the tests in a process of their own, with limits, and start again past what ends it.

What is limited: time (of a cell, of a test, of all), memory, the size of a file, open files. The process works in an
empty folder, which is removed, and its environment names nothing of the teacher's. Where Linux has Landlock, it can
read what Python needs and write that folder, and reaches no other file, no TCP connection and no process outside.
What is not given: a wall inside the process, and one against UDP. Code that attacks on purpose can pretend that its
cells are done, look at the tests when they come or when they call it, and forge their results.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from labkit.classroom import wall

WORKER = Path(__file__).with_name("worker.py")
GRACE = 3  # seconds for which a process may go on after it should have stopped itself


@dataclass(frozen=True)
class Limits:
    """For one submission: seconds of a cell or test, seconds of all, bytes of memory and of a file."""

    seconds: int = 20
    all_seconds: int = 300
    memory: int = 6 * 2**30  # of addresses: importing PyTorch alone reserves more than half of it
    file_bytes: int = 2**24


@dataclass
class Outcome:
    """What became of the tests, and what there is to say about the cells.

    `passed[exercise][i]` is "" where test i passed, else what it said.
    """

    passed: dict[str, dict[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run(cells: list[str], tests: dict[str, str], limits: Limits = Limits()) -> Outcome:
    """Run the cells in order, then all tests on what they left; `tests` has the source of the functions by exercise.

    A cell that ends the process is left out at the next attempt, a test that does so counts as not passed; so every
    other answer is still graded. After `limits.all_seconds` the rest counts as not passed.
    """
    outcome, deadline = Outcome(), time.monotonic() + limits.all_seconds
    left_out: set[int] = set()
    while True:
        attempt = _Attempt(cells, tests, limits, left_out, outcome)
        fatal = attempt.run(deadline)
        outcome.notes = list(dict.fromkeys(outcome.notes + attempt.notes))
        if fatal is None:
            return outcome
        if time.monotonic() > deadline:
            outcome.notes.append(f"after {limits.all_seconds} s in all, the rest was not run")
            return outcome
        too_long = f"ran for more than {limits.seconds} s and was stopped"
        why = too_long if attempt.silent else "ended the whole process and was left out"
        if isinstance(fatal, int):
            left_out.add(fatal)
            outcome.notes.append(f"cell {fatal + 1}: {why}")
        else:
            exercise, number = fatal
            # An answer that had to be ended from outside is not waited for again.
            after = range(number, tests[exercise].count("def test_") if attempt.silent else number + 1)
            outcome.passed.setdefault(exercise, {}).update(dict.fromkeys(after, why))


class _Attempt:
    """One process, from its start to its end."""

    def __init__(self, cells: list[str], tests: dict[str, str], limits: Limits, left_out: set[int], outcome: Outcome):
        known = [[exercise, number] for exercise, results in outcome.passed.items() for number in results]
        self.job = {
            "cells": [(number, cell) for number, cell in enumerate(cells) if number not in left_out],
            "skip": known, "seconds": limits.seconds, "cpu_seconds": limits.all_seconds,
            "memory": limits.memory, "file_bytes": limits.file_bytes,
        }  # fmt: skip
        self.tests, self.limits, self.outcome = tests, limits, outcome
        self.notes: list[str] = []
        self.tests_sent = self.silent = False
        self.begun: int | tuple[str, int] | None = None

    def run(self, deadline: float) -> int | tuple[str, int] | None:
        """None if all was run; else the cell or test in which the process ended. Raises RuntimeError before either."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = subprocess.Popen(
                [sys.executable, "-s", "-P", WORKER], cwd=folder, env=_environment(folder), start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                with contextlib.suppress(BrokenPipeError):
                    self._send(process, self.job)
                for line in self._lines(process, deadline):
                    if self._take(line, process):
                        return None
            finally:
                _end(process.pid, folder)
                said = process.stderr.read().decode(errors="replace")
                process.stdin.close(), process.stdout.close(), process.stderr.close()
                process.wait()
        if self.begun is None:
            raise RuntimeError(f"the process for a student's code did not start: {said.strip()[-500:] or 'no word'}")
        return self.begun

    def _send(self, process: subprocess.Popen, what: object) -> None:
        process.stdin.write((json.dumps(what) + "\n").encode())
        process.stdin.flush()

    def _lines(self, process: subprocess.Popen, deadline: float):
        """Lines that the process writes, until it ends, or is silent for too long."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                patience = min(self.limits.seconds + GRACE, deadline - time.monotonic())
                if patience <= 0 or not selector.select(patience):
                    self.silent = True
                    return
                if not (data := os.read(process.stdout.fileno(), 65536)):
                    return
                *lines, rest = (rest + data).split(b"\n")
                yield from lines

    def _take(self, line: bytes, process: subprocess.Popen) -> bool:
        """Note what a line says. True for the last."""
        match _parsed(line):
            case {"begins": int(cell)}:
                self.begun = cell
            case {"begins": [str(exercise), int(number)]} if exercise in self.tests:
                self.begun = exercise, number
            case {"cell": int(cell), "note": str(note), "printed": int(printed)}:
                if note:
                    self.notes.append(f"cell {cell + 1}: {note}")
                if printed:
                    self.notes.append(f"cell {cell + 1} printed {printed:,} characters")
            case {"test": [str(exercise), int(number)], "note": str(note)} if self.tests_sent:  # else it is forged
                self.outcome.passed.setdefault(exercise, {})[number] = note
            case {"cells": "done"} if not self.tests_sent:
                self.begun = self.begun if self.begun is not None else -1
                self.tests_sent = True
                with contextlib.suppress(BrokenPipeError):
                    self._send(process, self.tests)
            case {"tests": "done"}:
                return True
        return False


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _end(pid: int, folder: str) -> None:
    """End a process, its group, and what works in its folder: a child may have left the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.cwd().startswith(folder):
                process.kill()


def _environment(folder: str) -> dict[str, str]:
    """Nothing of the teacher's but where programs are; one thread, so that submissions do not disturb one another."""
    return {"PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0"}  # fmt: skip


def walls() -> str:
    """What a student's code is kept from on this machine, in a sentence."""
    kernel = wall.version()
    if not kernel:
        return "Without Landlock here, a student's code can read and write what you can: use Otter's containers"
    kept = ["your files"] + ["TCP connections"] * (kernel >= 4) + ["other processes"] * (kernel >= 6)
    return f"A student's code is kept from {', '.join(kept)}"
