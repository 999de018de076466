"""The labs in JupyterLab, in a browser: opened, run, edited and saved, script and notebook stay one document."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jupytext
import pytest
from playwright.sync_api import Page

from clones import changes, git, make_clone

pytestmark = pytest.mark.slow

LABS = {lab.name: lab for lab in sorted((Path(__file__).parents[2] / "labs").glob("[0-9][0-9]_*"))}
TOKEN = "of-the-tests"
NEWS = "@jupyterlab/apputils-extension:announcements"  # asks at the first start whether to fetch some
# What a reader would see go wrong: a box to click away, a message in a corner, an output in red.
FAULTS = (
    ".jp-Dialog, .jp-Notification-Toast-error, [data-mime-type$='jupyter.error'], [data-mime-type$='jupyter.stderr']"
)


def seconds(lab: str) -> float:
    """How long the lab takes at scale quick."""
    return json.loads((LABS[lab] / "recorded" / "quick.json").read_text())["run"]["seconds"]


FASTEST = min(LABS, key=seconds)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The labs and what they read, as after `git clone` and `make`."""
    folder = tmp_path_factory.mktemp("clone")
    make_clone(folder, ".gitattributes", ".gitignore", "book/references.bib", "labs")
    return folder


@pytest.fixture(scope="module")
def address(clone, tmp_path_factory):
    """Where JupyterLab runs, on the labs as `make lab` opens it. What the user has set for it is not read."""
    own = tmp_path_factory.mktemp("jupyter")
    (own / "config" / "labconfig").mkdir(parents=True)
    (own / "config" / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": {NEWS: True}}))
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "LABKIT_RECORDS"))
    }
    variables |= {f"JUPYTER_{kind.upper()}_DIR": str(own / kind) for kind in ("config", "data", "runtime")}
    variables |= {"IPYTHONDIR": str(own / "ipython"), "LABKIT_SCALE": "quick"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    command = [sys.executable, "-m", "jupyterlab", "labs", *options, f"--IdentityProvider.token={TOKEN}"]
    server = subprocess.Popen(command, cwd=clone, env=variables)
    try:
        address = f"http://localhost:{port}"
        while server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{address}/api", timeout=60):
                break
            time.sleep(0.1)
        assert server.poll() is None, "JupyterLab did not start"
        yield address
    finally:
        server.kill()  # asked to end, it may hang; kernels notice that it is gone
        server.wait()


@dataclass
class Reader:
    """What a reader does in JupyterLab with a clone's labs, and sees there."""

    page: Page
    address: str
    clone: Path

    def script(self, lab: str) -> Path:
        return self.clone / "labs" / lab / f"{lab[3:]}.py"

    def open(self, lab: str, ending: str) -> None:
        """Open the notebook by its address; the script as a notebook, from the list of files."""
        name = f"{lab[3:]}{ending}"
        if ending == ".ipynb":
            self.page.goto(f"{self.address}/lab/tree/{lab}/{name}?reset&token={TOKEN}")
        else:
            self.page.goto(f"{self.address}/lab/tree/{lab}?reset&token={TOKEN}")
            self.page.locator(".jp-DirListing-item").get_by_text(name, exact=True).click(button="right")
            self.choose("Open With", "Notebook")
        cells = read(self.script(lab))
        self.wait(f"notebook?.querySelectorAll('.jp-Cell').length == {len(cells)}")
        self.wait("notebook.querySelector('.jp-Toolbar-kernelName').textContent.startsWith('Python 3')")
        title = cells[0][1].splitlines()[0].removeprefix("# ")
        assert title in self.page.locator(".jp-MarkdownCell h1").first.text_content()

    def choose(self, *names: str) -> None:
        """Click on one entry of a menu after the other."""
        for name in names:
            labels = self.page.locator(".lm-MenuBar-itemLabel, .lm-Menu-itemLabel")
            labels.filter(has_text=re.compile(f"^{name}$")).click()

    def save(self) -> None:
        mark = "document.querySelector('.lm-TabBar-tab.jp-mod-current.jp-mod-dirty')"
        self.wait(mark)
        self.page.keyboard.press("Control+s")
        self.wait(f"!{mark}")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a condition on the page and its notebook holds. What goes wrong until then is an error."""
        function = f"""() => {{
            const notebook = document.querySelector(".jp-NotebookPanel")
            return document.querySelector("{FAULTS}") || {condition}
        }}"""
        self.page.wait_for_function(function, timeout=1000 * seconds)
        assert self.page.locator(FAULTS).all_text_contents() == []


@pytest.fixture
def reader(browser, address, clone):
    """A reader with an empty page. The kernels that start from it end with it, and git undoes what is changed."""
    page = browser.new_page()
    yield Reader(page, address, clone)
    page.close()
    git(clone, "reset", "-q", "--hard")
    for kernel in json.load(urllib.request.urlopen(f"{address}/api/kernels?token={TOKEN}", timeout=60)):
        end = urllib.request.Request(f"{address}/api/kernels/{kernel['id']}?token={TOKEN}", method="DELETE")
        urllib.request.urlopen(end, timeout=60).close()


def read(path: Path) -> list[tuple[str, str]]:
    """Kind and text of every cell."""
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("ending", [".ipynb", ".py"])
def test_either_of_the_pair_opens_as_a_notebook(reader, lab, ending):
    reader.open(lab, ending)
    assert changes(reader.clone) == ""


def test_git_sees_nothing_of_a_run_and_of_what_was_folded_away(reader):
    reader.open(FASTEST, ".ipynb")
    reader.choose("Run", "Run All Cells")
    numbered = "[...notebook.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].every(p => /\\d/.test(p.textContent))"
    reader.wait(f"notebook.querySelector('[data-status=idle]') && {numbered}", seconds=900)
    reader.choose("View", "Collapse All Outputs")
    reader.choose("View", "Collapse All Code")
    reader.page.locator(".jp-MarkdownCell h2").first.click()  # the button is there for the cell that was chosen
    reader.page.locator(".jp-mod-active .jp-collapseHeadingButton").click()
    reader.save()
    script = reader.script(FASTEST)
    kept = json.loads(script.with_suffix(".ipynb").read_text())["cells"]
    assert all(cell["execution_count"] for cell in kept if cell["cell_type"] == "code")
    assert any(cell.get("outputs") for cell in kept)
    assert any("jp-MarkdownHeadingCollapsed" in cell["metadata"] for cell in kept)
    assert read(script) == read(script.with_suffix(".ipynb"))
    assert changes(reader.clone) == ""


@pytest.mark.parametrize("ending", [".ipynb", ".py"])
def test_an_edit_in_either_of_the_pair_reaches_both(reader, ending):
    reader.open(FASTEST, ending)
    reader.page.locator(".jp-MarkdownCell h1").first.dblclick()
    editor = reader.page.locator(".jp-MarkdownCell .cm-content").first
    editor.press("Control+End")
    editor.press_sequentially(" One more sentence.")
    reader.save()
    script = reader.script(FASTEST)
    assert read(script)[0][1].endswith(" One more sentence.")
    assert read(script) == read(script.with_suffix(".ipynb"))
    assert git(reader.clone, "diff", "--name-only").count("\n") == 2
