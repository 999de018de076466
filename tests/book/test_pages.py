"""Every page of the site, loaded in a headless Chromium from a server on this machine."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page

TOC = yaml.safe_load((Path(__file__).parents[2] / "book" / "_toc.yml").read_text())
CHAPTERS = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
LABS = [chapter for chapter in CHAPTERS if chapter.startswith("labs/")]

WAIT_FOR_PICTURES = "Promise.allSettled([...document.images].map(i => { i.loading = 'eager'; return i.decode() }))"
WAIT_FOR_FORMULAS = "window.MathJax && MathJax.startup.promise.then(() => null)"


@dataclass
class Visit:
    """A loaded page and what went wrong while it loaded."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def visit(browser, address):
    """A function that loads a page, once, and returns the Visit."""
    visits: dict[str, Visit] = {}

    def load(name: str) -> Visit:
        if name not in visits:
            visits[name] = seen = Visit(browser.new_page())
            seen.page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
            seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
            seen.page.on("requestfailed", lambda r: seen.errors.append(f"{r.url}: {r.failure}"))
            seen.page.on("request", lambda r: seen.requests.append(r.url))
            seen.page.goto(f"{address}{name}.html", wait_until="networkidle")
            seen.page.evaluate(WAIT_FOR_FORMULAS)
            seen.page.evaluate(WAIT_FOR_PICTURES)
        return visits[name]

    return load


every_page = pytest.mark.parametrize("name", [TOC["root"], *CHAPTERS, "search"])


@every_page
def test_a_page_loads_without_an_error(visit, name):
    assert visit(name).errors == []


@every_page
def test_a_page_asks_nothing_of_another_host(visit, name, address):
    assert [url for url in visit(name).requests if not url.startswith((address, "data:", "blob:"))] == []


@every_page
def test_every_picture_is_there(visit, name):
    lost = "[...document.images].filter(i => !i.complete || i.naturalWidth == 0).map(i => i.src)"
    assert visit(name).page.evaluate(lost) == []


@every_page
def test_every_formula_is_typeset(visit, name):
    raw = """[...document.querySelectorAll(".math")]
        .filter(m => !m.querySelector("mjx-container") || m.querySelector("[data-mjx-error]")).map(m => m.innerText)"""
    assert visit(name).page.evaluate(raw) == []


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_shows_pictures_and_formulas(visit, lab):
    page = visit(lab).page
    assert page.locator(".cell_output img").count() > 0
    assert page.locator("mjx-container").count() > 0


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_can_be_reached_from_the_first_page_and_downloaded_as_a_notebook(visit, lab):
    assert visit(TOC["root"]).page.locator(f"main a[href='{lab}.html']").count() > 0
    assert visit(lab).page.locator(f"a[href$='{Path(lab).name}.ipynb']").count() > 0
