"""`python -m labkit.site`: what it answers. The site itself: test_build.py and tests/book."""

from labkit.site import build
from labkit.site.__main__ import main


def test_links_to_other_hosts_are_listed_with_the_first_three_pages_that_have_them(tmp_path, capsys):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text('<a href="https://example.org/a">a</a>')
    for page in "bcde":
        (site / f"{page}.html").write_text('<a href="https://example.org/b">b</a>')
    assert main(["--links", "--build", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        "https://example.org/a  (index.html)\nhttps://example.org/b  (b.html, c.html, d.html …)\n"
    )


def test_without_an_executed_lab_there_is_no_site_and_one_line_says_so(tmp_path, capsys):
    assert main(["--build", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("No site: no lab in ") and said.endswith("`make labs`\n")


def test_outside_the_source_tree_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    assert main(["--build", str(tmp_path)]) == 1
    assert "book/_toc.yml" in (said := capsys.readouterr().err) and "clone the repository" in said
