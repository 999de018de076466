"""A kernel that executes a notebook, and every process that it starts."""

import asyncio
import os
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
from ipykernel.kernelspec import make_ipkernel_cmd
from nbclient import NotebookClient
from nbformat import NotebookNode


class Kernel:
    """One kernel of this interpreter: it executes one notebook, is watched meanwhile, and ends with all it started.

    `execute` and `end` belong to the thread that waits for the notebook, `sample` and `stop` to any other.
    """

    def __init__(self):
        self.cells: list[NotebookNode] = []  # of code
        self.cell = -1  # the index of the one that runs, or was the last to run
        self.timeout: int | None = None  # in seconds a cell
        self.peak_bytes = 0  # of memory, in any sample
        self.is_stopped = False
        self.last_words = ""  # of a kernel that failed: what it printed past the notebook
        self._manager = None
        self._process: psutil.Process | None = None
        self._tree: set[psutil.Process] = set()  # every process of the kernel's tree that was seen

    def execute(
        self, notebook: NotebookNode, folder: Path, environment: dict[str, str], timeout: int | None = None
    ) -> None:
        """Execute the cells of a notebook, which keeps their outputs.

        Args:
            folder: The working directory.
            timeout: Seconds for each cell; without it the notebook's own, `execution.timeout`, or no limit.

        Raises:
            CellExecutionError, CellTimeoutError, DeadKernelError: of nbclient; the notebook has the outputs so far.
        """
        self.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        self.timeout = timeout or notebook.metadata.get("execution", {}).get("timeout")
        client = NotebookClient(
            notebook, timeout=self.timeout, kernel_name="python3", record_timing=False, on_cell_execute=self._count
        )
        self._manager = client.create_kernel_manager()
        if temporary := environment.get("TMPDIR"):
            self._manager.connection_file = os.path.join(temporary, f"kernel-{uuid.uuid4().hex}.json")
        self._manager.kernel_spec.argv = make_ipkernel_cmd()  # this interpreter, whatever "python3" is for the user
        self._manager.transport_encryption = "auto"  # else newer kernels print a warning
        with tempfile.TemporaryFile() as log:
            try:
                asyncio.run(client.async_execute(cwd=str(folder), env=environment, stdout=log, stderr=log))
            except Exception:
                log.seek(0)
                self.last_words = log.read().decode(errors="replace")
                raise

    def _count(self, **_) -> None:
        self.cell += 1

    @property
    def exit_code(self) -> int | None:
        """That of a kernel that died; minus the number of a signal that ended it."""
        return self._manager.provisioner.process.poll()

    def sample(self) -> None:
        """Note how much memory the kernel and its children hold.

        It is the sum of their resident sets: pages that a child shares with its parent count twice.
        """
        with suppress(psutil.Error, OSError):
            if self._process is None and getattr(getattr(self._manager, "provisioner", None), "pid", None):
                self._process = psutil.Process(self._manager.provisioner.pid)
            if self._process:
                self._tree.update([self._process, *self._process.children(recursive=True)])
        total = 0
        for process in self._tree:
            with suppress(psutil.Error, OSError):  # ended meanwhile, or no file can be opened
                total += process.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, total)

    def stop(self) -> None:
        """End the kernel now. To be called until `execute` has returned, for the kernel may only be starting."""
        self.is_stopped = True
        self._kill()

    def end(self) -> None:
        """See to it, after `execute`, that what the kernel started ends as well.

        Raises RuntimeError when it does not.
        """
        if not self._gone(within=2):
            self._kill()
            if not self._gone(within=5):
                raise RuntimeError(f"these processes of the lab cannot be ended: {[p.pid for p in self._tree]}")

    def _kill(self) -> None:
        for process in list(self._tree):
            with suppress(psutil.Error):
                process.kill()

    def _gone(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while running := any(map(_is_running, list(self._tree))):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return not running


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
