"""What went wrong in a lab: in a line for the table of labs, and in full for whoever is to mend it."""

import signal
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert.filters import strip_ansi

from labkit.authoring.kernel import Kernel

DETAIL_LINES = 20


@dataclass(frozen=True)
class Report:
    """One failure. As text: the lab, the cell, the error, the cell's source and the end of the details."""

    lab: str
    error: str  #: in one line
    where: str
    source: str  #: of the cell; empty before the first
    details: str

    def __str__(self) -> str:
        ending = "\n".join(strip_ansi(self.details).splitlines()[-DETAIL_LINES:])
        head = f"{self.lab} failed, {self.where}: {self.error}"
        return "\n\n".join(filter(None, [head, indent(self.source, "    "), ending]))


def describe(source: Path, error: Exception, kernel: Kernel) -> Report:
    """The report on an error of the lab whose source is `source`, executed by `kernel`."""
    cell = kernel.cells[kernel.cell] if kernel.cell >= 0 else None
    if isinstance(error, CellExecutionError):
        line = f"{error.ename}: {error.evalue}"
        details = "\n".join(next(o.traceback for o in reversed(cell.outputs) if o.output_type == "error"))
    elif isinstance(error, CellTimeoutError):
        line = f"the cell did not end within {kernel.timeout} s"
        details = f"--timeout SECONDS gives every cell another limit, execution.timeout in {source} its own."
    else:
        died = isinstance(error, DeadKernelError)
        line = f"the kernel died ({_reason(kernel.exit_code)})" if died else f"{type(error).__name__}: {error}"
        details = kernel.last_words
    where = f"cell {kernel.cell + 1} of {len(kernel.cells)}" if cell else "before the first cell"
    return Report(source.parent.name, line, where, cell.source if cell else "", details)


def _reason(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "killed, most often because memory ran out: try a smaller --scale, or --jobs 1"
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
