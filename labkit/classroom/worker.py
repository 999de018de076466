"""The process in which one student's code runs. It is started by `labkit.classroom.sandbox` and by nothing else.

It reads lines of JSON and answers with lines of JSON. First come the notebook's cells; each cell is reported when it
ends, so that whoever started this process knows where it died. Only then come the tests: while the cells run, they are
nowhere in this process and in no file that it could read. Standard library only, because it has to
start in no time; IPython is asked where a cell is no Python.
"""

from __future__ import annotations

import builtins
import inspect
import io
import json
import os
import resource
import signal
import sys
import traceback
import types
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT

sys.path.insert(0, os.path.dirname(__file__))
import landlock
import seccomp

del sys.path[0]

PRINTED = 100_000  # characters of a cell's output that are worth a note
BUILTINS = dict(vars(builtins))
ENDLESS = "ran for more"
MESSAGE = 600  # characters of an error's text that are kept
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")  # whose cells are Python


class TooLong(BaseException):
    """The time for a cell or a test is over. Not an Exception: `except Exception` in a loop does not stop it."""


class Sink(io.TextIOBase):
    """What a cell prints: counted, and gone."""

    count = 0

    def write(self, text: str) -> int:
        self.count += len(text)
        return len(text)


class Shell:
    """What get_ipython gives a cell: timed Python is run, a shell is not there."""

    def __init__(self, namespace: dict):
        self.namespace = namespace

    def run_line_magic(self, name: str, line: str, *_) -> None:
        if name == "time":
            run_cell(line, self.namespace)

    def run_cell_magic(self, name: str, line: str, body: str) -> None:
        if name not in PYTHON_MAGICS:
            raise NotImplementedError("a cell for the shell (%%) is not run here")
        run_cell(body, self.namespace)

    def system(self, command: str) -> None:
        pass

    def getoutput(self, command: str) -> list[str]:
        return []


def limit(memory: int, seconds: int, file_bytes: int) -> None:
    """What the operating system enforces, whatever the student's code does."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_SIGPENDING, (256, 256))  # of timers, which all processes of a user share
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # a machine without memory ends this process first
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
        return "called exit, which ended it there"
    except BaseException as error:
        return "".join(traceback.format_exception_only(error)).strip()[-MESSAGE:]
    finally:
        vars(builtins).update(BUILTINS)  # should the code have changed them
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_cell(source: str, namespace: dict) -> None:
    """Run a notebook's cell; what is IPython's alone (`%time f()`, `name?`, `files = !ls`) becomes calls of Shell."""
    try:
        code = compile(source, "<answer>", "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        python = TransformerManager().transform_cell(source)
        code = compile(python, "<answer>", "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        import asyncio

        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)


def run_test(test, namespace: dict) -> None:
    """Call a test as Otter does: with what its parameters are named after."""
    needed = list(inspect.signature(test).parameters)
    if missing := [name for name in needed if name not in namespace]:
        raise NameError(f"{missing[0]} is not defined: its cell is missing, or stopped with an error")
    test(*(namespace[name] for name in needed))


def fork_subreaper() -> None:
    """Fork; the parent stays as subreaper of all descendants until it is ended from outside, the child goes on."""
    landlock.become_subreaper()
    if os.fork():
        os.closerange(0, 3)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what ended is gone
        while True:
            signal.pause()
    os.setsid()  # a signal to the group of a student's code is for that code alone


def main() -> None:
    fork_subreaper()
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
    landlock.restrict(os.getcwd())
    seccomp.restrict(signals=landlock.version() >= 6)
    sys.modules["__main__"] = notebook = types.ModuleType("__main__")
    namespace = vars(notebook)
    shell = Shell(namespace)
    namespace |= {"display": print, "get_ipython": lambda: shell}  # which a notebook has without an import
    for number, source in job["cells"]:
        report(begins=number)
        sys.stdout = sys.stderr = sink = Sink()
        note = timed(job["seconds"], run_cell, source, namespace)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        report(cell=number, note=note, printed=sink.count if sink.count > PRINTED else 0)
        orders.readline()  # to go on

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
            orders.readline()
    report(tests="done")
    os._exit(0)  # threads that a student left behind are not waited for


if __name__ == "__main__":
    main()
