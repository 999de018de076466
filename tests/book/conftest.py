import base64
import importlib.util
import io
import json
import os
import shutil
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat.v4 as nb
import pytest
import yaml
from matplotlib.figure import Figure
from playwright.sync_api import sync_playwright

import browser as chromium

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book"))  # build.py imports its neighbour ledger.py, and so do the tests


@pytest.fixture(scope="session")
def book():
    """The script book/build.py as a module."""
    spec = importlib.util.spec_from_file_location("book_build", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_lab():
    """A function that writes the notebook of a very small lab as it is after its execution."""

    def write(path: Path, text: str = "", outputs: list | None = None) -> None:
        text = "# A lab\n\nA weight of $b$ bits:\n\n$$s = \\frac{b}{8}\\ \\mathrm{bytes}$$\n\n" + text
        text += "\n\n## 2 · The ledger\n\nThe verdicts."
        cells = [
            nb.new_markdown_cell(text),
            nb.new_code_cell("plot()", execution_count=1, outputs=[picture()] if outputs is None else outputs),
        ]
        metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(nb.writes(nb.new_notebook(cells=cells, metadata=metadata)))

    return write


def picture():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2])
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return nb.new_output("display_data", {"image/png": base64.b64encode(png.getvalue()).decode()})


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> Path:
    """Records of this run: those in the folder EXECUTED_RECORDS, else one, the first lab's, dated."""
    if executed := os.environ.get("EXECUTED_RECORDS"):
        return ROOT / executed
    folder = tmp_path_factory.mktemp("records")
    lab = min((ROOT / "labs").glob("[0-9][0-9]_*"))
    record = json.loads((lab / "reference" / "quick.json").read_text())
    record["run"]["date"] = "2026-05-04"
    (folder / f"{lab.name}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def site(book, records, write_lab, tmp_path_factory):
    """The site, built once: from the labs executed in the folder EXECUTED_LABS, else from a very small one each."""
    folder = tmp_path_factory.mktemp("book")
    executed = os.environ.get("EXECUTED_LABS")
    for part in yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())["parts"]:
        for chapter in part["chapters"]:
            if chapter["file"].startswith("labs/"):
                name = Path(chapter["file"]).name
                notebook = folder / "notebooks" / f"{name}.ipynb"
                write_lab(notebook)
                if executed:
                    shutil.copy(ROOT / executed / name / f"{name[3:]}.ipynb", notebook)
    book.build_site(folder / "notebooks", records, folder / "site")
    return folder / "site"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(site):
    """Where a server on this machine shows the site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    path = chromium.find_chromium()
    assert path, chromium.ADVICE
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.FLAGS)
        yield browser
        browser.close()
