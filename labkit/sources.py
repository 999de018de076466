"""The book's bibliography, for labs that are opened outside the book."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENTRY = re.compile(r"^@\w+\{([^,]+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^ *(\w+) *= *\{(.*?)\},?\n(?= *\w+ *=|\Z)", re.MULTILINE | re.DOTALL)
ACCENT = re.compile(r"""\{\\(['`^"~c])\s*\{?\\?(\w)\}?\}""")
COMBINING = {"'": "\u0301", "`": "\u0300", "^": "\u0302", '"': "\u0308", "~": "\u0303", "c": "\u0327"}


@dataclass(frozen=True)
class Source:
    """One entry of the bibliography. `link` is "" where there is none."""

    authors: tuple[str, ...]  #: family names; "others" may end them
    title: str
    year: str
    link: str

    def __str__(self) -> str:
        first, *rest = self.authors
        names = first if not rest else f"{first} and {rest[0]}" if len(rest) == 1 else f"{first} and others"
        title = f"[{self.title}]({self.link})" if self.link else self.title
        return f"{names}, {title}, {self.year}"


@dataclass(frozen=True)
class Sources:
    """Entries by key; a notebook shows them as a list."""

    entries: Mapping[str, Source]

    def __str__(self) -> str:
        return "\n".join(f"- `{key}`: {source}" for key, source in self.entries.items())

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return str(self)


def read_bibliography(path: str | Path) -> dict[str, Source]:
    """The entries of a BibTeX file by key, in the form of book/references.bib: a field begins a line.

    Raises:
        ValueError: an entry lacks author, title or year; it names the entry.
    """
    entries = {}
    for key, body in ENTRY.findall(Path(path).read_text(encoding="utf-8")):
        written = dict(FIELD.findall(body))
        fields = {name: _plain(value) for name, value in written.items()}
        if missing := {"author", "title", "year"} - fields.keys():
            raise ValueError(f"{path}: the entry {key} has no {', '.join(sorted(missing))}")
        # "Family, Given" or "Given Family"; what stands in braces of its own is no person's name
        is_group = written["author"].startswith("{")
        people = [f"{fields['author']},"] if is_group else fields["author"].split(" and ")
        names = tuple(each.partition(",")[0] if "," in each else each.split()[-1] for each in people)
        entries[key] = Source(names, fields["title"], fields["year"], _link(fields))
    return entries


def _link(fields: Mapping[str, str]) -> str:
    if "url" in fields:
        return fields["url"]
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    return f"https://arxiv.org/abs/{fields['eprint']}" if "eprint" in fields else ""


def _plain(text: str) -> str:
    """Without what only TeX reads: accents become letters, braces go."""
    text = ACCENT.sub(lambda found: unicodedata.normalize("NFC", found[2] + COMBINING[found[1]]), text)
    text = " ".join(text.split())
    return re.sub(r"[{}]", "", text.replace("\\&", "&").replace("---", "—").replace("--", "–"))
