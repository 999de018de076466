"""The first use of a term in a lab leads to the glossary, wherever it stands for itself."""

import re
from pathlib import Path

import jupytext
import pytest

from labkit.site import build, terms

ROOT = Path(__file__).parents[2]
LABS = sorted(ROOT.glob("labs/[0-9][0-9]_*/[a-z]*.ipynb"))
DEFINED = terms.terms((build.BOOK / "glossary.md").read_text())


def test_the_terms_of_a_glossary_are_what_stands_at_the_margin():
    page = "# Glossary\n\n```{glossary}\nrank\n  Of a matrix.\n\nNF4\nNormalFloat\n  Sixteen levels.\n```\n\nMore\n"
    assert terms.terms(page) == ["rank", "NF4", "NormalFloat"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the rank and the rank", "the {term}`rank` and the rank"),
        ("Ranks differ.", "{term}`Ranks <rank>` differ."),
        ("frank ranking", "frank ranking"),
        ("low-rank, Rank++ and rank-1", "low-rank, Rank++ and rank-1"),
        ("a static rank of rank", "a {term}`static rank` of {term}`rank`"),
        ("`rank` $rank$ [rank](a.md) {cite}`rank` <b title='rank'>", None),
        ("## Its rank\n\nrank", "## Its rank\n\n{term}`rank`"),
        ("```\nrank\n```\n$$\nrank\n$$\nrank", "```\nrank\n```\n$$\nrank\n$$\n{term}`rank`"),
        ("<summary>Why <code>rank</code>?</summary>\n\nTwo", None),
    ],
)
def test_a_term_is_linked_once_where_it_stands_for_itself(text, expected):
    assert terms.linked([text], ["rank", "static rank"]) == [text if expected is None else expected]


def test_the_cells_of_a_lab_are_read_in_their_order():
    assert terms.linked(["none", "rank", "rank"], ["rank"]) == ["none", "{term}`rank`", "rank"]


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_every_term_that_a_lab_uses_is_linked_at_its_first_use(lab):
    cells = [cell.source for cell in jupytext.read(lab).cells if cell.cell_type == "markdown"]
    plain = " ".join(terms.ELSEWHERE.sub(" ", cell) for cell in cells)
    used = {term for term in DEFINED if re.search(rf"(?<![\w-]){re.escape(term)}(?![\w+-])", plain)}
    page = " ".join(terms.linked(cells, DEFINED))
    linked = re.findall(r"\{term\}`(?:[^`<]* <)?([^`>]+)>?`", page)
    assert len(linked) == len(set(linked))
    # A term within a longer one is not used for itself: "rank" of "static rank".
    assert all(any(term in longer for longer in linked) for term in used) and len(linked) > 10
