"""What a number depends on besides the code: versions, CPU, device and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

TREE = Path(__file__).parents[1]
PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "torch-pruning",
    "transformers",
    "peft",
    "bitsandbytes",
    "diffusers",
    "tomesd",
    "timm",
    "numpy",
)


def environment(device: str = "cpu") -> dict:
    """Versions of Python and packages, Colab's release, CPU, cores, threads, device, GPU and commit, ready for JSON."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "colab": os.environ.get("COLAB_RELEASE_TAG"),  # set on Colab's machines alone
        "processor": _cpu(),
        "vnni": torch.cpu._is_vnni_supported(),  # INT8 differs without it
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str | None:
    """Commit of the source tree, with "+" when files were changed since; None where it is not a repository's top."""
    try:
        if not TREE.samefile(_git("rev-parse", "--show-toplevel")):  # a tree without .git, in another repository
            return None
        changed = "+" if _git("status", "--porcelain", "-uno") else ""
        return _git("rev-parse", "--short=12", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    # A tree may be another user's, as in a container: who runs its code may read its commit. In a hook of git's, these
    # variables lead to the repository of the hook.
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={TREE}", *arguments]
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    variables = {name: value for name, value in os.environ.items() if name not in elsewhere}
    done = subprocess.run(command, cwd=TREE, env=variables, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()
