import json
import os
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from playwright.sync_api import sync_playwright

from executed import write_lab
from labkit.site import browser as chromium
from labkit.site import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def records(tmp_path_factory) -> Path:
    """Records of this run: those in the folder EXECUTED_RECORDS, else one, the first lab's, dated."""
    if executed := os.environ.get("EXECUTED_RECORDS"):
        return ROOT / executed
    folder = tmp_path_factory.mktemp("records")
    lab = min((ROOT / "labs").glob("[0-9][0-9]_*"))
    record = json.loads((lab / "recorded" / "quick.json").read_text())
    record["run"]["date"] = "2026-05-04"
    (folder / f"{lab.name}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def site(records, tmp_path_factory):
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
    build.build_site(folder / "notebooks", records, folder / "site")
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
