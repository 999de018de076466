"""Leaves nothing of a run behind, however the run ended: a process of its own that waits for that.

The kernels of a run, and all that they start, carry its mark in their environment, which they inherit whatever they do
with their parents and sessions. Ctrl-C does not reach this process, and no signal to the run or its group does.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
from filelock import Timeout

from labkit.authoring import results

MARK = "LABKIT_RUN"


class Sweeper:
    """While it is entered a run goes on; at its end, or if it is killed, all that carries its mark goes.

    Attributes:
        variables: what the environment of all that the run starts must have. Temporary files lie in a folder of the
            run's own.
        folder: that folder.
    """

    def __init__(self, build: Path):
        self.build = build

    def __enter__(self) -> Sweeper:
        self.folder = Path(tempfile.mkdtemp(prefix="labkit-"))
        mark = uuid.uuid4().hex
        self.variables = {MARK: mark, "TMPDIR": str(self.folder)}
        command = [sys.executable, "-m", __name__, mark, self.folder, self.build]
        path = Path(__file__).parents[2]  # whose labkit comes first
        # It reads until this process has ended and its end of the pipe is closed.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=path, start_new_session=True)
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.wait()


def marked(mark: str) -> list[psutil.Process]:
    """The processes of this user that carry a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            pass
    return found


def end(mark: str, within: float = 5.0) -> bool:
    """End the processes that carry a mark, and those that they start meanwhile; whether all have ended."""
    deadline = time.monotonic() + within
    while processes := marked(mark):
        for process in processes:
            try:
                process.kill()
            except psutil.Error:
                pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def main(mark: str, folder: str, build: str) -> None:
    sys.stdin.read()
    end(mark)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with results.held(Path(build)):  # by nobody: the run was killed
            pass
    except (Timeout, OSError):  # a run that goes on, or the next one, does it itself
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
