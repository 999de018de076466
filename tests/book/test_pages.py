"""Every page of the site, loaded in a headless Chromium from a server on this machine."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import numpy as np
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page

from labkit.authoring import repository
from labkit.site import buttons

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
FIRST = [chapter for part in TOC["parts"] for chapter in part["chapters"]]
CHAPTERS = [page["file"] for chapter in FIRST for page in [chapter, *chapter.get("sections", [])]]
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
            visits[name] = seen = Visit(browser.new_page(reduced_motion="reduce"))  # colours change at once
            seen.page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
            seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
            seen.page.on("requestfailed", lambda r: seen.errors.append(f"{r.url}: {r.failure}"))
            seen.page.on("request", lambda r: seen.requests.append(r.url))
            seen.page.goto(f"{address}{name}.html", wait_until="networkidle")
            seen.page.evaluate(WAIT_FOR_FORMULAS)
            seen.page.evaluate(WAIT_FOR_PICTURES)
        return visits[name]

    return load


EVERY_PAGE = [TOC["root"], *CHAPTERS, "search"]
every_page = pytest.mark.parametrize("name", EVERY_PAGE)


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
def test_a_lab_can_be_reached_from_the_first_page(visit, lab):
    assert visit(TOC["root"]).page.locator(f"main a[href='{lab}.html']").count() > 0


@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("ending", [".ipynb", ".py"])
def test_a_lab_is_downloaded_as_notebook_and_as_script_as_the_repository_has_them(visit, site, lab, ending):
    name = Path(lab).name
    page = visit(lab).page
    page.get_by_role("button", name="Download this lab").click()
    with page.expect_download() as download:
        page.locator(f"a[download][href$='{name[3:]}{ending}']").click()
    offered, kept = (
        [cell.source for cell in jupytext.reads(path.read_text(), ending).cells]
        for path in (download.value.path(), ROOT / lab / f"{name[3:]}{ending}")
    )
    assert offered == kept


@pytest.mark.parametrize("lab", LABS)
def test_a_lab_opens_in_colab_where_a_repository_is_set(visit, lab):
    setting = repository.read(ROOT)
    found = visit(lab).page.locator("a.btn-launch-colab-button").all()
    due = [setting.colab(Path(lab).name)] if setting else []
    assert [button.get_attribute("href") for button in found] == due


@pytest.mark.parametrize("name", [TOC["root"], *CHAPTERS])
def test_a_page_leads_to_its_source_where_a_repository_is_known(visit, name):
    links = visit(name).page.get_by_role("link", name="Source of this page").all()
    sources = [link.get_attribute("href") for link in links]
    if known := buttons.source_repository():
        [source] = sources
        assert source.startswith(known.source("")) and (ROOT / source.removeprefix(known.source(""))).is_file()
    else:
        assert sources == []


@every_page
def test_every_picture_is_described(visit, name):
    silent = "[...document.images].filter(i => !i.alt.trim() || i.alt == i.src).map(i => i.src.slice(-60))"
    assert visit(name).page.evaluate(silent) == []


@pytest.mark.parametrize("lab", LABS)
def test_code_has_a_button_that_copies_it(visit, lab):
    without = (
        "[...document.querySelectorAll('.cell_input pre')].filter(p => !p.parentElement.querySelector('.copybtn'))"
    )
    assert visit(lab).page.evaluate(f"{without}.map(pre => pre.innerText)") == []


@every_page
def test_no_page_scrolls_sideways_on_a_telephone(visit, name):
    page = visit(name).page
    before = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size(before)


def serious_faults(page: Page, **options) -> list[str]:
    faults = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    serious = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {[node['html'][:120] for node in fault['nodes'][:4]]}" for fault in serious]


@every_page
def test_axe_finds_no_serious_fault(visit, name):
    assert serious_faults(visit(name).page) == []


@pytest.mark.parametrize("name", [name for name in EVERY_PAGE if name not in LABS[1:]])
def test_axe_finds_enough_contrast_in_dark_mode(visit, name):
    page = visit(name).page
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
    faults = serious_faults(page, runOnly=["color-contrast"])  # nothing else depends on it
    page.emulate_media(color_scheme="light")
    assert faults == []


@pytest.mark.parametrize("lab", LABS)
def test_in_dark_mode_plots_keep_their_contrast(visit, lab):
    page = visit(lab).page
    pictures = page.locator(".cell_output img").all()

    def shown(scheme: str) -> list[np.ndarray]:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        shots = [Image.open(io.BytesIO(picture.screenshot())).convert("L") for picture in pictures[:4]]
        return [np.asarray(shot)[10:-10, 10:-10].astype(float) for shot in shots]  # without the rounded border

    def paper(picture: np.ndarray) -> float:
        """Where most of it lies between its darkest and its lightest."""
        return (np.median(picture) - picture.min()) / np.ptp(picture)

    for in_dark, in_light in zip(shown("dark"), shown("light")):
        assert np.ptp(in_dark) > 0.6 * np.ptp(in_light)
        assert abs(paper(in_dark) - paper(in_light)) < 0.1  # neither inverted nor see-through


def test_the_search_finds_huffman(browser, address):
    page = browser.new_page()
    page.goto(f"{address}search.html?q=Huffman", wait_until="networkidle")
    found = page.locator("#search-results ul.search li a")
    found.first.wait_for()
    links = found.evaluate_all("links => links.map(a => a.href)")
    assert any("glossary" in link for link in links)
    page.close()


def test_the_search_field_is_reached_and_used_by_keyboard(browser, address):
    page = browser.new_page()
    page.goto(f"{address}index.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.wait_for_function("document.activeElement.name === 'q'")  # the field is there and has the focus
    page.keyboard.type("codebook")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=codebook*")
    page.close()


def test_the_first_tab_leads_past_the_menus_to_the_text(browser, address):
    page = browser.new_page()
    page.goto(f"{address}index.html", wait_until="networkidle")
    page.keyboard.press("Tab")
    assert "main content" in page.evaluate("document.activeElement.innerText")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    page.close()


def test_the_theme_is_changed_by_keyboard(browser, address):
    page = browser.new_page(color_scheme="light")
    page.goto(f"{address}index.html", wait_until="networkidle")
    switch = page.locator("button.theme-switch-button").first
    seen = set()
    for _ in range(3):
        switch.press("Enter")
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == {"light", "dark"}
    page.close()
