"""Grade a class of 200 strange and hostile submissions of one small assignment, twice.

    python -m pytest -s tests/rehearsals/class_of_200.py

It is no part of the tests, for it takes its time. Half are the kinds of tests/classroom, half stand here. Prints what
took how long; fails if a score is not the expected one, if a file is missing from the results, if grading again gives
another scores.csv, or if a submission takes more than 3 s on average.
"""

import csv
import json
import os
import re
import time
from pathlib import Path

from classroom import conftest, test_grade, test_sandbox
from labkit.classroom import assign, grade, sandbox
from submissions import SQUARE, TWICE, notebook

LIMITS = sandbox.Limits(seconds=4, all_seconds=60, memory=2**30, file_bytes=2**20)
CTYPES = "import ctypes\nlibc = ctypes.CDLL(None)\n"
SIGNAL = "import os, signal, threading, time\n"

CELLS = {  # beside two right answers: 6 points
    # ends, at once and later
    "segfault": CTYPES + "ctypes.string_at(0)",
    "abort": "import os\nos.abort()",
    "exec of another program": "import os\nos.execv('/bin/true', ['true'])",
    "exec of a program that stays": "import os\nos.execv('/bin/sleep', ['sleep', '1000'])",
    "stack overflow": "import sys\nsys.setrecursionlimit(10**8)\ndef f(): return f()\nf()",
    "stopped": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "stops its group": "import os, signal\nos.killpg(0, signal.SIGSTOP)",
    "kills all that it can": "import os\nos.kill(-1, 9)",
    "parent's death signal": CTYPES
    + "import os\nos.kill(os.getpid(), 9) if libc.prctl(1, 9, 0, 0, 0) else os._exit(1)",
    "filter of its own": CTYPES + "libc.prctl(22, 1, 0, 0, 0)\nimport os\nos.getpid()",
    "timer": SIGNAL + "threading.Timer(0.2, os._exit, [0]).start()",
    "timer of the kernel": SIGNAL + "signal.signal(signal.SIGVTALRM, signal.SIG_DFL)\n"
    "signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)\nfor _ in range(10**7): pass",
    "child that kills its parent": "import os, time\nif not os.fork():\n    time.sleep(0.2)\n"
    "    os.kill(os.getppid(), 9)\n    os._exit(0)\ntime.sleep(0.3)",
    "exit in a thread": SIGNAL + "threading.Thread(target=lambda: exit()).start()",
    "at exit": "import atexit, os\natexit.register(os._exit, 1)",
    "exit with words": "raise SystemExit('=1+1\\rzoe')",
    # time
    "a pattern that takes for ever": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "a sum that takes for ever": "sum(range(10**11))",
    "alarm switched off": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass",
    "alarm ignored": "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass",
    "alarm blocked": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\nwhile True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "waits for a child": "import os\nif not os.fork():\n    while True: pass\nos.wait()",
    "waits for itself": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "busy threads": "import threading\ndef spin():\n    while True: pass\n"
    "[threading.Thread(target=spin, daemon=True).start() for _ in range(3)]",
    "busy children": "import os\nfor _ in range(20):\n    if not os.fork():\n        while True: pass",
    "sleeping threads": "import threading, time\n"
    "[threading.Thread(target=time.sleep, args=(1000,), daemon=True).start() for _ in range(50)]",
    # space
    "2 TB of nothing": "open('sparse', 'wb').truncate(2**41)",
    "memory mapped": "import mmap\nheld = [mmap.mmap(-1, 2**28) for _ in range(100)]",
    "a file in memory": "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, b'x' * 10**6)",
    "all descriptors": "import os\nheld = []\nwhile True: held.append(os.pipe())",
    "large pipes": "import fcntl, os\nheld = [os.pipe() for _ in range(100)]\n"
    "[fcntl.fcntl(w, 1031, 2**20) for _, w in held]",
    "a number of a million digits": "10 ** 10**6",
    "a number of endless digits": "9 ** 9 ** 9 ** 9",
    "a string of 10 GB": "'x' * 10**10",
    "an error of 100 MB": "raise ValueError('x' * 10**8)",
    "empty files": "for i in range(3000): open(f'{i}', 'w')",
    "links in a ring": "import os\nos.symlink('b', 'a')\nos.symlink('a', 'b')\nos.symlink('/', 'root')",
    "pipes in its folder": "import os\nos.mkfifo('pipe')",
    "a folder that none may list": "import os\nos.mkdir('locked', 0o300)\nos.mkdir('locked/in')",
    "its folder is gone": "import os\nos.rmdir(os.getcwd())",
    "elsewhere": "import os\nos.chdir('/usr')",
    "names of files": "open('=1+1\\r\\n', 'w')\nopen('x' * 255, 'w')\nopen('\\udcff', 'w')",
    # what others need
    "descriptors closed": "import os\nos.closerange(3, 5)\nos.closerange(6, 256)",
    "standard streams closed": "import os\nos.closerange(0, 3)",
    "standard streams gone": "import sys\nsys.stdout = sys.stderr = sys.stdin = None",
    "limits lowered": "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "umask": "import os\nos.umask(0o777)",
    "environment cleared": "import os\nos.environ.clear()",
    "path cleared": "import sys\nsys.path.clear()",
    "builtins replaced": "import builtins\nbuiltins.print = builtins.sum = builtins.isinstance = None",
    "hooks": "import sys\nsys.excepthook = sys.unraisablehook = lambda *_: 1 / 0",
    "trace": "import sys\nsys.settrace(lambda *_: None)",
    "profile": "import sys\nsys.setprofile(lambda *_: None)",
    "recursion limit": "import sys\nsys.setrecursionlimit(200)",
    "switch interval": "import sys\nsys.setswitchinterval(100)",
    "collector off": "import gc\ngc.disable()\ngc.freeze()",
    "hash": "import sys\nsys.flags.hash_randomization",
    "json replaced": "import json\njson.dumps = json.loads = None",
    "signal of a child": "import signal\nsignal.signal(signal.SIGCHLD, lambda *_: 1 / 0)\n"
    "import subprocess\nsubprocess.run(['true'])",
    # words
    "an error that has no words": "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
    "an error that exits": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "an error in rows": "raise ValueError('x\\rzoe,01_small,6,6\\n=1+1\\x0b\\u2028;=2')",
    "an error in a terminal": "raise ValueError('\\x1b]0;mine\\x07\\x1b[2J\\u202e')",
    "an error of a page": "raise ValueError('</pre><script>alert(1)</script>')",
    "an error within an error": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError from e",
    "a group of errors": "raise ExceptionGroup('x', [ValueError('a'), ExceptionGroup('y', [KeyError(1)])])",
    "an error of no class": "raise 1",
    "a generator's end": "raise GeneratorExit",
    "a keyboard's": "raise KeyboardInterrupt",
    "a base error": "raise BaseException('x')",
    "warnings": "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('x')",
    "endless words": "import itertools\nfor i in itertools.count(): print('x' * 1000)",
    "words of a thread": "import threading\ndef say():\n    while True: print('x')\n"
    "threading.Thread(target=say, daemon=True).start()",
    # source
    "brackets": "(" * 500 + ")" * 500,
    "a line of 1 MB": "x = '" + "x" * 10**6 + "'",
    "a name of 100,000": "x" * 10**5 + " = 1",
    "tabs and spaces": "if True:\n\tx = 1\n        y = 2",
    "form feeds": "x = 1\n\x0c\ny = 2\r\nz = 3\r",
    "no characters": "\0",
    "half a character": "x = '\ud800'",
    "letters of another width": "ｘ = 1\nassert x == 1",
    "a coding": "# -*- coding: utf-7 -*-\nx = 1",
    "return outside": "return 1",
    "await outside": "import asyncio\nawait asyncio.sleep(0)\nasync with x: pass",
    "a loop in a loop": "import asyncio\nasyncio.run(asyncio.sleep(0))",
    "nothing": "",
    "a magic that is none": "%nothing\n%%nothing\nx",
    "a question": "?\nlen??\n!",
}
NAMES = ["=1+1", "+1", "@a", "-1", "a;=1", "zoe\rzoe", "zoe\nzoe,01_small,6,6", "\x1b[2J", "\u202eeoz", "zoe\u200b"]
NAMES += ["zoe\ufe0f", "\ufeffzoe", os.fsdecode(b"\xff\xfe"), "x" * 240, "ü" * 120, "k.html/k", "k", "K", "<b>k", "'k"]
NAMES += ["a b/c d/e", "..a", "-rf", "$(rm)", "`rm`", "con", "a\\b", "a\\x0db", '"', "0"]


def raw(**more) -> bytes:
    cell = {"cell_type": "code", "source": [f"{TWICE}\n", SQUARE]}
    return json.dumps({"cells": [cell], **more}, ensure_ascii=False).encode("utf-8", "surrogatepass")


FILES = {  # as they are, and the points
    "lines.ipynb": (raw(), 6),
    "bom.ipynb": (b"\xef\xbb\xbf" + raw(), 6),
    "utf-16.ipynb": (raw().decode().encode("utf-16"), 6),
    "twice a key.ipynb": (b'{"cells": [], ' + raw()[1:], 6),
    "not a number.ipynb": (raw(x=float("nan")), 6),
    "number of 5000 digits.ipynb": (raw()[:-1] + b', "x": ' + b"1" * 5000 + b"}", 0),
    "half a character.ipynb": (raw(x="\ud800"), 6),
    "deep.ipynb": (b"[" * 10**5, 0),
    "zeros.ipynb": (b"\0" * 10**6, 0),
    "empty.ipynb": (b"", 0),
    "a list.ipynb": (b"[]", 0),
    "no cells.ipynb": (b"{}", 0),
    "cells of another kind.ipynb": (b'{"cells": {"a": 1}}', 0),
    "sources of another kind.ipynb": (b'{"cells": [{"cell_type": "code", "source": [1]}]}', 0),
    "2000 cells.ipynb": (notebook(TWICE, *["1 / 0"] * 300, SQUARE), 6),
    "another ending.IPYNB": (raw(), 6),
    "as Safari saves it.ipynb.txt": (raw(), 6),
    "no ending": (raw(), 6),
    "an archive.ipynb.zip": (b"PK\3\4", 0),
}


def simulate(folder: Path) -> dict[str, float]:
    """Write the class; return the expected points by the names that scores.csv has."""
    files: dict[str, tuple[bytes, float]] = dict(FILES)
    old = {deed: cell for deed, (cell, _) in test_sandbox.HOSTILE.items()}
    refused = {**test_sandbox.TO_A_FILE_OF_SOMEBODY_ELSE, **test_sandbox.TO_SOMEBODY_ELSES_PROCESS}
    refused |= test_sandbox.TO_WHAT_ALL_SHARE
    ours = {"{file!r}": repr(str(folder / "victim.ipynb")), "{pid}": str(os.getpid()), "{port}": "80"}
    for deed, cell in refused.items():
        for name, value in ours.items():
            cell = cell.replace(name, value)
        old[deed] = f"{test_sandbox.numbers()}\n{cell}"
    for number, (name, cell) in enumerate([*old.items(), *CELLS.items()]):
        code = [{"cell_type": "code", "source": each} for each in (TWICE, cell, SQUARE)]
        files[f"{number:03} {name}.ipynb"] = (json.dumps({"cells": code}).encode(), 6)
    for name, (data, points) in test_grade.CLASS.items():
        files[f"class/{name}.ipynb"] = (data, points)
    for name in NAMES:
        files[f"{name}.ipynb"] = (notebook(TWICE), 3)
    files["victim.ipynb"] = (notebook(TWICE, SQUARE), 6)
    for name, (data, _) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {name.removesuffix(".ipynb"): points for name, (_, points) in files.items()}


def test_every_submission_gets_its_points_and_the_same_again(tmp_path):
    lab = tmp_path / "labs" / "01_small"
    lab.mkdir(parents=True)
    twice = conftest.EXERCISE.format(name="twice", answer="2 * x", three=6, thousand=2000)
    square = conftest.EXERCISE.format(name="square", answer="x * x", three=9, thousand=1_000_000)
    (lab / "assignment.py").write_text(conftest.SMALL + twice + square)
    assign.make(lab, tmp_path / "made" / "01_small")
    assert len(sandbox.protection()) == 1, "without all walls, what these submissions do could reach this machine"
    expected = simulate(tmp_path / "submissions")
    tables = []
    for attempt in ("first", "again"):
        began, out = time.perf_counter(), tmp_path / attempt
        grades = grade.grade_folder(tmp_path / "submissions", tmp_path / "made", out, LIMITS, show=print)
        each = (time.perf_counter() - began) / len(grades)
        tables.append((out / "scores.csv").read_bytes())
        found = {grade.submission: (grade.total, grade.notes) for grade in grades}
        bad = {
            name: (points, found.get(name)) for name, points in expected.items() if found.get(name, [0])[0] != points
        }
        print(f"{attempt}: {len(grades)} submissions, {len(bad)} bad, {each:.1f} s each", flush=True)
        for name, what in bad.items():
            print(f"  {name!r}: {what}")
        assert not bad and found.keys() == expected.keys()
        rows = list(csv.DictReader(tables[-1].decode().splitlines()))
        assert len(rows) == len({row["submission"] for row in rows}) == len(expected)
        assert not re.search(rb"[\0-\x09\x0b-\x1f]", tables[-1])
        assert each <= 3
    assert tables[0] == tables[1]
