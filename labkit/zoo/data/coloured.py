"""Coloured Fashion-MNIST: clothing in one colour on a background of another, each picture with its prompt.

The 28x28 grey pictures of Fashion-MNIST, enlarged to 64x64, say how much of the colour lies over the background. Item,
colour and background can be read off a picture by a small classifier, the judge: what a text-to-image model drew can
be scored against what its prompt asked for, and its pictures against real ones by a Fréchet distance.
"""

import itertools
import json
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F

from labkit.zoo.data.fashion_mnist import fashion_mnist

if TYPE_CHECKING:  # slow to import
    from transformers import CLIPTokenizer

ITEMS = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 60),
    "blue": (40, 90, 240),
    "yellow": (240, 220, 30),
    "cyan": (0, 200, 220),
    "pink": (255, 120, 190),
    "purple": (140, 40, 200),
    "white": (255, 255, 255),
}
BACKGROUNDS = {"black": (0, 0, 0), "grey": (90, 90, 90), "brown": (90, 55, 25), "navy": (15, 20, 90)}
SIZE = 64  # pixels
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 8  # tokens: the six words of the longest prompt between start and end


def prompt(item: str, colour: str, background: str) -> str:
    """Such as "a red ankle boot on black".

    Raises:
        ValueError: the task does not have one of the names.
    """
    for name, known in ((item, ITEMS), (colour, COLOURS), (background, BACKGROUNDS)):
        if name not in known:
            raise ValueError(f"{name!r} is not among {', '.join(known)}")
    return f"a {colour} {item} on {background}"


#: What can be asked for, in the order of `prompt_index`, in which the background changes fastest.
PROMPTS = tuple(prompt(*names) for names in itertools.product(ITEMS, COLOURS, BACKGROUNDS))


def prompt_index(labels: torch.Tensor) -> torch.Tensor:
    """Index into PROMPTS, (N,), of labels (N, 3): item, colour and background, each an index into its names."""
    item, colour, background = labels.unbind(1)
    return (item * len(COLOURS) + colour) * len(BACKGROUNDS) + background


# Pictures


def render(greys: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Colour grey pictures: uint8 (N, 28, 28) and labels (N, 3) to uint8 (N, 3, 64, 64), on the device of the greys.

    The item of a label is not looked at: it is what the grey picture shows.
    """
    grey = F.interpolate(greys[:, None].float() / 255, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    colour, background = (  # (N, 3, 1, 1) each
        torch.tensor([*names.values()], device=greys.device)[labels[:, i].to(greys.device), :, None, None]
        for i, names in ((1, COLOURS), (2, BACKGROUNDS))
    )
    return (background + grey * (colour - background)).round().to(torch.uint8)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 to float32 in [0, 1], which is also how a diffusers pipeline gives pictures with `output_type="pt"`."""
    return images.float() / 255


class ColouredSet(NamedTuple):
    """Pictures with what they show."""

    images: torch.Tensor  #: uint8 (N, 3, 64, 64)
    labels: torch.Tensor  #: int64 (N, 3), item, colour and background


def coloured_fashion_mnist(
    split: Literal["train", "test"], n: int | None = None, seed: int = 0, source: str | None = None
) -> ColouredSet:
    """Pictures of a split in random order, no grey picture twice, in random colours.

    Args:
        split: "train" or "test".
        n: how many; None takes the whole split.
        seed: of order and colours.
        source: that of `fashion_mnist`.

    Raises:
        ValueError: the split has fewer than `n`.
        ZooError: as `fashion_mnist`.
    """
    grey = fashion_mnist(split, source)
    n = len(grey.images) if n is None else n
    if not 0 < n <= len(grey.images):
        raise ValueError(f"n is {n}; the {split} split of {grey.origin.source} has {len(grey.images):,} pictures")
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(grey.images), generator=generator)[:n]
    labels = random_labels(grey.labels[index], generator)
    return ColouredSet(render(grey.images[index], labels), labels)


def random_labels(items: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Labels (N, 3) of items (N,) in random colours on random backgrounds; all on the generator's device."""

    def draw(names: Sized) -> torch.Tensor:
        return torch.randint(len(names), items.shape, generator=generator, device=items.device)

    return torch.stack([items, draw(COLOURS), draw(BACKGROUNDS)], dim=1)


# Words


WORDS = tuple(dict.fromkeys(word for text in PROMPTS for word in text.split()))


def check_prompt(text: str) -> None:
    """Refuse a text that the model cannot draw.

    Raises:
        ValueError: the text is empty, has words that the model was never shown, or is too long for it.
    """
    words = text.lower().split()
    if not words:
        raise ValueError(f"the prompt is empty; say what to draw, such as {PROMPTS[0]!r}")
    unknown = [word for word in dict.fromkeys(words) if word not in WORDS]
    if unknown:
        raise ValueError(f"Unknown in {text!r}: {', '.join(unknown)}. Known: {', '.join(WORDS)}")
    if len(words) > LENGTH - 2:
        raise ValueError(f"{text!r} has {len(words)} words; the text encoder reads {LENGTH - 2}")


def save_tokenizer(folder: Path) -> "CLIPTokenizer":
    """Write a tokenizer of transformers' own class, to which every known word is one token, and load it from there.

    It goes by byte-pair encoding (Sennrich, Haddow and Birch 2016, arXiv:1508.07909), as CLIP's does, and takes an
    unknown word apart into letters: use `check_prompt` to notice one. The files vocab.json and merges.txt are those
    of transformers 4, tokenizer.json that of transformers 5.
    """
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    merges = byte_pair_merges(WORDS)
    letters = sorted({letter for word in WORDS for letter in word})
    tokens = [START, END, *letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(dict.fromkeys(tokens))}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges), ""]))
    options = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END, "model_max_length": LENGTH}
    tokenizer = CLIPTokenizer.from_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return tokenizer


def byte_pair_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of pieces to merge, the first first, until every word is one piece; "</w>" marks the end of a word."""
    rank = {}
    for word in words:
        # Merges that came before are applied before. So a later one never reaches into an earlier word.
        while len(pieces := _merged(word, rank)) > 1:
            rank[pieces[0], pieces[1]] = len(rank)
    return list(rank)


def _merged(word: str, rank: dict[tuple[str, str], int]) -> list[str]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    while pairs := [pair for pair in itertools.pairwise(pieces) if pair in rank]:
        best = min(pairs, key=rank.get)
        rest = pieces
        pieces = []
        while rest:
            n = 2 if tuple(rest[:2]) == best else 1
            pieces.append("".join(rest[:n]))
            rest = rest[n:]
    return pieces


# Scores
