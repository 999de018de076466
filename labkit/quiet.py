"""What libraries write while they work, and nobody who reads a lab can act on."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

LOGGERS = (
    "bitsandbytes",  # at its import: no kernel from the model hub; at each call of an 8-bit layer: float16
    "torch.utils._pytree",  # torchao 0.18 registers enumerations in a way that torch 2.15 calls deprecated
    "torch.utils.cpp_extension",  # before the compiler's first graph: no CUDA, where none is needed
)
VARIABLES = {
    "KINETO_LOG_LEVEL": "99",  # PyTorch's profiler
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # bars of the hub's client and of transformers, which fill a saved page
}


def quiet() -> None:
    """Silence notes of libraries, for good: to be called before these libraries are imported."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", module="torch")
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")


def print_what_the_terminal_can() -> None:
    """From here on print "?" for a character that the terminal's encoding lacks, instead of ending in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def bars_on_terminals_only(*libraries: str) -> Iterator[None]:
    """Keep the progress bars of transformers, or of these libraries, out of notebooks and logs."""
    settings = [import_module(f"{library}.utils.logging") for library in libraries or ("transformers",)]
    hidden = [setting for setting in settings if setting.is_progress_bar_enabled() and not sys.stderr.isatty()]
    for setting in hidden:
        setting.disable_progress_bar()
    try:
        yield
    finally:
        for setting in hidden:
            setting.enable_progress_bar()
