"""Figures and tables that the pages take from recorded runs."""

import re
from pathlib import Path

import pytest

from labkit.authoring import new, repository
from labkit.site import build, figures, ledger, picture

ROOT = Path(__file__).parents[2]
TEN = {"value": 10.0, "low": 9.0, "high": 11.0, "unit": "×", "n": 3}
ONE = {"value": 1.0, "low": 1.0, "high": 1.0, "unit": "×", "n": 1}


def record(scale: str, seconds: float = 90, peak: float = 2.5e9, **findings: dict) -> dict:
    machine = {"processor": "A processor", "cores": 2, "gpu": None, "device": "cpu", "commit": None}
    rows = [{"name": "static INT8", "measurements": {"size": ONE}}]
    ran = {"seconds": seconds, "peak_bytes": peak}
    return {"scale": scale, "findings": findings, "rows": rows, "environment": machine, "run": ran}


def lab(*runs: dict, name: str = "01_first", link: str = "labs/01_first.html#the-ledger") -> ledger.Lab:
    return ledger.Lab(name, [], None, list(runs), link)


def test_a_finding_stands_with_its_interval():
    shown = figures.fill("It is {{ 01 ratio }} smaller.", [lab(record("quick", ratio=TEN))])
    assert shown.replace("\\", "") == "It is 10.0× [9.00, 11.0] smaller."


def test_a_finding_comes_from_the_run_at_the_largest_scale():
    runs = record("full", ratio=TEN), record("standard", ratio=ONE), record("quick", ratio=ONE)
    assert "10" in figures.fill("{{ 01 ratio }}", [lab(*runs)])


def test_a_measurement_of_a_row_is_named_by_row_and_metric():
    assert figures.fill("{{ 01 static INT8 : size }}", [lab(record("quick"))]).replace("\\", "") == "1.00×"


@pytest.mark.parametrize("key", ["ration", "static INT8 : latency", "no row : size"])
def test_what_nobody_measured_is_an_error_that_names_it(key):
    with pytest.raises(figures.UnknownFigure, match=key):
        figures.fill(f"{{{{ 01 {key} }}}}", [lab(record("quick", ratio=TEN))])


@pytest.mark.parametrize("up", ["", "../"])
def test_a_link_to_a_lab_that_the_site_leaves_out_is_plain_text(up):
    text = f"See [Lab 01]({up}labs/01_first.ipynb) and [Lab 02]({up}labs/02_second.ipynb)."
    labs = [lab(record("quick")), lab(record("quick"), name="02_second", link="")]
    assert figures.fill(text, labs) == f"See [Lab 01]({up}labs/01_first.ipynb) and Lab 02."


def test_the_table_of_times_has_every_recorded_run_from_the_smallest_scale_and_then_this_one():
    ran = ledger.Lab("01_first", [], record("quick", 30, 1e9), [record("full", 600), record("quick", 61)], "")
    rows = re.findall(r"\* - 01\n  - (\w+)\n  - (\w+)\n  - (.*)\n  - (.*)\n", figures.timings_table([ran]))
    assert rows == [
        ("recorded", "quick", "1.0 min", "2.5 GB"),
        ("recorded", "full", "10.0 min", "2.5 GB"),
        ("this", "quick", "0.5 min", "1.0 GB"),
    ]


def test_a_reader_is_told_the_time_at_scale_standard_where_it_was_recorded():
    assert figures.usual([record("full"), record("standard"), record("quick")])["scale"] == "standard"
    assert figures.usual([record("full"), record("quick")])["scale"] == "quick"


def test_the_readme_says_of_each_lab_what_its_source_and_its_recorded_run_say():
    readme, setting = (ROOT / "README.md").read_text(), repository.read(ROOT)
    for each in build.read_labs(ROOT / "nowhere", {}):
        title, question = figures.heading(ROOT / "labs" / each.name / f"{each.name[3:]}.py")
        [(row, short)] = re.findall(rf"^(\| .*\[(.*)\]\(labs/{each.name}/\).*)$", readme, re.MULTILINE)
        assert title.startswith(f"Lab {each.name[:2]} · {short}"), (
            f"in README.md the title is not the beginning of: {title}"
        )
        due = new.readme_row(each.name, short, question, figures.usual(each.runs)["run"], setting)
        assert row == due, f"in README.md the row should read:\n{due}"


def test_the_table_of_exercises_has_those_of_every_assignment():
    table = figures.exercises_table(build.read_labs(ROOT / "nowhere", {}))
    asked = {
        path.parent.name: path.read_text().count("# # BEGIN QUESTION") for path in ROOT.glob("labs/*/assignment.py")
    }
    assert asked and {lab: len(re.findall(rf"^\* - {lab[:2]}$", table, re.MULTILINE)) for lab in asked} == asked


def test_the_picture_of_the_first_page_is_the_one_that_the_recorded_runs_give(tmp_path):
    picture.write(tmp_path / "multiply.svg", picture.draw(picture.shares()))
    assert (tmp_path / "multiply.svg").read_bytes() == (ROOT / "book" / "multiply.svg").read_bytes(), (
        "run `python -m labkit.site.picture`"
    )


def test_the_picture_shows_what_its_descriptions_say():
    shown = sorted(share.value for share in picture.shares().values())
    assert (len(shown), sum(share < 1 for share in shown)) == (8, 7) and shown[0] < 0.5, (
        "the picture is described in README.md and book/index.md: bring their words up to date, and then this test"
    )
