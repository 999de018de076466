"""The process in which one student's code runs. It is started by `labkit.classroom.sandbox` and by nothing else.

It reads lines of JSON and answers with lines of JSON. First come the notebook's cells; each cell is reported when it
ends, so that whoever started this process knows where it died. Only then come the tests: while the cells run, they are
nowhere in this process and in no file that it could read. Standard library only: it has to start in no time.
"""

from __future__ import annotations

import builtins
import inspect
import io
import json
import os
import re
import resource
import signal
import sys
import traceback
import types

sys.path.insert(0, os.path.dirname(__file__))
import wall  # noqa: E402

del sys.path[0]

PRINTED = 100_000  # characters of a cell's output that are worth a note
BUILTINS = dict(vars(builtins))
ENDLESS = "ran for more"
MESSAGE = 600  # characters of an error's text that are kept
# What a notebook's shell would take: whole cells such as %%bash, and lines such as !pip or %time.
SHELL_CELL = re.compile(r"\s*%%(?!(time|timeit|capture|prun)\b)")
SHELL_LINE = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


class TooLong(BaseException):
    """The time for a cell or a test is over. Not an Exception: `except Exception` in a loop does not stop it."""


class Sink(io.TextIOBase):
    """What a cell prints: counted, and gone."""

    count = 0

    def write(self, text: str) -> int:
        self.count += len(text)
        return len(text)


def limit(memory: int, seconds: int, file_bytes: int) -> None:
    """What the operating system enforces, whatever the student's code does."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError where it is written says more than a dead process


def timed(seconds: int, function, *arguments) -> str:
    """Call and return what went wrong, in one line; empty if nothing did."""

    def over(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # code that swallows it is ended from outside
    try:
        function(*arguments)
        return ""
    except TooLong:
        return f"{ENDLESS} than {seconds} s and was stopped"
    except MemoryError:
        return "needed more memory than there is for an answer"
    except SystemExit:
        return "called exit: the rest of the cell was not run"
    except BaseException as error:  # noqa: BLE001 - whatever a student's code raises
        return "".join(traceback.format_exception_only(error)).strip()[-MESSAGE:]
    finally:
        vars(builtins).update(BUILTINS)  # should the code have changed them
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_cell(source: str, namespace: dict) -> None:
    """Run a notebook's cell. Its shell is not there: what is for it alone is left out."""
    if SHELL_CELL.match(source):
        raise NotImplementedError("a cell for the shell (%%) is not run here")
    try:
        code = compile(source, "<answer>", "exec", dont_inherit=True)
    except SyntaxError:  # a line for the shell, perhaps; in Python's own syntax % and ! may begin a line, too
        code = compile(SHELL_LINE.sub(r"\1pass", source), "<answer>", "exec", dont_inherit=True)
    exec(code, namespace)


def run_test(test, namespace: dict) -> None:
    """Call a test as Otter does: with what its parameters are named after, None for what is not there."""
    test(*(namespace.get(name) for name in inspect.signature(test).parameters))


def main() -> None:
    # Results leave by a copy of the standard output; what a student prints, by any means, goes nowhere.
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    orders = os.fdopen(os.dup(0), "r")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def report(**what) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    job = json.loads(orders.readline())
    limit(job["memory"], job["cpu_seconds"], job["file_bytes"])
    wall.build(os.getcwd())
    sys.modules["__main__"] = notebook = types.ModuleType("__main__")
    namespace = vars(notebook)
    namespace |= {"display": print, "get_ipython": lambda: None}  # which a notebook has without an import
    for number, source in job["cells"]:
        report(begins=number)
        sys.stdout = sys.stderr = sink = Sink()
        note = timed(job["seconds"], run_cell, source, namespace)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        report(cell=number, note=note, printed=sink.count if sink.count > PRINTED else 0)

    report(cells="done")
    for exercise, source in json.loads(orders.readline()).items():
        defined: dict = {}
        exec(compile(source, "<test>", "exec"), defined)
        tests = [thing for name, thing in defined.items() if name.startswith("test_")]  # in the order of the source
        endless = ""  # an answer that ran too long once is not waited for again
        for number, test in enumerate(tests):
            if [exercise, number] in job["skip"]:
                continue
            report(begins=[exercise, number])
            sys.stdout = sys.stderr = Sink()
            note = endless or timed(job["seconds"], run_test, test, namespace)
            endless = note if note.startswith(ENDLESS) else ""
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            report(test=[exercise, number], note=note)
    report(tests="done")
    os._exit(0)  # threads that a student left behind are not waited for


if __name__ == "__main__":
    main()
