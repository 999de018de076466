"""The site, built in a process of its own while labs are run."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


class SiteProcess:
    """Builds the site of the project in `root` when it is asked to; without a project it builds nothing.

    There is one build at a time, each with all labs that are done by then, and with `variables` in its environment. As
    a context manager it ends a build that still runs.
    """

    def __init__(self, root: Path | None, build: Path, variables: dict[str, str]):
        self.failure = ""  # what a build that failed has said; of several the last
        self._root, self._build, self._variables = root, build, variables
        self._is_due = False
        self._process: subprocess.Popen | None = None
        self._said = tempfile.TemporaryFile()

    @property
    def address(self) -> str:
        return (self._build / "site" / "index.html").as_uri()

    @property
    def is_busy(self) -> bool:
        """Whether a build runs or is to begin."""
        return self._is_due or self._process is not None

    def ask(self) -> None:
        """Have the site built as soon as `step` can begin."""
        self._is_due = self._root is not None

    def step(self) -> str:
        """Begin a build that is due, or see whether one has ended. Returns a line that says so, else nothing."""
        if self._process is None:
            if self._is_due:
                self._start()
            return ""
        if (code := self._process.poll()) is None:
            return ""
        self._process = None
        if code == 0:
            return f"The site has what is done so far: {self.address}"
        self._said.seek(0)
        self.failure = self._said.read().decode(errors="replace").strip() or f"No site: exit code {code}"
        return "The site could not be built; the reason stands at the end"

    def _start(self) -> None:
        self._is_due = False
        self._said.seek(0)
        self._said.truncate()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labkit.site", "--build", str(self._build)],
            cwd=self._root,  # whose labkit comes first
            env=os.environ | self._variables,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for `labkit run`, which ends this group
        )

    def __enter__(self) -> "SiteProcess":
        return self

    def __exit__(self, *_) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._said.close()
