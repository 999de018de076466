"""What the judge said of the shipped text-to-image model's pictures, under many samplers, in a recorded run."""

from collections.abc import Sequence
from dataclasses import dataclass

from labkit.measure.measurement import Measurement, mean_with_interval
from labkit.zoo.data.coloured import coloured_fashion_mnist, to_float
from labkit.zoo.models.judges import frechet_distance, moments
from labkit.zoo.models.text_to_image import TextToImage, recorded_scores


@dataclass(frozen=True)
class Variant:
    """One way to draw: a sampler, its steps, the scale of guidance (1 is none) and the share of merged tokens.

    >>> print(Variant("LCM-LoRA", 4, merged=0.5), "|", Variant("DPM-Solver++", 25, 1.5).evaluations)
    LCM-LoRA, 4 steps, 50% merged | 50
    """

    sampler: str
    steps: int
    guidance: float = 1.0
    merged: float = 0.0

    def __str__(self) -> str:
        words = f"{self.sampler}, {self.steps} step" + "s" * (self.steps > 1)
        words += f", guided {self.guidance:g}" * (self.guidance > 1)
        return words + f", {self.merged:.0%} merged" * (self.merged > 0)

    @property
    def evaluations(self) -> int:
        """Of the U-Net, for one picture: guidance asks it twice a step."""
        return self.steps * (2 if self.guidance > 1 else 1)


class Scores:
    """Scores of 2,000 pictures for each of several seeds, by `Variant`; of real pictures, by name.

    Args:
        rows: as `recorded_scores` has them; None takes those. Without rows it is false, and knows nothing.
    """

    def __init__(self, rows: Sequence[dict] | None = None):
        self._rows = recorded_scores() if rows is None else rows

    def __bool__(self) -> bool:
        return bool(self._rows)

    def by_seed(self, key: str, variant: Variant | str) -> list[float]:
        """One score of a variant, or of real pictures by their name, for each seed; empty where it was not scored."""
        if isinstance(variant, str):
            return [row[key] for row in self._rows if row["name"] == variant]
        names = ("name", "steps", "guidance", "merged")
        values = (variant.sampler, variant.steps, variant.guidance, variant.merged)
        return [row[key] for row in self._rows if all(row.get(n) == v for n, v in zip(names, values))]

    def known(self, variant: Variant | str) -> dict[str, Measurement]:
        """Prompts followed, in percent, and distance to real pictures, as a row of a record; {} if not scored."""
        if not (far := self.by_seed("distance", variant)):
            return {}
        prompt = [100 * right for right in self.by_seed("prompt", variant)]
        return {"prompt_2000": mean_with_interval(prompt, "%"), "distance_2000": mean_with_interval(far, "")}

    def apart(self, key: str, variant: Variant | str, than: Variant | str) -> Measurement:
        """How much larger a score is than another, seed by seed: a distance, or prompts followed in points.

        Raises:
            KeyError: one of the two was not scored.
        """
        pairs = [self.by_seed(key, v) for v in (variant, than)]
        if not all(pairs):
            raise KeyError(f"no scores of {variant if not pairs[0] else than} in the recorded run")
        unit, times = ("points", 100) if key == "prompt" else ("", 1)
        return mean_with_interval([times * (a - b) for a, b in zip(*pairs, strict=True)], unit)


def distance_by_number(
    model: TextToImage, numbers: Sequence[int], pictures: int = 2000, seed: int = 0
) -> dict[int, Measurement]:
    """Fréchet distance of disjoint groups of so many real pictures: what few pictures add to it.

    Args:
        model: has a judge, and the moments of real pictures.
        numbers: of pictures in a group, each at most half of `pictures`.
        pictures: real ones, of the training split.
        seed: of their order and colours.
    """
    real = coloured_fashion_mnist("train", pictures, seed)
    _, features = model.judge.read(to_float(real.images))
    means = {}
    for n in numbers:
        groups = [group for group in features.split(n) if len(group) == n]
        far = [frechet_distance(moments(group), model.reference) for group in groups]
        means[n] = mean_with_interval(far, "", "groups of pictures")
    return means
