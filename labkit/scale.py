"""How big a lab runs: quick (tests), standard (two cores, offline) or full (GPU and hub)."""

import os
from types import SimpleNamespace

SCALES = ("quick", "standard", "full")
PADDED = "'text-align: left; padding-right: 1.2em'"


def current() -> str:
    """The scale in force: LABKIT_SCALE, else "full" with a GPU and a reachable hub, else "standard".

    Raises ValueError when LABKIT_SCALE names no scale.
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
    """Whether the model hub answers within three seconds."""
    import requests
    from huggingface_hub.constants import ENDPOINT

    try:
        return requests.head(ENDPOINT, timeout=3).ok
    except requests.RequestException:
        return False


class Settings(SimpleNamespace):
    """The column of a lab's settings that is in force; a notebook shows the whole table."""

    def __init__(self, table: dict[str, tuple], chosen: str):
        super().__init__(**{name: values[SCALES.index(chosen)] for name, values in table.items()})
        self._table, self._chosen = table, chosen

    def _repr_html_(self) -> str:
        mark = lambda text, scale: f"<b>{text}</b>" if scale == self._chosen else f"{text}"  # noqa: E731
        head = "".join(
            f"<th style={PADDED}>{mark(s + (' (this run)' if s == self._chosen else ''), s)}</th>" for s in SCALES
        )
        rows = "".join(
            f"<tr><td style={PADDED}>{name.replace('_', ' ')}</td>"
            + "".join(f"<td style={PADDED}>{mark(value, s)}</td>" for s, value in zip(SCALES, values))
            + "</tr>"
            for name, values in self._table.items()
        )
        return f"<table><thead><tr><th style={PADDED}>setting</th>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        width = max(map(len, ["scale", *self._table]))
        lines = [f"{'scale':{width}}  " + "  ".join(f"{s + '*' * (s == self._chosen):>12}" for s in SCALES)]
        lines += [f"{n:{width}}  " + "  ".join(f"{str(v):>12}" for v in vs) for n, vs in self._table.items()]
        return "\n".join(lines)


def settings(**table: tuple) -> Settings:
    """Choose this scale's column of a lab's settings.

    Each keyword is one setting, its value a tuple in the order (quick, standard, full).

    >>> settings(images=(100, 1000, 10000)).images  # with LABKIT_SCALE=quick
    100

    Raises ValueError for a setting that does not give one value for each scale.
    """
    for name, values in table.items():
        if len(values) != len(SCALES):
            raise ValueError(f"setting {name!r} has {len(values)} values; it needs one for each of {', '.join(SCALES)}")
    return Settings(table, current())
