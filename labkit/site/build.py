"""Build the site: the pages of the book, with the executed labs among them and the claims of all labs in one table.

The labs are not executed here: their notebooks lie in build/notebooks and their records in build/records, where
`make labs` puts them. Any warning is an error, and a site that cannot be built leaves the last one in place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import yaml
from docutils.nodes import make_id

from labkit.site import figures, ledger, source_tree
from labkit.site.source_tree import BOOK, LABS, BookError


def is_executed(notebook: Path) -> bool:
    """Whether the notebook is there, every cell of it has run, and none has failed."""
    if not notebook.is_file():
        return False
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    return all(
        cell["execution_count"] and all(output["output_type"] != "error" for output in cell["outputs"]) for cell in code
    )


def select_labs(toc: dict, notebooks: Path) -> tuple[dict, list[Path]]:
    """The table of contents with the labs that can be shown, and their notebooks.

    A chapter `labs/NAME` needs `notebooks/NAME.ipynb`, executed; a lab without one is left out. Raises BookError when
    none has one.
    """
    found = []
    missing = []
    parts = []
    for part in toc["parts"]:
        chapters = []
        for chapter in part["chapters"]:
            folder, _, name = chapter["file"].rpartition("/")
            notebook = notebooks / f"{name}.ipynb"
            if folder != "labs":
                chapters.append(chapter)
            elif is_executed(notebook):
                chapters.append(chapter)
                found.append(notebook)
            else:
                missing.append(name)
        if chapters:
            parts.append({**part, "chapters": chapters})
    if not found:
        raise BookError(f"no lab in {notebooks} was executed to its end; run one with `make labs`")
    if missing:
        print(f"The site leaves out what was not executed to its end: {', '.join(missing)}")
    return {**toc, "parts": parts}, found


def build_site(notebooks: Path, records: Path, site: Path) -> None:
    """Write the site for the labs in `notebooks`, and what `records` says of this run, to the folder `site`.

    Raises BookError and leaves the site as it was.
    """
    source, labs = write_source(notebooks, records, site.with_name(f"{site.name}.source"))
    html = run_jupyter_book(source, "html")
    copy_downloads(html, labs)
    for page in pages_of(html):
        page.write_text(accessible(page.read_text()))
    if dead := list(dead_links(html)):
        raise BookError("these links lead nowhere:\n" + "\n".join(dead))
    replace_folder(site, html)


def write_source(notebooks: Path, records: Path, source: Path) -> tuple[Path, list[Path]]:
    """Make what Jupyter Book reads in the folder `source`; return it and the notebooks that it shows."""
    source_tree.require(BOOK)
    toc, labs = select_labs(yaml.safe_load((BOOK / "_toc.yml").read_text()), notebooks)
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(BOOK, source)
    (source / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    (source / "labs").mkdir()
    shutil.copy(LABS / "colab.svg", source / "labs")
    for lab in labs:
        (source / "labs" / lab.name).write_text(json.dumps(prepared(json.loads(lab.read_text()))))
    fill_pages(source, read_labs(records, {lab.stem: ledger_link(lab) for lab in labs}))
    return source, labs


def run_jupyter_book(source: Path, builder: str) -> Path:
    """Build the pages ("html") or all of them in one ("singlehtml") and return the folder. Raises BookError."""
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", "--builder", builder, "-W", "-n", "--keep-going", "-q", str(source)]
    environment = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1"}  # the pages that run do so with this interpreter
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if done.returncode != 0:
        raise BookError(f"Jupyter Book found these faults:\n{done.stdout}")
    html = source / "_build" / builder
    copy_mathjax(html / "_static" / "mathjax")
    return html


def read_labs(records: Path, links: dict[str, str]) -> list[ledger.Lab]:
    """Claims and records of all labs; `links` leads to the ledger of those that the site shows."""
    folders = sorted(path.parent for path in LABS.glob("[0-9][0-9]_*/claims.toml"))
    return [ledger.read_lab(folder, records, links.get(folder.name, "")) for folder in folders]


def fill_pages(source: Path, labs: list[ledger.Lab]) -> None:
    """Put tables and figures in place of the placeholders. Raises BookError for a figure that nobody measured."""
    tables = {
        "chance": ledger.chance_line,
        "counts": ledger.counts_table,
        "claims": ledger.claims_table,
        "runs": ledger.runs_table,
        "timings": figures.timings_table,
        "t4": figures.t4_table,
        "labs": figures.labs_table,
        "exercises": figures.exercises_table,
    }
    for page in source.rglob("*.md"):
        text = page.read_text()
        for name, table in tables.items():
            if f"{{{{ {name} }}}}" in text:
                text = text.replace(f"{{{{ {name} }}}}", table(labs))
        try:
            page.write_text(figures.fill(text, labs))
        except figures.UnknownFigure as error:
            raise BookError(f"{page.relative_to(source)}: {error}") from error


def ledger_link(notebook: Path) -> str:
    """Where the page of an executed lab judges its claims: its section "The ledger". Raises BookError without one."""
    cells = json.loads(notebook.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    if not (heading := re.search(r"^##+ (.*The ledger)$", text, re.MULTILINE)):
        raise BookError(f'{notebook}: the lab has no section whose heading ends in "The ledger"')
    return f"labs/{notebook.stem}.html#{make_id(heading[1])}"


def prepared(notebook: dict) -> dict:
    """The notebook as the page builder wants it.

    The description of each picture stands in the cell's metadata, the badge and the book's pages are found from where
    the page lies, and what a progress bar has left is gone.
    """
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [
                output for output in cell["outputs"] if "".join(output.get("data", {}).get("text/html", "?"))
            ]
        cell["source"] = (
            "".join(cell["source"]).replace("(../colab.svg)", "(colab.svg)").replace("](../../book/", "](../")
        )
        pictures = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        if described := " ".join(picture["alt"] for picture in pictures if picture.get("alt")):
            cell["metadata"]["mystnb"] = {"image": {"alt": described}}
    return notebook


def copy_mathjax(folder: Path) -> None:
    """Put MathJax beside the pages: one file, with every TeX extension and no fonts to load."""
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    folder.mkdir(parents=True)
    shutil.copy(package / "static" / "mathjax" / "tex-svg-full.js", folder)


def copy_downloads(html: Path, labs: list[Path]) -> None:
    """Put each lab's notebook, without outputs, and its script where its page's buttons lead to."""
    for lab in labs:
        folder, name = Path("labs") / lab.stem, lab.stem[3:]
        (html / folder).mkdir()
        shutil.copy(LABS / lab.stem / f"{name}.py", html / folder)
        notebook = nbformat.read(LABS / lab.stem / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:  # which JupyterLab may have saved with what they gave
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, html / folder / f"{name}.ipynb")
        page = html / "labs" / f"{lab.stem}.html"
        button = 'class="btn btn-sm btn-download-'
        page.write_text(page.read_text().replace(button, f"download {button}"))  # not shown in a new tab


def accessible(page: str) -> str:
    """The page without what a screen reader stumbles over in the theme's and docutils' HTML, and axe reports."""
    opener = '<summary><span class="toctree-toggle"'
    page = page.replace(opener, opener.replace("<summary", '<summary aria-label="pages of this chapter"'))
    return page.replace('<div role="list" class="citation-list">', '<div class="citation-list">')  # of no list items


class Links(HTMLParser):
    """The addresses that a page leads to and loads from, and the places in it that can be led to."""

    def __init__(self, page: Path):
        super().__init__()
        self.addresses, self.places = set(), {""}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.addresses |= {values[name] for name in ("href", "src") if values.get(name)}
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}


def pages_of(site: Path) -> list[Path]:
    """The pages of a site, without the templates that the theme leaves among its styles."""
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def dead_links(site: Path) -> Iterator[str]:
    """A line for each link within the site, in any of its pages, to a file or place that is not there."""
    pages = {page.relative_to(site).as_posix(): Links(page) for page in pages_of(site)}
    for name, page in pages.items():
        for address in sorted(page.addresses):
            path, place = urldefrag(urljoin(f"http://site/{name}", address))
            if not path.startswith("http://site/") or address.startswith(("data:", "#pst-", "javascript:")):
                continue
            target = unquote(path.removeprefix("http://site/").partition("?")[0])
            there = (site / target).exists()
            if not there or (target in pages and unquote(place) not in pages[target].places):
                yield f"{name}: {address}"


def outside_links(site: Path) -> dict[str, list[str]]:
    """The addresses outside the site, each with the pages that lead to it. Raises BookError without a site."""
    if not site.is_dir():
        raise BookError("there is none yet: type `make labs`")
    found: dict[str, list[str]] = {}
    for page in pages_of(site):
        for address in sorted(Links(page).addresses):
            if address.startswith(("http:", "https:")):
                found.setdefault(address, []).append(page.relative_to(site).as_posix())
    return dict(sorted(found.items()))


def replace_folder(old: Path, new: Path) -> None:
    """Move folder `new` to where `old` is, or would be."""
    aside = old.with_name(old.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
