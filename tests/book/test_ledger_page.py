"""The ledger as a browser shows it: the claims of all labs, their links, and the order of the rows."""

import json
import re
from pathlib import Path

import pytest

from labkit.claims import load_claims

pytestmark = pytest.mark.slow

LABS = sorted((Path(__file__).parents[2] / "labs").glob("[0-9][0-9]_*"))
COLUMNS = ["lab", "claim", "source", "promised", "measured", "verdict", "measured (recorded)", "verdict (recorded)"]


@pytest.fixture
def page(browser, address):
    """The page, fresh; a test that leaves an error in its console fails."""
    page, errors = browser.new_page(), []
    page.set_default_timeout(10_000)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}ledger.html")
    yield page
    page.close()
    assert errors == []


def column(page, name: str) -> list[str]:
    """The first lines of a column's cells, from top to bottom."""
    cells = page.locator(f"table.sortable tbody td:nth-child({COLUMNS.index(name) + 1})").all_inner_texts()
    return [cell.strip().split("\n")[0].replace("’", "'") for cell in cells]


def button(page, name: str):
    return page.locator("table.sortable").get_by_role("button", name=name, exact=True)


def direction(page, name: str) -> str | None:
    return page.locator("table.sortable").get_by_role("columnheader", name=name, exact=True).get_attribute("aria-sort")


def measured(cells: list[str]) -> list[float]:
    return [float(re.match(r"-?[\d.]+", cell)[0]) for cell in cells if cell != "—"]


def test_every_claim_of_every_lab_has_its_row(page):
    claims = [(lab.name[:2], claim.claim) for lab in LABS for claim in load_claims(lab / "claims.toml")]
    assert list(zip(column(page, "lab"), column(page, "claim"))) == claims


def test_a_lab_with_a_record_shows_its_verdicts_and_one_without_a_dash(page, records):
    shown = list(zip(column(page, "lab"), column(page, "verdict")))
    for lab in LABS:
        ran = (records / f"{lab.name}.json").is_file()
        assert {verdict != "—" for number, verdict in shown if number == lab.name[:2]} == {ran}
    assert "—" not in column(page, "verdict (recorded)")


def test_the_number_of_a_lab_leads_to_the_section_that_judges_its_claims(page, address):
    links = page.locator("table.sortable tbody td:first-child a").evaluate_all("links => links.map(a => a.href)")
    assert len(links) == len(column(page, "lab"))
    for link in dict.fromkeys(links):
        assert link.startswith(f"{address}labs/")
        page.goto(link)
        assert "The ledger" in page.locator(f"#{link.split('#')[1]} > h2").inner_text()


def test_a_source_leads_to_its_entry_in_the_bibliography(page, site):
    targets = page.locator("table.sortable tbody td:nth-child(3) a").evaluate_all("links => links.map(a => a.hash)")
    ids = re.findall(r'id="([^"]+)"', (site / "references.html").read_text())
    assert len(targets) == len(column(page, "source"))
    assert {target[1:] for target in targets} <= set(ids)


def test_each_run_shows_its_scale_date_and_device(page, records):
    rows = page.locator("table.runs tbody tr").all_inner_texts()
    assert len(rows) == 2 * len(LABS)
    for lab, row in zip(LABS, rows[::2]):
        path = records / f"{lab.name}.json"
        if path.is_file():
            record = json.loads(path.read_text())
            machine = record["environment"]
            assert record["scale"] in row and (record["run"]["date"] or "—") in row
            assert f"{machine['cores']} cores" in row and (machine["commit"] or "—") in row
    assert all("cores" in row for row in rows[1::2])


@pytest.mark.parametrize("press", ["click", "Enter", "Space"])
def test_a_column_is_sorted_by_its_name_and_reversed_by_it_by_mouse_and_keyboard(page, press):
    def use(name):
        button(page, name).click() if press == "click" else button(page, name).press(press)

    use("verdict (recorded)")
    up = column(page, "verdict (recorded)")
    assert up == sorted(up) and len(set(up)) > 1
    assert direction(page, "verdict (recorded)") == "ascending"
    use("verdict (recorded)")
    assert column(page, "verdict (recorded)") == up[::-1]
    assert direction(page, "verdict (recorded)") == "descending"
    use("claim")
    assert direction(page, "verdict (recorded)") is None and direction(page, "claim") == "ascending"


def test_figures_are_sorted_as_numbers(page):
    assert direction(page, "measured (recorded)") is None
    button(page, "measured (recorded)").click()
    up = measured(column(page, "measured (recorded)"))
    assert up == sorted(up)
    button(page, "promised").click()
    promised = measured([cell.lstrip("≥≤ ") for cell in column(page, "promised")])
    assert promised == sorted(promised)


def test_what_was_not_measured_stays_last_in_either_direction(page):
    missing = column(page, "measured").count("—")
    for _ in range(2):
        button(page, "measured").click()
        assert [cell == "—" for cell in column(page, "measured")[::-1]].index(False) == missing


def test_rows_move_whole(page):
    before = set(zip(*(column(page, name) for name in COLUMNS)))
    button(page, "claim").click()
    assert set(zip(*(column(page, name) for name in COLUMNS))) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone_the_table_scrolls_in_its_box_and_the_page_does_not(page, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = "box => box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX == 'auto'"
    assert page.locator("div:has(> table.sortable)").evaluate(box)
