"""The book's bibliography as labs show it."""

from pathlib import Path

import pytest

from labkit.sources import Source, Sources, read_bibliography

ROOT = Path(__file__).parents[1]
ENTRY = """@inproceedings{key2020,
  author    = {Names},
  title     = {{SmolLM2}: a {Title} -- and
               more},
  year      = {2020},
  eprint    = {2001.00001},
  archiveprefix = {arXiv}
}
"""


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> dict[str, Source]:
        (tmp_path / "a.bib").write_text(text)
        return read_bibliography(tmp_path / "a.bib")

    return read


@pytest.mark.parametrize(
    "names, shown",
    [
        ("Han, Song", "Han"),
        ("Han, Song and Mao, Huizi", "Han and Mao"),
        ("Han, Song and Mao, Huizi and\n Dally, William J.", "Han and others"),
        ("Tri Dao and others", "Dao and others"),
        ("{A Group and Its Friends}", "A Group and Its Friends"),
        (r"Kingma, Diederik and B{\'a}z, L{\"o}b", "Kingma and Báz"),
    ],
)
def test_a_source_names_its_authors_title_and_year_and_links_to_it(read, names, shown):
    source = read(ENTRY.replace("Names", names))["key2020"]
    assert str(source) == f"{shown}, [SmolLM2: a Title – and more](https://arxiv.org/abs/2001.00001), 2020"


def test_an_address_comes_before_a_doi_and_that_before_an_archive(read):
    entry = ENTRY
    with_doi = entry.replace("  eprint", "  doi       = {10.1/x},\n  eprint")
    assert read(with_doi)["key2020"].link == "https://doi.org/10.1/x"
    assert read(with_doi.replace("  doi", "  url       = {https://a.b},\n  doi"))["key2020"].link == "https://a.b"


@pytest.mark.parametrize("field", ["author", "title", "year"])
def test_an_entry_without_author_title_or_year_is_refused(read, field):
    with pytest.raises(ValueError, match=f"a.bib: the entry key2020 has no {field}"):
        read(ENTRY.replace(f"  {field} ", "  other "))


def test_every_entry_of_the_book_can_be_read_and_shown():
    text = (ROOT / "book" / "references.bib").read_text()
    entries = read_bibliography(ROOT / "book" / "references.bib")
    assert len(entries) == text.count("\n@") + 1
    shown = str(Sources(entries))
    assert shown.count("\n") == len(entries) - 1 and not set("{}\\") & set(shown)
