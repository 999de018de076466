"""No sentence of the book's pages or of the README is longer than a reader can hold."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("book/*.md"))]
LONGEST = 35  # words
MARKDOWN = MarkdownIt("commonmark").enable("table")
# A figure that is filled in, a formula, a citation: each counts as one word.
ONE_WORD = re.compile(r"\{\{[^{}]*\}\}|\$\$.*?\$\$|\$[^$]*\$|\{cite[\w:]*\}`[^`]*`", re.DOTALL)
ROLE = re.compile(r"\{\w+\}`([^`<]+?)(?: <[^`]*>)?`")  # whose text is what a reader sees
READ_TOO = re.compile(r"^```\{(?:glossary|figure)\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SETTING = re.compile(r"\A---\n.*?\n---\n|^:{3,}[^\n]*$|^:\w+:[^\n]*$", re.DOTALL | re.MULTILINE)


def sentences(page: str) -> Iterator[str]:
    """The sentences of a page's paragraphs, lists, captions and glossary.

    Left out are headings, tables, code, formulas, and paragraphs that are mostly links.
    """
    for pattern, instead in ((READ_TOO, r"\1"), (SETTING, ""), (ONE_WORD, "X"), (ROLE, r"\1")):
        page = pattern.sub(instead, page)
    tokens = MARKDOWN.parse(page)
    for before, token in zip(tokens, tokens[1:]):
        if token.type == "inline" and before.type == "paragraph_open":
            parts = ["X" if part.type == "code_inline" else part.content or " " for part in token.children]
            links = sum(part.type == "link_open" for part in token.children)
            text = " ".join("".join(parts).split())
            if links < 3 or links * 6 < len(text.split()):
                yield from re.split(r"(?<=[.!?])[\"”)*]* (?=\W*[A-Z0-9])", text)


def words(sentence: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def test_sentences_are_told_apart_and_their_words_are_counted():
    page = "# A heading\n\nOne `a b` and $x y$. `Two`\nlines *more.* Three, e.g. this?\n\n- four"
    assert [words(each) for each in sentences(page)] == [4, 3, 3, 1]


def test_a_glossary_and_a_caption_are_read_and_tables_and_code_are_not():
    page = (
        "---\nkey: of a page\n---\n\n```{glossary}\nrank\n  Of a {term}`thin matrix <matrix>`.\n```\n\n"
        "```sh\nmake labs\n```\n\n| a | table |\n| --- | --- |\n\n"
        "```{figure} a.svg\n:alt: five words that are settings\n\nA caption {cite}`key`.\n```\n\n"
        "{{ 01 a figure }} more.\n"
    )
    assert [words(each) for each in sentences(page)] == [5, 3, 2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_too_long(page):
    long = [f"{words(each)} words: {each}" for each in sentences(page.read_text()) if words(each) > LONGEST]
    assert not long, "\n".join(long)
