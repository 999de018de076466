"""How big a lab runs: quick (tests), standard (two cores, offline) or full (GPU and hub)."""

import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from labkit.table import Table

SCALES = ("quick", "standard", "full")


def current() -> str:
    """The scale in force: LABKIT_SCALE, else "full" with a GPU and a reachable hub, else "standard".

    Raises:
        ValueError: LABKIT_SCALE names no scale.
    """
    name = os.environ.get("LABKIT_SCALE", "")
    if not name:
        return "full" if _gpu() and hub_reachable() else "standard"
    if name not in SCALES:
        raise ValueError(f"LABKIT_SCALE is {name!r}; it must be one of {', '.join(SCALES)}")
    return name


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def hub_reachable() -> bool:
    """Whether the model hub answers within three seconds; not where its client is told to stay offline."""
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # or TRANSFORMERS_OFFLINE
        return False
    try:
        return requests.head(constants.ENDPOINT, timeout=3).ok
    except (requests.RequestException, ValueError):  # of an HF_ENDPOINT that is no address
        return False


class Settings(SimpleNamespace):
    """The column of a lab's settings that is in force; a notebook shows the whole table."""

    def __init__(self, table: Mapping[str, tuple[Any, ...]], chosen: str):
        super().__init__(**{name: values[SCALES.index(chosen)] for name, values in table.items()})
        head = ["setting", *(f"{scale} (this run)" if scale == chosen else scale for scale in SCALES)]
        rows = [[name.replace("_", " "), *map(str, values)] for name, values in table.items()]
        self._table = Table(head, rows, bold={1 + SCALES.index(chosen)})

    def as_dict(self) -> dict[str, Any]:
        """The settings in force, by name."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _repr_html_(self) -> str:
        return self._table._repr_html_()

    def __repr__(self) -> str:
        return str(self._table)


def settings(**table: tuple) -> Settings:
    """Choose this scale's column of a lab's settings.

    Args:
        table: the settings by name, each a tuple in the order (quick, standard, full).

    Raises:
        ValueError: a setting does not give one value for each scale.

    >>> settings(images=(100, 1000, 10000)).images  # with LABKIT_SCALE=quick
    100
    """
    for name, values in table.items():
        if len(values) != len(SCALES):
            raise ValueError(f"setting {name!r} has {len(values)} values; it needs one for each of {', '.join(SCALES)}")
    return Settings(table, current())
