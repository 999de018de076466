"""Lead from the first use of a term in a lab to the glossary.

A lab's text stays plain, so that it reads well in JupyterLab and Colab; only the page of the book gets the links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Where a term does not stand for itself: code, formulas, roles, links, headings and tags.
ELSEWHERE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\{[\w:]+\}`[^`]*`"
    r"|!?\[[^\]]*\]\([^)]*\)|^#+ [^\n]*|<summary>.*?</summary>|<[^>]*>",
    re.DOTALL | re.MULTILINE,
)


def terms(glossary: str) -> list[str]:
    """The terms that the page with the glossary defines."""
    entries = re.search(r"^```\{glossary\}\n(.*?)^```", glossary, re.DOTALL | re.MULTILINE)[1]
    return re.findall(r"^(\S.*)$", entries, re.MULTILINE)


def linked(texts: Iterable[str], terms: Iterable[str]) -> list[str]:
    """The Markdown of one lab's cells, in their order, with each term a link where it is first used.

    A term is found in the plural, and with a capital letter at the head of a sentence; of two that begin at the same
    place the longer one is meant.

    >>> linked(["Masks of a pruning mask.", "`rank` is code, the ranks are meant."], ["rank", "pruning mask"])
    ['Masks of a {term}`pruning mask`.', '`rank` is code, the {term}`ranks <rank>` are meant.']
    """
    new = {term[0].upper() + term[1:]: term for term in terms} | {term: term for term in terms}
    words = "|".join(map(re.escape, sorted(new, key=len, reverse=True)))
    alone = rf"(?<![\w-])(?P<term>{words})s?(?![\w+-])"
    either = re.compile(f"(?P<elsewhere>{ELSEWHERE.pattern})|{alone}", ELSEWHERE.flags)
    seen = set()

    def link(found: re.Match) -> str:
        if found["elsewhere"] or new[found["term"]] in seen:
            return found[0]
        seen.add(term := new[found["term"]])
        return f"{{term}}`{term}`" if found[0] == term else f"{{term}}`{found[0]} <{term}>`"

    return [either.sub(link, text) for text in texts]
