"""A student's code in its own process: whatever it does, the other answers count, and a note says what happened."""

import socket
import tracemalloc
from dataclasses import replace

import psutil
import pytest

from labkit.classroom import landlock, sandbox
from submissions import SQUARE, TWICE

LIMITS = sandbox.Limits(seconds=20, all_seconds=120, memory=2**30, file_bytes=2**20)
ONE_SECOND = replace(LIMITS, seconds=1)  # for what never ends; on a busy machine anything else may need more

STUBBORN = """import time
while True:
    try:
        while True:
            time.sleep(0.01)
    except BaseException:
        caught = True"""
WRITE = """import os
def with_pipes(do):
    for fd in range(3, 20):
        try:
            do(fd)
        except OSError:
            pass
def write(line):
    with_pipes(lambda fd: os.write(fd, line))
"""

ENDLESS = {
    "an infinite loop": ("while True: pass", "more than 1 s"),
    "an infinite loop that catches all errors": (STUBBORN, "more than 1 s"),
}
HOSTILE = ENDLESS | {
    "a memory bomb": ("held = []\nwhile True: held.append(bytearray(10**8))", "more memory"),
    "sys.exit": ("import sys\nsys.exit(0)", "called exit"),
    "os._exit": ("import os\nos._exit(0)", "ended the whole process"),
    "a signal to itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "ended the whole process"),
    "a signal to its group": ("import os, signal\nos.killpg(0, signal.SIGKILL)", "ended the whole process"),
    "a syntax error": ("def twice(x)\n    return x", "SyntaxError"),
    "an error": ("1 / 0", "ZeroDivisionError"),
    "megabytes of output": ("print('x' * 10**7)\nprint('x' * 10**6)", "printed 11,000,002 characters"),
    "output past Python": ("import os\nos.write(1, b'x' * 10**6)", None),
    "a large file": ("open('large', 'wb').write(b'x' * 10**7)", "OSError"),
    "a file of the grader": ("text = open('autograder.zip').read()", "FileNotFoundError"),
    "a forged result": (WRITE + """write(b'\\n{"test": ["square", 0], "note": ""}\\n')""", None),
    "forged notes": (
        WRITE + """for i in range(10**4): write(b'\\n{"cell": 1, "note": "forged %d", "printed": 0}\\n' % i)""",
        "forged 0",
    ),
    "a question to the user": ("input('name?')", "EOFError"),
    "a thread that stays": ("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()", None),
    "a child that stays": ("import subprocess\nsubprocess.Popen(['sleep', '1000'])", None),
    "a hundred children": (
        "import subprocess\nfor _ in range(100): subprocess.Popen(['sleep', '1000'])",
        "more than 32 processes",
    ),
    "children without end": (
        "import subprocess\nwhile True: subprocess.Popen(['sleep', '1000'])",
        "more than 32 processes",
    ),
    "many files": ("for i in range(300): open(str(i), 'wb').truncate(2**20)", "more than 256 MB"),
    "folders in folders": ("import os\nfor _ in range(1500):\n    os.mkdir('in')\n    os.chdir('in')", None),
    "a changed library": ("import builtins\nbuiltins.len = None", None),
    "a shell line": ("!pip install nothing\n%time 1", "passed over: a line for the shell, pip install nothing"),
    "a shell cell": ("%%bash\nrm -rf *", "is not run here"),
    "words that are no text": ("raise ValueError('\\ud800')", "ValueError"),
    "a forged end": (WRITE + """write(b'\\n1\\n{"begins": null}\\n' + b'[' * 10000 + b'\\n')""", None),
    "Colab's own module": ("from google.colab import drive", "ModuleNotFoundError"),
}


def passed(outcome: sandbox.Outcome) -> dict[str, list[bool]]:
    return {name: [not results[i] for i in sorted(results)] for name, results in sorted(outcome.passed.items())}


@pytest.mark.parametrize("deed", HOSTILE)
def test_the_answers_beside_a_hostile_cell_count_and_a_note_says_what_it_did(small, deed):
    cell, note = HOSTILE[deed]
    limits = ONE_SECOND if deed in ENDLESS else LIMITS
    outcome = sandbox.run([TWICE, cell, "def square(x):\n    return 0"], small.sources, limits)
    assert passed(outcome) == {"square": [False, False], "twice": [True, True]}
    assert len(outcome.notes) == bool(note)
    assert not note or (note in outcome.notes[0] and outcome.notes[0].startswith("cell 2"))


@pytest.mark.parametrize(
    ("answer", "said", "limits"),
    [
        ("while True: pass", "more than 1 s", ONE_SECOND),
        ("import os; os._exit(0)", "ended the whole process", LIMITS),
        ("import sys; sys.exit(0)", "called exit", LIMITS),
        ("return [0] * 10**10", "more memory", LIMITS),
        ("return twice(x)", "RecursionError", LIMITS),
        (
            "import subprocess\n    for _ in range(40): subprocess.Popen(['sleep', '1000'])\n    return 2 * x",
            "more than 32",
            LIMITS,
        ),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", LIMITS),
    ],
)
def test_an_answer_that_fails_when_it_is_called_costs_its_own_points_only(small, answer, said, limits):
    outcome = sandbox.run([SQUARE, f"def twice(x):\n    {answer}"], small.sources, limits)
    assert passed(outcome) == {"square": [True, True], "twice": [False, False]}
    assert all(said in problem for problem in outcome.passed["twice"].values())


def test_an_endless_answer_is_waited_for_once_whatever_it_catches(small):
    limits = replace(ONE_SECOND, all_seconds=12)
    answer = "def twice(x):\n" + "".join(f"    {line}\n" for line in STUBBORN.splitlines())
    outcome = sandbox.run([answer, SQUARE], small.sources, limits)
    assert passed(outcome) == {"square": [True, True], "twice": [False, False]}


LATER = "\n# %%\n"  # between two cells
CHANGED = """import decimal, locale, math, os, random, sys, warnings
import numpy as np
import torch
def twice(x):
    return x + x
def change():
    torch.set_default_dtype(torch.float64), torch.set_default_device("meta"), torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True), torch.set_flush_denormal(True)
    for mode in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu")):
        mode.__enter__()
    np.seterr(all="raise"), warnings.simplefilter("error"), locale.setlocale(locale.LC_ALL, "C")
    os.chdir("/usr"), decimal.getcontext().__setattr__("prec", 2), random.seed(1)
    math.log, torch.zeros, sys.modules["math"] = math.log2, None, None
change()
square = lambda x: change() or x * x
"""
UNCHANGED = """def test_{name}({name}):
    import math, os, random, tabnanny, warnings
    from decimal import Decimal
    import numpy as np
    import torch
    warnings.warn("is no error")
    assert np.ones(1) / 0 == np.inf and os.getcwd() != "/usr" and str(Decimal(1) / 3) == "0." + 28 * "3"
    assert math.log(math.e) == 1 and random.random() == random.Random(0).random()
    weight = torch.ones(2, requires_grad=True)
    assert torch.zeros(1).dtype == torch.float32 and torch.zeros(1).device.type == "cpu"
    assert (2 * weight).requires_grad and not torch.is_inference(2 * weight)
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32 and torch.tensor(1e-40) * 1 > 0
    assert torch.get_num_threads() == 1 and not torch.are_deterministic_algorithms_enabled()
    assert {name}(3) in (6, 9)

"""


@pytest.mark.parametrize(
    "cell",
    [
        f"from __future__ import annotations{LATER}def twice(x: Nowhere) -> Nothing:\n    return 2 * x",
        f"def f(x):\n    return 2 * x{LATER}import inspect\nexec(inspect.getsource(f).replace('def f', 'def twice'))",
        f"%%writefile helper.py\ndef twice(x):\n    return 2 * x{LATER}from helper import *",
        f"2{LATER}_ + 1{LATER}def twice(x):\n    assert (Out[1], _2, In[1]) == (2, 3, '2')\n    return 2 * x",
        f"import asyncio\nasync def g(x):\n    return 2 * x{LATER}task = asyncio.create_task(g(3)); await g(1)"
        f"{LATER}assert await task == 6{LATER}def twice(x):\n    return asyncio.run(g(x))",
        "get_ipython().run_line_magic('time', 'two = 2')\n%matplotlib inline\ndef twice(x):\n    return two * x",
        "import functools, operator\ntwice = functools.partial(operator.mul, 2)",
        "from IPython.display import HTML, display\ndisplay(HTML('x'))\nif True:\n    twice = lambda x: 2 * x",
        "class twice(int):\n    def __new__ (cls, x):\n        return 2 * x",
        "%%capture\ndef twice (x):\n    return 2 * x",
        "%%time\ndef twice(x):\n    return 2 * x",
        "def twice(x):\n    display(x)\n    return (4 * x\n    % (4 * x + 1)\n    ) // 2",
        "import pickle\nclass Held:\n    pass\npickle.dumps(Held())\ndef twice(x: int):\n    return 2 * x",
        "def twice(x: int):\n    return 2 * x\nassert twice.__annotations__ == {'x': int}",
        "len?\ndef twice(x):\n    return 2 * x",
        "%time two = 2\ndef twice(x):\n    return two * x",
        "import asyncio\nawait asyncio.sleep(0)\ndef twice(x):\n    return 2 * x",
    ],
)
def test_what_runs_in_a_notebook_runs_here(small, cell):
    outcome = sandbox.run(cell.split(LATER), small.sources, LIMITS)
    assert outcome.notes == [] and passed(outcome)["twice"] == [True, True]


def test_what_is_not_here_costs_itself_and_the_rest_of_its_cell_runs(small):
    cell = "from google.colab import drive\ndrive.mount('/content/drive')\nimport math\n!pip install it\n%load_ext it"
    cell += "\nfiles = !ls\ndef twice(x):\n    return math.floor(2 * x) + len(files)"
    outcome = sandbox.run([cell], small.sources, LIMITS)
    assert passed(outcome)["twice"] == [True, True]
    [note] = outcome.notes
    for word in ("No module named 'google'", "'drive' is not defined", "pip install it", "%load_ext it", "shell, ls"):
        assert word in note


def test_what_a_cell_or_an_answer_changes_for_all_code_is_as_before_in_each_test():
    tests = {name: UNCHANGED.format(name=name) for name in ("square", "twice")}
    outcome = sandbox.run(["%%writefile tabnanny.py\nraise ImportError", CHANGED], tests)
    assert outcome.notes == [] and outcome.passed == {"square": {0: ""}, "twice": {0: ""}}


def test_an_error_is_never_taken_for_a_word_of_the_process_itself(small):
    name = "ran for more than 6 s and was stopped"
    cell = f"class E(Exception):\n    pass\nE.__name__ = E.__qualname__ = {name!r}\ndef twice(x):\n    raise E"
    said = sandbox.run([cell], small.sources, LIMITS).passed["twice"]
    assert said == {0: f"an error: {name}", 1: f"an error: {name}"}


def test_an_answer_that_is_missing_or_has_failed_is_told_so(small):
    said = sandbox.run(["1 / 0\n" + TWICE, SQUARE], small.sources, LIMITS).passed["twice"]
    assert said[0] == "NameError: twice is not defined: its cell is missing, or stopped with an error"


@pytest.mark.parametrize("line", ["b'x' * 2**16", """b'\\n{"cell": 1, "note": "%d", "printed": 0}\\n' % os.getpid()"""])
def test_what_code_writes_without_end_ends_and_does_not_fill_the_graders_memory(small, line):
    tracemalloc.start()
    cell = WRITE + STUBBORN.replace("time.sleep(0.01)", f"write({line})")
    outcome = sandbox.run([TWICE, cell], small.sources, ONE_SECOND)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert passed(outcome)["twice"] == [True, True] and most < 2**23


def test_code_that_pretends_to_be_done_and_does_not_take_the_tests_is_ended(small):
    narrow = "import fcntl\nwith_pipes(lambda fd: fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 4096))\n"
    done = """write(b'\\n{"cells": "done"}\\n')\n"""
    outcome = sandbox.run([TWICE, WRITE + narrow + done + STUBBORN], small.sources | {"long": "#" * 10**5}, ONE_SECOND)
    assert passed(outcome)["twice"] == [True, True]


def test_all_processes_together_have_the_memory_of_one(small):
    limits = replace(LIMITS, memory=2**28)
    child = "if not os.fork():\n        held = b'x' * 10**8\n        time.sleep(9)"
    cell = f"import os, time\nfor _ in range(4):\n    {child}\ntime.sleep(4)"
    outcome = sandbox.run([TWICE, cell], small.sources, limits)
    assert passed(outcome)["twice"] == [True, True]
    assert outcome.notes == ["cell 2: needed more memory than there is for an answer"]


@pytest.mark.parametrize("where", ["cwd='.'", "cwd='/usr'"])
@pytest.mark.parametrize("then", ["pass", "os._exit(0)"])
def test_a_child_that_left_its_group_is_ended_too(small, where, then):
    cell = f"import os, subprocess\nsubprocess.Popen(['sleep', '1234'], start_new_session=True, {where})\n{then}"
    sandbox.run([cell], small.sources, LIMITS)
    assert not [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.info["cmdline"] == ["sleep", "1234"] and p.is_running() and p.status() != psutil.STATUS_ZOMBIE
    ]


def test_all_the_time_together_is_limited_and_what_was_graded_before_counts(small):
    limits = replace(LIMITS, seconds=2, all_seconds=3)
    outcome = sandbox.run(["while True: pass"] * 4 + [TWICE], small.sources, limits)
    assert outcome.passed == {} and "after 3 s in all" in outcome.notes[-1]


def test_nothing_of_the_teachers_environment_is_seen(small, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    cell = "import os\nassert 'SECRET_TOKEN' not in os.environ\nassert os.listdir() == []"
    assert sandbox.run([cell], small.sources, LIMITS).notes == []


OF_SOMEBODY_ELSE = {
    "reads": "open({file!r}).read()",
    "overwrites": "open({file!r}, 'w').write('mine')",
    "deletes": "import os\nos.remove({file!r})",
    "renames": "import os\nos.rename({file!r}, 'mine')",
    "lists the folder of": "import os\nos.listdir(os.path.dirname({file!r}))",
    "lets another program read": "import subprocess\nsubprocess.run(['cat', {file!r}], check=True)",
}


@pytest.mark.skipif(landlock.version() < 6, reason="this kernel has no Landlock, or an older one")
@pytest.mark.parametrize("deed", OF_SOMEBODY_ELSE)
def test_code_that_wants_a_file_of_somebody_else_is_refused(small, tmp_path, deed):
    file = tmp_path / "somebody's.ipynb"
    file.write_text("theirs")
    outcome = sandbox.run([TWICE, OF_SOMEBODY_ELSE[deed].format(file=str(file))], small.sources, LIMITS)
    assert passed(outcome)["twice"] == [True, True] and len(outcome.notes) == 1
    assert "PermissionError" in outcome.notes[0] or "non-zero exit" in outcome.notes[0]
    assert file.read_text() == "theirs"


@pytest.mark.skipif(landlock.version() < 6, reason="this kernel has no Landlock, or an older one")
@pytest.mark.parametrize(
    "cell", ["import os\nos.kill(os.getppid(), 9)", "import socket\nsocket.create_connection(('127.0.0.1', {port}))"]
)
def test_other_processes_and_the_network_are_out_of_reach(small, cell):
    with socket.create_server(("127.0.0.1", 0)) as server:
        outcome = sandbox.run([TWICE, cell.format(port=server.getsockname()[1])], small.sources, LIMITS)
    assert passed(outcome)["twice"] == [True, True]
    assert "PermissionError" in outcome.notes[0]


def test_its_own_folder_can_be_written_and_read(small):
    cell = "open('mine', 'w').write('1')\nassert open('mine').read() == '1'\nimport tempfile\ntempfile.mkdtemp()"
    assert sandbox.run([cell], small.sources, LIMITS).notes == []


def test_what_a_students_code_is_kept_from_is_said(monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert "Otter's containers" in sandbox.protection()
    monkeypatch.setattr(landlock, "version", lambda: 6)
    assert "your files, TCP connections, other processes" in sandbox.protection()


def test_the_tests_are_nowhere_in_the_process_while_the_cells_run(small):
    found = "[x for x in gc.get_objects() if isinstance(x, dict) and 'test' + '_three' in str(x.values())]"
    cell = f"import gc\nfound = {found}"
    assert sandbox.run([cell + "\nassert not found"], small.sources, LIMITS).notes == []
