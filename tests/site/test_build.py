import json
import shutil
from pathlib import Path

import nbformat.v4 as nb
import pytest

from executed import write_lab
from labkit.site import build

LAB = min(path.parent.name for path in (Path(__file__).parents[2] / "labs").glob("*/claims.toml"))

TWO_LABS = {"parts": [{"chapters": [{"file": "labs/01_first"}, {"file": "labs/02_second"}]}]}


def test_a_book_without_an_executed_lab_is_an_error_that_names_make_labs(tmp_path):
    with pytest.raises(build.BookError, match="make labs"):
        build.select_labs(TWO_LABS, tmp_path)


def test_an_executed_lab_is_shown_and_the_other_one_left_out(tmp_path, capsys):
    write_lab(tmp_path / "01_first.ipynb")
    toc, labs = build.select_labs(TWO_LABS, tmp_path)
    assert toc == {"parts": [{"chapters": [{"file": "labs/01_first"}]}]}
    assert labs == [tmp_path / "01_first.ipynb"]
    assert "02_second" in capsys.readouterr().out


def test_a_notebook_with_an_error_in_it_was_not_executed_to_its_end(tmp_path):
    write_lab(tmp_path / "lab.ipynb", outputs=[nb.new_output("error", ename="ValueError", evalue="no", traceback=[])])
    assert not build.is_executed(tmp_path / "lab.ipynb")


def test_a_notebook_with_a_cell_that_did_not_run_was_not_executed_to_its_end(tmp_path):
    lab = tmp_path / "lab.ipynb"
    lab.write_text(nb.writes(nb.new_notebook(cells=[nb.new_code_cell("1", execution_count=1), nb.new_code_cell("2")])))
    assert not build.is_executed(lab)


@pytest.fixture
def small_book(tmp_path, monkeypatch) -> Path:
    """A book of one page and one lab, in place of the whole."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name in ("_config.yml", "favicon.svg", "references.bib"):
        shutil.copy(build.BOOK / name, folder)
    shutil.copytree(build.BOOK / "_static", folder / "_static")
    toc = {"format": "jb-book", "root": "index", "parts": [{"chapters": [{"file": f"labs/{LAB}"}]}]}
    (folder / "_toc.yml").write_text(json.dumps(toc))
    (folder / "index.md").write_text("# A book\n")
    monkeypatch.setattr(build, "BOOK", folder)
    return folder


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[nowhere](missing.md)", "missing.md"),
        ('<a href="nowhere.html">away</a>', "index.html: nowhere.html"),
        ('<a href="index.html#nowhere">away</a>', "index.html#nowhere"),
        ("{{ 01 nothing }}", "index.md.*nothing"),
    ],
)
def test_a_page_with_a_fault_is_an_error_and_leaves_the_last_site_in_place(small_book, tmp_path, text, fault):
    write_lab(tmp_path / "notebooks" / f"{LAB}.ipynb")
    (small_book / "index.md").write_text(f"# A book\n\n{text}\n")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("the last one")
    with pytest.raises(build.BookError, match=fault):
        build.build_site(tmp_path / "notebooks", tmp_path / "records", tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "the last one"


def test_links_to_other_hosts_are_listed_with_their_pages(tmp_path):
    (tmp_path / "labs").mkdir()
    (tmp_path / "index.html").write_text('<a href="https://example.org/a">a</a> <a href="labs/b.html">b</a>')
    (tmp_path / "labs" / "b.html").write_text('<a href="https://example.org/a">a</a> <img src="http://example.org/c">')
    assert build.outside_links(tmp_path) == {
        "http://example.org/c": ["labs/b.html"],
        "https://example.org/a": ["index.html", "labs/b.html"],
    }


def test_without_a_site_there_is_no_list_of_links_but_an_error_that_names_make_labs(tmp_path):
    with pytest.raises(build.BookError, match="make labs"):
        build.outside_links(tmp_path / "site")


def test_the_notebook_to_download_has_no_outputs_where_jupyterlab_saved_some(tmp_path, monkeypatch):
    html, lab = tmp_path / "html", tmp_path / "labs" / "01_first"
    write_lab(lab / "first.ipynb")
    (lab / "first.py").touch()
    (html / "labs").mkdir(parents=True)
    (html / "labs" / "01_first.html").touch()
    monkeypatch.setattr(build, "LABS", tmp_path / "labs")
    build.copy_downloads(html, [tmp_path / "notebooks" / "01_first.ipynb"])
    offered = json.loads((html / "labs" / "01_first" / "first.ipynb").read_text())["cells"][1]
    assert (offered["source"], offered["outputs"], offered["execution_count"]) == (["plot()"], [], None)


def test_the_new_site_takes_the_place_of_the_old_one_whole(tmp_path):
    for folder, page in ("old", "a.html"), ("new", "b.html"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / page).touch()
    build.replace_folder(tmp_path / "old", tmp_path / "new")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")] == ["old/b.html"]


def test_the_description_of_a_picture_goes_where_the_page_builder_looks_for_it():
    described = nb.new_output("display_data", metadata={"image/png": {"alt": "Four bars."}})
    notebook = nb.new_notebook(cells=[nb.new_code_cell("draw()", outputs=[described]), nb.new_code_cell("1")])
    drawn, plain = build.prepared(notebook)["cells"]
    assert drawn["metadata"]["mystnb"]["image"]["alt"] == "Four bars."
    assert "mystnb" not in plain["metadata"]


@pytest.mark.parametrize("heading", ["## The ledger", "## 8 · The ledger", "## 12 · The ledger"])
def test_the_section_that_judges_the_claims_is_found_whatever_its_number(tmp_path, heading):
    lab = tmp_path / "01_first.ipynb"
    lab.write_text(nb.writes(nb.new_notebook(cells=[nb.new_markdown_cell(f"Text.\n\n{heading}\n\nMore.")])))
    assert build.ledger_link(lab) == "labs/01_first.html#the-ledger"


def test_a_lab_that_judges_nothing_is_an_error(tmp_path):
    lab = tmp_path / "01_first.ipynb"
    lab.write_text(nb.writes(nb.new_notebook(cells=[nb.new_markdown_cell("The ledger")])))
    with pytest.raises(build.BookError, match="01_first.*The ledger"):
        build.ledger_link(lab)


def test_what_a_progress_bar_left_is_not_in_the_page():
    empty, full = (
        nb.new_output("display_data", {"text/html": text, "text/plain": "HTML"}) for text in ("", "<b>1</b>")
    )
    text = nb.new_output("stream", text="a line")
    notebook = nb.new_notebook(cells=[nb.new_code_cell("fetch()", outputs=[empty, text, full, picture()])])
    assert build.prepared(notebook)["cells"][0]["outputs"] == [text, full, picture()]


def picture():
    return nb.new_output("display_data", {"image/png": "iVBORw0KGgo="})


def test_a_labs_link_to_a_page_of_the_book_leads_there_from_the_labs_page():
    cell = nb.new_markdown_cell("[Measuring](../../book/measuring.md#seeds)")
    assert build.prepared(nb.new_notebook(cells=[cell]))["cells"][0]["source"] == "[Measuring](../measuring.md#seeds)"
