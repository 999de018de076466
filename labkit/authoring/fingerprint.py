"""What a lab's results depend on, as a hash. A lab whose fingerprint has not changed need not run again."""

import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import labkit

PACKAGE = Path(labkit.__file__).parent
APART = ("classroom", "recipes", "site")  # parts of the package that no lab uses


def surroundings(scale: str) -> str:
    """The hash of what all labs share.

    These are the scale, Python, the versions of all installed packages, and of this package its code and the sums of
    the files that it ships.
    """
    installed = sorted({f"{each.name} {each.version}" for each in metadata.distributions()})
    facts = "\n".join([scale, platform.python_version(), *installed])
    code = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in APART]
    return _hash(facts.encode(), PACKAGE, [*code, *PACKAGE.rglob("sha256sums")])


def of(lab: Path, surroundings: str) -> str:
    """The hash of one lab: its source, its claims, its recorded runs, modules beside the labs, and the surroundings."""
    inputs = [lab / f"{lab.name[3:]}.py", lab / "claims.toml", *lab.glob("recorded/**/*"), *lab.parent.glob("*.py")]
    return _hash(surroundings.encode(), lab.parent, inputs)


def _hash(facts: bytes, root: Path, paths: Iterable[Path]) -> str:
    """Of the facts, and of names and bytes of the files that are there."""
    found = hashlib.sha256(facts)
    for path in sorted(set(paths)):
        if path.is_file():
            data = path.read_bytes()
            found.update(f"\n{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return found.hexdigest()
