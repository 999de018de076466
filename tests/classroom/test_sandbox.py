"""A student's code in its own process: whatever it does, the other answers count, and a note says what happened."""

import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from labkit.classroom import landlock, sandbox, seccomp
from submissions import SQUARE, TWICE

SHARED = "/tmp"  # whatever TMPDIR says: every process knows this folder
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


def has_own_shared_memory() -> bool:
    code = "import landlock; print(landlock.own_shared_memory())"
    folder = Path(landlock.__file__).parent
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True).stdout == "True\n"


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


@pytest.mark.skipif(not has_own_shared_memory(), reason="this Linux gives no namespace")
def test_processes_share_work_in_a_memory_that_nobody_else_sees(small):
    cell = "import multiprocessing\nfrom pathlib import Path\nPath('/dev/shm/mine').write_text('1')\n"
    cell += "def double(x):\n    return 2 * x\ndef twice(x):\n"
    cell += "    with multiprocessing.Pool(2) as pool:\n        return pool.map(double, [x])[0]"
    outcome = sandbox.run([cell], small.sources, LIMITS)
    assert outcome.notes == [] and passed(outcome)["twice"] == [True, True]
    assert not Path("/dev/shm/mine").exists()


def test_a_data_loader_reads_without_workers(small):
    cell = "import torch\nfrom torch.utils.data import DataLoader\ndef twice(x):\n"
    cell += "    return sum(part.sum().item() for part in DataLoader(torch.tensor([x, x]), num_workers=2))"
    outcome = sandbox.run([cell], small.sources)
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


def test_the_moment_at_which_a_hidden_test_ends_is_no_message_to_a_cell(small):
    """The process ends in a hidden test, later than a certain time; the next one's cell could say so in its note."""
    at = time.time() + 4
    answer = f"import os, time\ndef twice(x):\n    time.sleep(max(0, {at} - time.time()))\n    os._exit(0)"
    late = f"import time\nif time.time() > {at}:\n    raise ValueError('it was asked')"
    hidden = {sandbox.TestStep("twice", number) for number in range(2)}
    outcome = sandbox.run([answer, late], small.sources, LIMITS, hidden)
    assert not any("it was asked" in note for note in outcome.notes)
    assert not passed(outcome)["twice"][0]


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


walled = pytest.mark.skipif(
    landlock.version() < 6 or not seccomp.available(), reason="this Linux is older, or of another CPU"
)
CALL = """import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*given):
    if (result := libc.syscall(*given)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""
TO_A_FILE_OF_SOMEBODY_ELSE = {
    "reads it": "open({file!r}).read()",
    "overwrites it": "open({file!r}, 'w').write('mine')",
    "opens it to read, which empties it": "import os\nos.open({file!r}, os.O_TRUNC)",
    "empties a package's": "import json, os\nos.open(json.__file__, os.O_TRUNC)",
    "truncates it": "import os\nos.truncate({file!r}, 0)",
    "deletes it": "import os\nos.remove({file!r})",
    "renames it": "import os\nos.rename({file!r}, 'mine')",
    "links to it": "import os\nos.link({file!r}, 'mine')",
    "lists its folder": "import os\nos.listdir(os.path.dirname({file!r}))",
    "lets another program read it": "import subprocess\nsubprocess.run(['cat', {file!r}], check=True)",
    "gives it away": "import os\nos.chown({file!r}, os.getuid(), os.getgid())",
    "changes its times": "import os\nos.utime({file!r}, (1, 1))",
    "names it in an attribute": "import os\nos.setxattr({file!r}, 'user.mine', b'1')",
    "watches it": CALL + "call(NUMBER['inotify_init1'], 0)",
    "writes beside its folder": f"open('{SHARED}/mine', 'w')",
}
TO_SOMEBODY_ELSES_PROCESS = {
    "ends it": "import os\nos.kill({pid}, 9)",
    "ends it by its descriptor": "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open({pid}), 9)",
    "ends what watches over itself": "import os\nos.kill(os.getppid(), 9)",
    "limits it": "import resource\nresource.prlimit({pid}, resource.RLIMIT_CPU, (1, 1))",
    "slows it": "import os\nos.setpriority(os.PRIO_PROCESS, {pid}, 10)",
    "slows all of the user": "import os\nos.setpriority(os.PRIO_USER, 0, 10)",
    "schedules it": "import os\nos.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
    "moves it to a core": "import os\nos.sched_setaffinity({pid}, [0])",
    "slows its files": CALL + "call(NUMBER['ioprio_set'], 1, {pid}, 3 << 13)",
    "has it signalled by a file": "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, {pid})",
    "has it signalled by a socket": "import fcntl, socket, struct\n"
    "fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack('i', {pid}))",
    "reads how it was called": "open('/proc/{pid}/cmdline').read()",
    "reads its environment": "open('/proc/{pid}/environ').read()",
    "reads its memory": "open('/proc/{pid}/mem', 'rb').read()",
    "writes its memory": CALL + "call(NUMBER['process_vm_writev'], {pid}, 0, 0, 0, 0, 0)",
    "traces it": CALL + "call(NUMBER['ptrace'], 16, {pid}, 0, 0)",
    "takes its files": CALL + "call(NUMBER['pidfd_getfd'], os.pidfd_open({pid}), 0, 0)",
    "lets memory run out there first": "open('/proc/{pid}/oom_score_adj', 'w').write('1000')",
    "lists all": "import os\nos.listdir('/proc')",
}
TO_WHAT_ALL_SHARE = {
    "a TCP connection": "import socket\nsocket.create_connection(('127.0.0.1', {port}))",
    "a TCP server": "import socket\nsocket.create_server(('127.0.0.1', 0))",
    "a datagram": "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendto(b'mine', ('127.0.0.1', {port}))",
    "a socket with a path": "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "a socket with a name": "import socket\nsocket.socket(socket.AF_UNIX).bind(b'\\0mine')",
    "a pair from which a datagram goes anywhere": "import socket\nsocket.socketpair(type=socket.SOCK_DGRAM)",
    "a pair of raw sockets": "import socket\nsocket.socketpair(type=socket.SOCK_RAW)",
    "shared memory": CALL + "call(NUMBER['shmget'], 4711, 4096, 0o1666)",
    "semaphores": CALL + "call(NUMBER['semget'], 4711, 1, 0o1666)",
    "messages": CALL + "call(NUMBER['msgget'], 4711, 0o1666)",
    "a queue": CALL + "call(NUMBER['mq_open'], b'mine', 0o102, 0o600, 0)",
    "a key": CALL + "call(NUMBER['add_key'], b'user', b'mine', b'1', 1, -4)",
    "flags of a package's file": "import fcntl, json, struct\n"
    "fcntl.ioctl(open(json.__file__), 0x40086602, struct.pack('=q', 0x80))",
    "a terminal": "import os\nos.openpty()",
    "a lease, which lets nobody else open a file": "import fcntl, json\nfcntl.fcntl(open(json.__file__), 1024, 1)",
    "all timers of a user": "import ctypes\nlibc = ctypes.CDLL(None)\nfor _ in range(10**4):\n"
    "    if libc.timer_create(0, None, ctypes.byref(ctypes.c_void_p())): raise PermissionError",
    "all of the machine's requests for files": CALL + "call(NUMBER['io_setup'], 10, ctypes.byref(ctypes.c_ulong()))",
    "a ring that passes by the filter": CALL + "call(NUMBER['io_uring_setup'], 4, ctypes.create_string_buffer(200))",
    "a namespace": CALL + "call(NUMBER['unshare'], 0x10000000)",
    "a process in a namespace": CALL + "call(NUMBER['clone'], 0x10000011, 0, 0, 0, 0) or os._exit(0)",
    "a higher priority": "import os\nos.setpriority(os.PRIO_PROCESS, 0, -5)",
    "another user": "import os\nos.setuid(4711)",
    "the machine's name": "import socket\nsocket.sethostname('mine')",
    "passwords": "open('/etc/shadow').read()",
}


def numbers() -> str:
    """The numbers of system calls on this machine, as a cell."""
    column = list(seccomp.MACHINES).index(platform.machine())
    conditional = {name: numbers for name, (numbers, _) in seccomp.ALLOWED_IF.items()}
    return f"NUMBER = { ({name: each[column] for name, each in (seccomp.REFUSED | conditional).items()}) }"


@pytest.fixture
def somebody_else(tmp_path):
    """A file and a process that no student's code may change, and a server; what they are is compared afterwards."""
    file = tmp_path / "somebody's.ipynb"
    file.write_text("theirs")
    process = subprocess.Popen(["sleep", "1000"])

    def state() -> tuple:
        at, pid = file.stat(), process.pid
        scheduled = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid), os.sched_getaffinity(pid)
        limited = resource.prlimit(pid, resource.RLIMIT_CPU), process.poll()
        shared = [Path("/proc/sysvipc", kind).read_text().count("\n") for kind in ("shm", "sem", "msg")]
        made = [path for path in (f"{SHARED}/mine", "/dev/shm/mine") if Path(path).exists()]
        about = file.read_text(), at.st_mode, at.st_mtime, at.st_uid, at.st_gid, at.st_nlink, os.listxattr(file)
        return about, scheduled, limited, shared, made, Path(f"/proc/{pid}/oom_score_adj").read_text()

    before = state()
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {"file": str(file), "pid": process.pid, "port": server.getsockname()[1]}
    assert state() == before
    process.kill()
    process.wait()


@walled
@pytest.mark.parametrize("deed", [*TO_A_FILE_OF_SOMEBODY_ELSE, *TO_SOMEBODY_ELSES_PROCESS, *TO_WHAT_ALL_SHARE])
def test_what_would_change_somebody_else_is_refused(small, somebody_else, deed):
    cell = (TO_A_FILE_OF_SOMEBODY_ELSE | TO_SOMEBODY_ELSES_PROCESS | TO_WHAT_ALL_SHARE)[deed]
    for name, value in somebody_else.items():
        cell = cell.replace(f"{{{name}!r}}", repr(value)).replace(f"{{{name}}}", str(value))
    outcome = sandbox.run([TWICE, numbers(), cell], small.sources, LIMITS)
    assert passed(outcome)["twice"] == [True, True]
    [note] = outcome.notes
    assert re.search("PermissionError|non-zero exit|cross-device link", note) and note.startswith("cell 3")


@walled
def test_permissions_are_not_changed_and_no_error_is_made_of_it(small, somebody_else):
    change = f"import json, os, shutil\nos.chmod({somebody_else['file']!r}, 0)\nos.fchmod(os.open(json.__file__, 0), 0)"
    cell = "open('mine', 'w').write('1')\nshutil.copy('mine', 'copy')\nassert open('copy').read() == '1'"
    at = Path(json.__file__).stat().st_mode
    assert sandbox.run([change, cell], small.sources, LIMITS).notes == []
    assert Path(json.__file__).stat().st_mode == at


@walled
def test_what_the_filter_does_not_know_is_not_there(small):
    """Calls that are younger than the filter, and those of another kind of program."""
    found = "try:\n    call({})\nexcept OSError as error:\n    assert error.errno == 38\nelse:\n    assert False\n"
    numbers = (seccomp.NEWER, 10**4, 0x40000000 + 39, 435)
    cell = CALL + "".join(found.format(number) for number in numbers)
    assert sandbox.run([cell], small.sources, LIMITS).notes == []


@pytest.mark.skipif(not seccomp.available(), reason="this kernel has no filter, or is of another CPU")
def test_where_landlock_keeps_no_signals_in_the_filter_lets_those_to_itself_pass_and_no_others(somebody_else):
    code = f"""import os, signal, sys
sys.path.insert(0, {str(Path(seccomp.__file__).parent)!r})
import seccomp
seccomp.restrict(signals=False)
got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
me, other = os.getpid(), {somebody_else["pid"]}
os.kill(me, 10), os.kill(0, 10), os.killpg(me, 10), signal.raise_signal(10)
assert len(got) == 4
for send in (lambda: os.kill(other, 9), lambda: os.killpg(other, 9), lambda: os.kill(-1, 0), lambda: os.kill(1, 0),
             lambda: os.kill(os.getppid(), 9), lambda: signal.pidfd_send_signal(os.pidfd_open(other), 9)):
    try:
        send()
    except PermissionError:
        continue
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, start_new_session=True)


@walled
def test_threads_programs_and_pairs_of_sockets_are_there(small):
    cell = """import asyncio, os, resource, socket, subprocess, threading
from concurrent.futures import ThreadPoolExecutor
assert list(ThreadPoolExecutor(4).map(abs, range(-3, 0))) == [3, 2, 1]
assert subprocess.run(['echo', '1'], capture_output=True, text=True).stdout == '1\\n'
if not (child := os.fork()): os._exit(3)
assert os.waitpid(child, 0)[1] >> 8 == 3
a, b = socket.socketpair()
a.send(b'1')
assert b.recv(1) == b'1'
os.nice(1)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
open('/proc/self/status').read(), open('/proc/cpuinfo').read()"""
    assert sandbox.run([cell], small.sources, LIMITS).notes == []


EXIT = "import os, threading\nthreading.Timer({}, os._exit, [0]).start()"
WAIT = "import time\ntime.sleep(0.2)\n"


@pytest.mark.parametrize(
    ("cells", "guilty"),
    [
        ([TWICE, EXIT.format(0.3), WAIT + SQUARE, WAIT], [2]),
        ([EXIT.format(0.3), WAIT + TWICE, WAIT + SQUARE], [1]),
        ([TWICE, "import os\nos._exit(0)", SQUARE, "import os\nos._exit(0)"], [2, 4]),
        ([TWICE, EXIT.format(0.3), WAIT + SQUARE, WAIT, EXIT.format(0.3), WAIT, WAIT], [2, 5]),
        ([TWICE, EXIT.format(0.6), SQUARE.replace(":\n", ":\n    import time\n    time.sleep(0.4)\n")], [2]),
    ],
)
def test_what_ends_the_process_later_costs_the_cell_that_started_it(small, cells, guilty):
    outcome = sandbox.run(cells, small.sources, LIMITS)
    assert passed(outcome) == {"square": [True, True], "twice": [True, True]}
    assert outcome.notes == [f"cell {number}: {sandbox.DIED}" for number in guilty]


def test_children_that_come_later_cost_the_cell_that_started_them(small):
    later = "import subprocess, threading\nthreading.Timer(0.2, lambda: [{} for _ in range(40)]).start()"
    cells = [TWICE, later.format("subprocess.Popen(['sleep', '99'])"), WAIT * 5 + SQUARE]
    outcome = sandbox.run(cells, small.sources, LIMITS)
    assert passed(outcome) == {"square": [True, True], "twice": [True, True]}
    assert outcome.notes == ["cell 2: started more than 32 processes and was stopped"]


def test_an_answer_that_another_one_ended_is_tried_again(small):
    twice = TWICE.replace(":\n", f":\n    {EXIT.format(0.2).replace(chr(10), '; ')}\n")
    square = SQUARE.replace(":\n", ":\n    import time\n    time.sleep(0.4)\n")
    assert passed(sandbox.run([twice, square], small.sources, LIMITS))["square"] == [True, True]


def test_its_own_folder_can_be_written_and_read(small):
    cell = "open('mine', 'w').write('1')\nassert open('mine').read() == '1'\nimport tempfile\ntempfile.mkdtemp()"
    assert sandbox.run([cell], small.sources, LIMITS).notes == []


@pytest.mark.parametrize(
    ("kernel", "filtered", "kept", "open_"),
    [
        (0, False, [], ["files outside", "permissions", "network", "signals"]),
        (0, True, ["permissions", "network", "signals"], ["files outside"]),
        (1, True, ["files outside", "permissions", "network", "signals"], []),
        (2, False, [], ["files outside", "permissions", "network", "signals"]),
        (4, False, ["files outside"], ["permissions", "network", "signals"]),
        (6, False, ["files outside", "signals"], ["permissions", "network"]),
        (7, True, ["files outside", "permissions", "network", "signals"], []),
    ],
)
def test_which_walls_stand_is_said_and_what_is_open(monkeypatch, kernel, filtered, kept, open_):
    monkeypatch.setattr(landlock, "version", lambda: kernel)
    monkeypatch.setattr(seccomp, "available", lambda: filtered)
    said = sandbox.protection()
    assert [line.startswith("OPEN") for line in said] == [False] * bool(kept) + [True] * bool(open_)
    assert all(word in said[0] for word in kept) and all(word in said[-1] for word in open_)
    assert not any(word in said[-1] for word in kept) or not open_


def test_the_tests_are_nowhere_in_the_process_while_the_cells_run(small):
    found = "[x for x in gc.get_objects() if isinstance(x, dict) and 'test' + '_three' in str(x.values())]"
    cell = f"import gc\nfound = {found}"
    assert sandbox.run([cell + "\nassert not found"], small.sources, LIMITS).notes == []
