"""A lab's results: rows of measurements, findings, products, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from labkit.estimate.product import Product
from labkit.measure.measurement import Measurement, ratio
from labkit.table import Table


@dataclass
class Row:
    """One configuration: its name, the techniques applied in order, what was measured, and how it was set up."""

    name: str
    techniques: tuple[str, ...]
    measurements: dict[str, Measurement]
    settings: dict[str, Any] = field(default_factory=dict)  #: ready for JSON


@dataclass
class KeptProduct:
    """A product that the lab is remembered by: what was stacked, and the cost that it should divide."""

    title: str
    cost: str
    product: Product


@dataclass
class Guess:
    """What a reader expects a finding to be, before it is measured; no value is no guess."""

    question: str
    unit: str
    value: float | None = None

    def beside(self, measured: Measurement) -> str:
        """Both in a line."""
        said = "no guess" if self.value is None else f"you said {Measurement.exact(self.value, self.unit)}"
        return f"{said}; measured {measured}"


@dataclass
class Record:
    """The results of one run of a lab.

    `add` makes a row, or adds measurements to it; `find` keeps a single figure that a claim refers to; `keep` a
    product beside its measured whole. In a notebook a record displays its rows as a table. What it has kept are `rows`
    by name, `findings` by key, `read`, the findings that come from a recorded run, `products`, `verdicts`, one
    dictionary a claim, and `guesses`, what the reader expected of findings. `headline` is the result in a line, with
    {keys} of findings. `labkit.runs` writes it to a file.
    """

    lab: str
    scale: str
    seed: int
    device: str = "cpu"
    headline: str = ""
    settings: dict[str, Any] = field(default_factory=dict)  #: of the lab at this scale, ready for JSON
    rows: dict[str, Row] = field(default_factory=dict)
    findings: dict[str, Measurement] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    products: list[KeptProduct] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    guesses: dict[str, Guess] = field(default_factory=dict)

    def add(
        self,
        name: str,
        techniques: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        **measurements: Measurement,
    ) -> Row:
        """Add a row, or measurements to the row of that name (running a cell again replaces them).

        Args:
            name: the configuration.
            techniques: those that it applies, in order.
            settings: how it was set up, ready for JSON.
            measurements: by metric.

        Raises:
            TypeError: a measurement is a bare number: a result without its interval and unit is not a result.

        >>> record = Record("01_example", "quick", seed=0, device="cpu")
        >>> record.add("FP32", file=Measurement.exact(8e6, "bytes")).measurements["file"].short
        '8.00 MB'
        >>> print(record.table())
                 file
        FP32  8.00 MB
        """
        for metric, value in measurements.items():
            _check(metric, value)
        row = self.rows.setdefault(name, Row(name, (), {}))
        row.techniques = tuple(techniques) or row.techniques
        row.settings.update(settings or {})
        row.measurements.update(measurements)
        return row

    def find(self, key: str, measurement: Measurement, read_from: str = "") -> Measurement:
        """Keep a figure under a key, for the claims, and return it; where it was to be guessed, print both.

        Args:
            key: the claims name it.
            measurement: the figure.
            read_from: the recorded run that it was read from; "" for what this run measured itself.

        Raises:
            TypeError: it is a bare number.
            ValueError: the guess was asked for in another unit.
        """
        _check(key, measurement)
        if guess := self.guesses.get(key):
            if guess.unit != measurement.unit:
                raise ValueError(f"the guess of {key} is in {guess.unit!r}, what was measured in {measurement.unit!r}")
            print(f"{key}: {guess.beside(measurement)}")
        self.findings[key] = measurement
        self.read.pop(key, None)
        if read_from:
            self.read[key] = read_from
        return measurement

    @property
    def summary(self) -> str:
        """The headline with the figures that it names; a rehearsal at scale quick has none to carry away."""
        if self.scale == "quick":
            return "a rehearsal: at scale quick nothing is concluded"
        return self.headline.format_map({key: m.short for key, m in self.findings.items()})

    def keep(self, title: str, cost: str, product: Product) -> Product:
        """Keep a product for the book's picture of all stacks, and return it.

        Args:
            title: the model and what was stacked, "MobileNetV2: pruning × INT8".
            cost: what the whole should shrink, "file" or "time".
        """
        self.products = [kept for kept in self.products if kept.title != title]
        self.products.append(KeptProduct(title, cost, product))
        return product

    def get(self, name: str, metric: str) -> Measurement:
        """One measurement.

        Raises:
            KeyError: there is none of this name and metric; it names what is there.
        """
        if name not in self.rows:
            raise KeyError(f"no row {name!r}; there are {', '.join(self.rows) or 'none'}")
        measurements = self.rows[name].measurements
        if metric not in measurements:
            raise KeyError(f"row {name!r} has no {metric!r}; it has {', '.join(measurements)}")
        return measurements[metric]

    def ratio(self, metric: str, of: str, to: str) -> Measurement:
        """How many times row `to` is smaller or faster than row `of` in one metric."""
        return ratio(self.get(of, metric), self.get(to, metric))

    def product(self, metric: str, base: str, parts: Sequence[str], whole: str) -> Product:
        """Set the product that the parts, each alone, would predict against the measured whole."""
        alone = {part: self.get(part, metric) for part in parts}
        return Product.of_costs(base, self.get(base, metric), alone, whole, self.get(whole, metric))

    def as_dict(self) -> dict[str, Any]:
        """All that it has kept, ready for JSON."""
        return {
            "lab": self.lab,
            "scale": self.scale,
            "seed": self.seed,
            "device": self.device,
            "headline": self.headline,
            "settings": self.settings,
            "rows": [
                {
                    "name": row.name,
                    "techniques": list(row.techniques),
                    "settings": row.settings,
                    "measurements": {metric: m.as_dict() for metric, m in row.measurements.items()},
                }
                for row in self.rows.values()
            ],
            "findings": {key: m.as_dict() for key, m in self.findings.items()},
            "read": self.read,
            "products": [{"title": kept.title, "cost": kept.cost, **kept.product.as_dict()} for kept in self.products],
            "verdicts": self.verdicts,
            "guesses": {key: asdict(guess) for key, guess in self.guesses.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that `as_dict` wrote."""
        rows = {
            row["name"]: Row(row["name"], tuple(row["techniques"]), _measurements(row["measurements"]), row["settings"])
            for row in data["rows"]
        }
        return cls(
            data["lab"],
            data["scale"],
            data["seed"],
            data["device"],
            data["headline"],
            data["settings"],
            rows,
            _measurements(data["findings"]),
            data["read"],
            [KeptProduct(kept["title"], kept["cost"], Product.from_dict(kept)) for kept in data["products"]],
            data["verdicts"],
            {key: Guess(**guess) for key, guess in data["guesses"].items()},
        )

    def table(self, *metrics: str) -> Table:
        """Rows down, metrics across: all of them, or those that are named, for the rows that have them."""
        rows = [r for r in self.rows.values() if set(metrics) <= r.measurements.keys()]
        metrics = metrics or tuple(dict.fromkeys(m for row in rows for m in row.measurements))
        cells = [[row.name, *(str(row.measurements.get(m, "")) for m in metrics)] for row in rows]
        return Table(["", *(m.replace("_", " ") for m in metrics)], cells)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _check(name: str, value: object) -> None:
    if not isinstance(value, Measurement):
        raise TypeError(f"{name} is {value!r}; results are Measurements, with interval, unit and n")


def _measurements(data: Mapping[str, Mapping]) -> dict[str, Measurement]:
    return {key: Measurement(**value) for key, value in data.items()}
