"""Figures and tables that the pages take from recorded runs."""

import re
from pathlib import Path

import pytest

from labkit import runs
from labkit.authoring import new, repository
from labkit.measure import Measurement
from labkit.record import Record
from labkit.runs import RecordedRun
from labkit.site import build, figures, ledger, picture

ROOT = Path(__file__).parents[2]
TEN = Measurement(10.0, 9.0, 11.0, "×", 3, "95 % confidence", "Student's t over seeds")
ONE = Measurement.exact(1, "×")


def ran(scale: str, seconds: float = 90, peak: int = 2_500_000_000, **findings: Measurement) -> RecordedRun:
    machine = {"processor": "A processor", "cores": 2, "gpu": None, "device": "cpu", "commit": None}
    record = Record("01_first", scale, 0, findings=findings)
    record.add("static INT8", size=ONE)
    return RecordedRun(record, machine, "labkit run", seconds, peak)


def lab(*runs: RecordedRun, name: str = "01_first", link: str = "labs/01_first.html#the-ledger") -> ledger.Lab:
    return ledger.Lab(name, [], None, list(runs), link)


def test_a_finding_stands_with_its_interval():
    shown = figures.fill("It is {{ 01 ratio }} smaller.", [lab(ran("quick", ratio=TEN))])
    assert shown.replace("\\", "") == "It is 10.0× [9.00, 11.0] smaller."


def test_a_finding_comes_from_the_run_at_the_largest_scale():
    runs = ran("quick", ratio=ONE), ran("standard", ratio=ONE), ran("full", ratio=TEN)
    assert "10" in figures.fill("{{ 01 ratio }}", [lab(*runs)])


def test_a_measurement_of_a_row_is_named_by_row_and_metric():
    assert figures.fill("{{ 01 static INT8 : size }}", [lab(ran("quick"))]).replace("\\", "") == "1.00×"


@pytest.mark.parametrize("key", ["ration", "static INT8 : latency", "no row : size"])
def test_what_nobody_measured_is_an_error_that_names_it(key):
    with pytest.raises(figures.UnknownFigure, match=key):
        figures.fill(f"{{{{ 01 {key} }}}}", [lab(ran("quick", ratio=TEN))])


@pytest.mark.parametrize("up", ["", "../"])
def test_a_link_to_a_lab_that_the_site_leaves_out_is_plain_text(up):
    text = f"See [Lab 01]({up}labs/01_first.ipynb) and [Lab 02]({up}labs/02_second.ipynb)."
    labs = [lab(ran("quick")), lab(ran("quick"), name="02_second", link="")]
    assert figures.fill(text, labs) == f"See [Lab 01]({up}labs/01_first.ipynb) and Lab 02."


def test_the_table_of_times_has_every_recorded_run_from_the_smallest_scale_and_then_this_one():
    shown = ledger.Lab("01_first", [], ran("quick", 30, 10**9), [ran("quick", 61), ran("full", 600)], "")
    rows = re.findall(r"\* - 01\n  - (\w+)\n  - (\w+)\n  - (.*)\n  - (.*)\n", figures.timings_table([shown]))
    assert rows == [
        ("recorded", "quick", "1.0 min", "2.5 GB"),
        ("recorded", "full", "10.0 min", "2.5 GB"),
        ("this", "quick", "0.5 min", "1.0 GB"),
    ]


def test_a_reader_is_told_the_time_at_scale_standard_where_it_was_recorded():
    assert figures.usual([ran("quick"), ran("standard"), ran("full")]).scale == "standard"
    assert figures.usual([ran("quick"), ran("full")]).scale == "quick"


def test_the_readme_says_of_each_lab_what_its_source_and_its_recorded_run_say():
    readme, setting = (ROOT / "README.md").read_text(), repository.read(ROOT)
    for each in build.read_labs(ROOT / "nowhere", {}):
        title, question = figures.heading(ROOT / "labs" / each.name / f"{each.name[3:]}.py")
        [(row, short)] = re.findall(rf"^(\| .*\[(.*)\]\(labs/{each.name}/\).*)$", readme, re.MULTILINE)
        assert title.startswith(f"Lab {each.name[:2]} · {short}"), (
            f"in README.md the title is not the beginning of: {title}"
        )
        t4 = runs.t4_estimate(ROOT / "labs" / each.name)
        due = new.readme_row(each.name, short, question, figures.usual(each.runs), t4, setting)
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
    shown = picture.shares().values()
    short = [share.value for share in shown if share.high < 1]
    counts = {
        "stacks": len(shown),
        "short": len(short),
        "by a twentieth or less": sum(share >= 0.95 for share in short),
        "by a quarter or more": sum(share <= 0.75 for share in short),
        "above": sum(share.low > 1 for share in shown),
    }
    assert counts == {
        "stacks": 9,
        "short": 7,
        "by a twentieth or less": 2,
        "by a quarter or more": 5,
        "above": 1,
    }, "the picture is described in README.md and book/index.md: bring their words up to date, and then this test"
