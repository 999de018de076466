"""Where a model or data set came from, and how a source is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from labkit.zoo.sources.fetch import ZooError, is_intact

ASSETS = Path(__file__).parents[1] / "assets"

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """What was loaded, from which source, under which licence, and the SHA-256 of the file that holds it."""

    name: str
    source: str
    licence: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} (source: {self.source}; licence: {self.licence}; SHA-256: {self.sha256[:12]}…)"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained model in eval mode, float32, and its origin."""

    model: nn.Module
    origin: Origin


def embedded(name: str) -> Path:
    """Path of a file that ships with labkit, such as `"fashion_mnist/LICENSE"`, checked against `assets/sha256sums`."""
    lines = (ASSETS / "sha256sums").read_text().splitlines()
    sums = {file: sha256 for sha256, file in map(str.split, lines)}
    if name not in sums or not is_intact(ASSETS / name, sums[name]):
        raise ZooError(f"labkit's own file {ASSETS / name} is missing or damaged. Install labkit again.")
    return ASSETS / name


_failed: dict[tuple[str, str], ZooError] = {}


def from_first(what: str, sources: Mapping[str, Callable[[], T]], wanted: str | None = None) -> tuple[str, T]:
    """Name and result of the first of `sources` that does not raise ZooError, or of the `wanted` one.

    A source that failed is not asked again in this process unless it is wanted by name.

    Raises:
        ZooError: there is no such source, or none delivered; says what each of them answered.
    """
    if wanted is not None and wanted not in sources:
        raise ZooError(f"{what} has no source {wanted!r}. Known: {', '.join(sources)}.")
    for name in [wanted] if wanted else sources:
        if wanted is None and (what, name) in _failed:
            continue
        try:
            return name, sources[name]()
        except ZooError as error:
            _failed[what, name] = error
    answers = [f"  {name}: {_failed[what, name]}" for name in ([wanted] if wanted else sources)]
    raise ZooError("\n".join([f"{what} could not be had from any source tried:", *answers]))
