"""Show how far a download is, where somebody looks, and leave nothing behind: no line in a log, no bar in a page."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 0.2  # seconds between two pictures of the bar in a notebook


@contextmanager
def shown(name: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for `total` bytes, of which `done` are there; call the result with each number of bytes that came.

    On a terminal and in a notebook it vanishes at the end; elsewhere there is none.
    """
    if _in_notebook():
        with _in_cell(name, total, done) as advance:
            yield advance
    else:
        with _on_terminal(name, total, done) as advance:
            yield advance


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


@contextmanager
def _in_cell(name: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    from IPython.display import HTML, display

    def bar() -> HTML:
        of = f" of {total / 1e6:.1f}" if total else ""
        ends = f"value='{done}' max='{total}'" if total else ""
        return HTML(f"<progress {ends}></progress> {html.escape(name)}: {done / 1e6:.1f}{of} MB")

    handle, last = display(bar(), display_id=True), time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, last
        done += more
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            handle.update(bar())

    try:
        yield advance
    finally:
        handle.update(HTML(""))  # an output cannot be taken back, but it can be emptied


@contextmanager
def _on_terminal(name: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        bar = progress.add_task(name, total=total, completed=done)
        yield lambda more: progress.advance(bar, more)
