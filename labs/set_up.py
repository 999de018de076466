"""What the set-up cell of every lab runs, in the lab's folder: it installs labkit where that is missing.

The installed torch and torchvision stay as they are: another version beneath a running kernel would break it.
"""

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def install(project: Path) -> None:
    """Install labkit with what the labs need from the source tree; if it fails, show what pip said."""
    there = [
        name for name in ("torch", "torchvision") if importlib.util.find_spec(name)
    ]
    kept = [f"{name}=={metadata.version(name)}" for name in there]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        f"{project}[labs]",
        *kept,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    importlib.invalidate_caches()


def is_missing() -> bool:
    """Whether labkit is to be installed; RuntimeError where another package has its name."""
    names = {each.metadata["Name"] for each in metadata.distributions()}
    found = importlib.util.find_spec("labkit")
    if "labkit" in names or (found and "efficiency-stack" not in names):
        raise RuntimeError(
            f"another package is called labkit ({found and found.origin}), and is not that of"
            " these labs. Type `pip uninstall labkit` or remove it, restart the kernel, and"
            " run this cell again."
        )
    return found is None


if is_missing():
    print("installing labkit and what the labs need, in about a minute", flush=True)
    install(Path("../..").resolve())
from labkit.quiet import quiet  # which may have been installed just now

quiet()  # before the lab imports what is noisy
print("labkit", metadata.version("efficiency-stack"))
