"""Text to train on and to hold out: the language reference of Python."""

import hashlib
import platform
import sys
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from labkit.zoo.sources.fetch import ZooError
from labkit.zoo.sources.origin import Origin

if TYPE_CHECKING:  # slow to import: at run time, each function imports what it needs of transformers
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Corpus:
    """English text to train on, other text of the same kind to measure on, and where both come from.

    `topics` says where in the held-out text each of its topics begins, in characters: text of one topic is alike.
    """

    training: str
    held_out: str
    origin: Origin
    topics: Mapping[str, int]


def documentation_corpus() -> Corpus:
    """The language reference of this very Python: the topics of `help()`, about a tenth of them held out.

    A hash of its name decides the side of a topic, so that the split is the same everywhere; the text differs a little
    from one version of Python to the next, which the origin names.
    Topics quote one another ("compound" contains "for", "if" and "with"): paragraphs of 25 characters or more that a
    held-out topic has, too, are left out of the training text; shorter ones, such as "Note:", stay.

    Raises:
        ZooError: this Python came without its topics.
    """
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise ZooError(
            f"{sys.executable} has no module pydoc_data.topics. Use a Python with its full library."
        ) from error
    training, held_out, begin = [], [], {}
    for name in sorted(topics):
        is_held_out = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0
        if is_held_out:
            begin[name] = sum(len(paragraph) + 2 for paragraph in held_out)
        (held_out if is_held_out else training).extend(topics[name].strip().split("\n\n"))
    quoted = {_words(paragraph) for paragraph in held_out if len(paragraph) >= 25}
    texts = ["\n\n".join(p for p in training if _words(p) not in quoted), "\n\n".join(held_out)]
    name = f"Help topics of Python {platform.python_version()}"
    origin = Origin(name, "python", "PSF-2.0", hashlib.sha256("\0".join(texts).encode()).hexdigest())
    return Corpus(*texts, origin, begin)


def _words(paragraph: str) -> str:
    return " ".join(paragraph.split())  # whatever its indentation and line breaks


def blocks(text: str, tokenizer: "PreTrainedTokenizerBase", length: int) -> torch.Tensor:
    """Cut a text into blocks of `length` tokens: int64 (n, length). What is left at the end is dropped.

    No special token is added: a block begins in the middle of the text, as the model meets it in pretraining.

    Raises:
        ValueError: the text is shorter than one block.
    """
    if length < 1:
        raise ValueError(f"length is {length}; a block has at least one token")
    # verbose would warn that the text is longer than the model's context, as it should be
    ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
    if len(ids) < length:
        raise ValueError(
            f"The text has {len(ids):,} tokens; one block takes {length:,}. Give more text, or shorter blocks."
        )
    return ids[: len(ids) // length * length].view(-1, length)


def block_topics(corpus: Corpus, tokenizer: "PreTrainedTokenizerBase", length: int) -> list[str]:
    """The topic of each of the `blocks` of a corpus's held-out text: the one that its middle lies in."""
    given = tokenizer(corpus.held_out, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
    names, begins = zip(*corpus.topics.items())
    middles = [begin for begin, _ in given.offset_mapping][length // 2 :: length]
    return [names[bisect(begins, at) - 1] for at in middles[: len(given.input_ids) // length]]


def held_out_blocks(
    corpus: Corpus, tokenizer: "PreTrainedTokenizerBase", length: int, count: int
) -> tuple[torch.Tensor, list[str]]:
    """At most `count` blocks of the held-out text and their topics: first one of each topic, then another of each.

    Blocks of one topic are alike, so that few blocks of many topics say more than many of one.
    """
    topics = block_topics(corpus, tokenizer, length)
    spread = sorted(range(len(topics)), key=lambda i: topics[:i].count(topics[i]))[:count]
    return blocks(corpus.held_out, tokenizer, length)[spread], [topics[i] for i in spread]
