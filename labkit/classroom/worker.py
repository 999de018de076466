"""The process in which one student's code runs. It is started by `labkit.classroom.sandbox` and by nothing else.

It reads lines of JSON and answers with lines of JSON. First come the notebook's cells; each cell is reported when it
ends, so that whoever started this process knows where it died. Only then come the tests: while the cells run, they are
nowhere in this process and in no file that it could read. Cells run in IPython, as in a notebook's kernel: magics,
`await`, `_`, `display` and the source of what they define are there. Nobody is there to answer, and no shell.
"""

from __future__ import annotations

import builtins
import decimal
import functools
import inspect
import io
import json
import locale
import os
import random
import re
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from IPython.core import page
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

sys.path.insert(0, os.path.dirname(__file__))
import landlock
import seccomp

del sys.path[0]

PRINTED = 100_000  # characters of a cell's output that are worth a note
ENDLESS = "ran for more"
MESSAGE = 600  # characters of an error's text that are kept
COMPUTING = ("math", "statistics", "random", "itertools", "functools", "heapq", "fractions", "copy", "operator")
COMPUTING += ("numpy", "numpy.random", "numpy.linalg", "torch", "torch.nn", "torch.nn.functional", "torch.linalg")
WORKERS = ("num_workers", "prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout")
TIMING = ("time", "timeit", "prun")  # magics whose error is that of the student's code


class TooLong(BaseException):
    """The time for a cell or a test is over. Not an Exception: `except Exception` in a loop does not stop it."""


class Sink(io.TextIOBase):
    """What a cell prints: counted, and gone."""

    count, encoding = 0, "utf-8"

    def write(self, text: str) -> int:
        self.count += len(text)
        return len(text)


class Shell(InteractiveShell):
    """IPython without a shell and without a terminal. An import that fails costs what needs it, and not its cell.

    A student's notebook may begin with `from google.colab import drive`, which is nowhere but in Colab: after such a
    line, the cell's other statements run, each for itself.
    """

    def __init__(self, **options):
        super().__init__(config=Config(HistoryManager={"enabled": False}), **options)
        shutil.rmtree(self.ipython_dir, ignore_errors=True)  # a student's folder begins empty
        self.set_hook("show_in_pager", page.as_hook(page.display_page), 90)  # no program that waits for a key
        self.beginning = Beginning()
        sys.path.insert(0, "")  # what `%%writefile` wrote is imported
        self.notes: list[str] = []
        self.error: BaseException | None = None
        self.import_failed = False

    def run(self, source: str) -> None:
        """Run a cell. Raises what it raised; `notes` has what was passed over."""
        self.notes, self.error, self.import_failed = [], None, False
        result = self.run_cell(source, store_history=True)
        if error := result.error_before_exec or result.error_in_exec or self.error:
            raise error

    async def run_code(self, code_obj, result=None, *, async_=False) -> bool:
        failed = await super().run_code(code_obj, result, async_=async_)
        self.beginning.look()
        read_without_workers()
        self.import_failed |= failed and isinstance(self.error, ImportError)
        if failed and self.import_failed and isinstance(self.error, Exception):
            self.notes.append(told(self.error))
            self.error = None
            if result is not None:
                result.error_in_exec = None
            return False
        return failed

    def showtraceback(self, exc_tuple=None, *_, **__) -> None:
        """Called for each error; some magics tell nobody else of it."""
        self.error = (exc_tuple or sys.exc_info())[1]

    def showsyntaxerror(self, *_, **__) -> None:
        self.showtraceback()

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1):
        if magic_name in TIMING:
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        try:
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        except Exception as error:
            self.notes.append(f"passed over: %{magic_name} {line}: {told(error)}")

    def run_cell_magic(self, magic_name: str, line: str, cell: str):
        if magic_name in self.magics_manager.registry["ScriptMagics"].magics["cell"]:
            self.notes.append(f"passed over: %%{magic_name}, a cell for the shell, is not run here")
            return None
        return super().run_cell_magic(magic_name, line, cell)

    def system(self, cmd: str) -> None:
        self.notes.append(f"passed over: a line for the shell, {cmd.replace(sys.executable, 'python')}")

    def getoutput(self, cmd: str, *_, **__) -> list[str]:
        self.system(cmd)
        return []

    def ask_exit(self) -> None:
        raise SystemExit

    def enable_gui(self, gui=None) -> None:
        """There is no screen: pictures are drawn, and not shown."""


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


def told(error: BaseException) -> str:
    """An error in one line: never a word of this process's own, whatever its class is called."""
    text = "".join(traceback.format_exception_only(error)).strip()
    if not re.match(r"[\w.<>]+(:|$)|File ", text):
        text = f"an error: {text}"
    return text if len(text) <= MESSAGE else f"… {text[-MESSAGE:]}"


def timed(seconds: int, function, *arguments) -> str:
    """Call and return what went wrong, in one line; empty if nothing did."""

    def over(*_):
        raise TooLong

    there = dict(vars(builtins))
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
        return told(error)
    finally:
        vars(builtins).update(there)  # should the code have changed them
        signal.setitimer(signal.ITIMER_REAL, 0)


def call(test, namespace: dict) -> None:
    """Call a test as Otter does: with what its parameters are named after."""
    needed = list(inspect.signature(test).parameters)
    if missing := [name for name in needed if name not in namespace]:
        raise NameError(f"{missing[0]} is not defined: its cell is missing, or stopped with an error")
    test(*(namespace[name] for name in needed))


def read_without_workers() -> None:
    """Let PyTorch's DataLoader read in this process: its workers hand tensors over by sockets, which are refused."""
    loader = getattr(sys.modules.get("torch.utils.data.dataloader"), "DataLoader", None)
    if loader and not hasattr(loader.__init__, "__wrapped__"):
        begin = loader.__init__

        @functools.wraps(begin)
        def begin_without(self, *arguments, **options):
            begin(self, *arguments, **{name: value for name, value in options.items() if name not in WORKERS})

        loader.__init__ = begin_without


def nobody_answers(prompt: object = "") -> str:
    """What `input` is here."""
    raise EOFError("nobody is there to answer input(): write the value into the cell")


class Beginning:
    """What all code of a process shares, as it was before the first cell, for each test to find it so again."""

    def __init__(self) -> None:
        self.folder, self.path, self.locale = os.getcwd(), list(sys.path), locale.setlocale(locale.LC_ALL)
        self.filters, self.functions = list(warnings.filters), {}

    def look(self) -> None:
        """Note the functions of modules that are new. Called after each statement, and so before one changes them."""
        for name in COMPUTING:
            if name not in self.functions and (module := sys.modules.get(name)):
                found = {key: value for key, value in vars(module).items() if callable(value)}
                self.functions[name] = module, found

    @contextmanager
    def again(self) -> Iterator[None]:
        for name, (module, functions) in self.functions.items():
            sys.modules[name] = module
            vars(module).update(functions)
        os.chdir(self.folder)
        sys.path[:] = [*self.path, *(folder for folder in sys.path if folder not in self.path)]
        locale.setlocale(locale.LC_ALL, self.locale)
        decimal.setcontext(decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN))
        random.seed(0)
        with ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.filters[:] = self.filters
            if np := sys.modules.get("numpy"):
                np.random.seed(0)
                stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
            if torch := sys.modules.get("torch"):
                torch.manual_seed(0)
                torch.set_default_dtype(torch.float32)
                torch.set_default_device(None)
                torch.set_num_threads(1)
                torch.use_deterministic_algorithms(False)
                torch.set_flush_denormal(False)
                torch.set_float32_matmul_precision("highest")
                torch.autograd.set_detect_anomaly(False)
                for mode in (torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False)):
                    stack.enter_context(mode)
            yield


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
    landlock.restrict(os.getcwd(), *([landlock.SHARED_MEMORY] if landlock.own_shared_memory() else []))
    seccomp.restrict(signals=landlock.version() >= 6)
    shell, builtins.input = Shell.instance(), nobody_answers
    beginning = shell.beginning
    for number, source in job["cells"]:
        report(begins=number)
        sys.stdout = sys.stderr = sink = Sink()
        note = timed(job["seconds"], shell.run, source)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        note = "; ".join([*shell.notes, note])[-2 * MESSAGE :].strip("; ")
        report(cell=number, note=note, printed=sink.count if sink.count > PRINTED else 0)
        orders.readline()  # to go on

    report(cells="done")

    def run_test(test) -> None:
        with beginning.again():
            call(test, shell.user_ns)

    endless: dict[str, str] = {}  # an answer that ran too long once is not waited for again
    while order := json.loads(orders.readline()):
        exercise, number, source = order
        defined: dict = {}
        exec(compile(source, "<test>", "exec"), defined)
        [test] = [thing for name, thing in defined.items() if name.startswith("test_")]
        report(begins=[exercise, number])
        sys.stdout = sys.stderr = Sink()
        note = endless.get(exercise) or timed(job["seconds"], run_test, test)
        if note.startswith(ENDLESS):
            endless[exercise] = note
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        report(test=[exercise, number], note=note)
    report(tests="done")
    os._exit(0)  # threads that a student left behind are not waited for


if __name__ == "__main__":
    main()
