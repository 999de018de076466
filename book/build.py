"""Build the site: the pages of the book, with the executed labs among them and the claims of all labs in one table.

    python book/build.py [--executed-only] [--notebooks DIR] [--records DIR] [--site DIR]

The labs are not executed here: their notebooks lie in build/notebooks and their records in build/records, where
`make labs` puts them. Any warning is an error, and a site that cannot be built leaves the last one in place.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ledger
import yaml
from docutils.nodes import make_id

BOOK = Path(__file__).parent
LABS = BOOK.parent / "labs"
BUILD = BOOK.parent / "build"


class BookError(RuntimeError):
    """The site cannot be built; the message says what to do."""


def is_executed(notebook: Path) -> bool:
    """Whether the notebook is there, every cell of it has run, and none has failed."""
    if not notebook.is_file():
        return False
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    return all(
        cell["execution_count"] and all(output["output_type"] != "error" for output in cell["outputs"]) for cell in code
    )


def select_labs(toc: dict, notebooks: Path, executed_only: bool) -> tuple[dict, list[Path]]:
    """The table of contents with the labs that can be shown, and their notebooks.

    A chapter `labs/NAME` needs `notebooks/NAME.ipynb`, executed. A lab without one is left out with `executed_only`,
    and a BookError otherwise; so is a book without any lab.
    """
    found, missing, parts = [], [], []
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
    if missing and not (executed_only and found):
        raise BookError(
            f"{', '.join(missing)}: no notebook in {notebooks} that was executed to its end; run the lab with `make labs`"
        )
    if missing:
        print(f"The site leaves out what was not executed to its end: {', '.join(missing)}")
    return {**toc, "parts": parts}, found


def build_site(notebooks: Path, records: Path, site: Path, executed_only: bool = False) -> None:
    """Write the site for the labs in `notebooks`, and what `records` says of this run, to the folder `site`.

    Raises BookError and leaves the site as it was.
    """
    toc, labs = select_labs(yaml.safe_load((BOOK / "_toc.yml").read_text()), notebooks, executed_only)

    source = site.with_name("book")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(BOOK, source, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (source / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    (source / "labs").mkdir()
    for lab in labs:
        (source / "labs" / lab.name).write_text(json.dumps(with_descriptions(json.loads(lab.read_text()))))
    links = {lab.stem: ledger_link(lab) for lab in labs}
    folders = sorted(path.parent for path in LABS.glob("*/claims.toml"))
    claims = [ledger.read_lab(folder, records, links.get(folder.name, "")) for folder in folders]
    (source / "ledger.md").write_text(ledger.chapter((BOOK / "ledger.md").read_text(), claims))

    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [str(jupyter_book), "build", "-W", "-n", "--keep-going", "-q", str(source)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise BookError(f"Jupyter Book found these faults:\n{done.stdout}")

    html = source / "_build" / "html"
    copy_mathjax(html / "_static" / "mathjax")
    replace_folder(site, html)


def ledger_link(notebook: Path) -> str:
    """Where the page of an executed lab judges its claims: its section "The ledger". Raises BookError without one."""
    cells = json.loads(notebook.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    if not (heading := re.search(r"^##+ (.*The ledger)$", text, re.MULTILINE)):
        raise BookError(f'{notebook}: the lab has no section whose heading ends in "The ledger"')
    return f"labs/{notebook.stem}.html#{make_id(heading[1])}"


def with_descriptions(notebook: dict) -> dict:
    """The notebook with the description of each picture where the page builder looks for it: in the cell's metadata."""
    for cell in notebook["cells"]:
        pictures = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        if described := " ".join(picture["alt"] for picture in pictures if picture.get("alt")):
            cell["metadata"]["mystnb"] = {"image": {"alt": described}}
    return notebook


def copy_mathjax(folder: Path) -> None:
    """Put MathJax beside the pages: one file, with every TeX extension and no fonts to load."""
    package = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent
    folder.mkdir(parents=True)
    shutil.copy(package / "static" / "mathjax" / "tex-svg-full.js", folder)


def replace_folder(old: Path, new: Path) -> None:
    """Move folder `new` to where `old` is, or would be."""
    aside = old.with_name(old.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the site from the executed labs.")
    parser.add_argument("--executed-only", action="store_true", help="leave out labs that were not executed")
    parser.add_argument("--notebooks", type=Path, default=BUILD / "notebooks", help="executed labs (build/notebooks)")
    parser.add_argument("--records", type=Path, default=BUILD / "records", help="this run's results (build/records)")
    parser.add_argument("--site", type=Path, default=BUILD / "site", help="where the site goes (build/site)")
    options = parser.parse_args()
    try:
        build_site(options.notebooks, options.records, options.site, options.executed_only)
    except BookError as error:
        print(f"The site was not built: {error}", file=sys.stderr)
        return 1
    print(f"The site: {options.site / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
