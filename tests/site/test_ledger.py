"""The tables of the ledger, from made-up claims and records. How a browser shows them: test_ledger_page.py."""

from dataclasses import replace

import pytest
from docutils.core import publish_doctree
from docutils.nodes import entry, raw
from myst_parser.parsers.docutils_ import Parser

from labkit.claims import Bound, Claim
from labkit.measure import Measurement
from labkit.record import Record
from labkit.runs import RecordedRun
from labkit.site import ledger
from labkit.table import Table

EXTENSIONS = ["colon_fence", "dollarmath", "linkify", "substitution", "tasklist"]  # those of Jupyter Book
TWICE = {"ratio": Bound.parse(">= 2")}
SMALLER = Claim("smaller", "It is smaller.", "han2016deep", "abstract", TWICE)
FASTER = Claim("faster", "It is faster.", "hu2022lora", "abstract", {"speedup": Bound.parse("1.3 .. 1.8")})
ZIPPED = replace(SMALLER, condition="it is zipped", otherwise={"zipped_ratio": Bound.parse(">= 2")})


def ran(scale: str = "standard", date: str | None = None, machine: dict | None = None, **findings) -> RecordedRun:
    """A run on two cores, as far as the ledger reads it."""
    environment = {"processor": "A processor", "cores": 2, "gpu": None, "device": "cpu", "commit": "abc123"}
    record = Record("01_first", scale, 0, findings=findings)
    return RecordedRun(record, environment | (machine or {}), "labkit run", date=date)


def times(value: float) -> Measurement:
    return Measurement.exact(value, "×")


def between(low: float, high: float) -> Measurement:
    return Measurement((low + high) / 2, low, high, "×", 5, "95 % confidence", "Student's t over seeds")


def lab(claims=(SMALLER,), this=None, recorded=None, name="01_first", link="") -> ledger.Lab:
    return ledger.Lab(name, list(claims), this, [recorded] if recorded else [], link)


def cells(table: str) -> list[list[str]]:
    """The text of a table as it is shown, row by row, without its head; HTML stands for itself."""
    settings = {"myst_enable_extensions": EXTENSIONS, "report_level": 5}
    document = publish_doctree(table, parser=Parser(), settings_overrides=settings)
    found = [node.astext() for node in document.findall(entry)]
    width = table.split("* -")[1].count("\n")
    return [found[start : start + width] for start in range(width, len(found), width)]


def results(claim: Claim, this: RecordedRun | None, recorded: RecordedRun | None = None) -> list[str]:
    """What the claim's row shows of the two runs: measured and verdict of each."""
    return cells(ledger.claims_table([lab([claim], this, recorded)]))[0][4:]


def test_a_row_shows_the_claim_and_what_each_run_says_of_it():
    this, recorded = ran(ratio=between(1.9, 2.1)), ran(ratio=times(2.1))
    [[number, claim, _, promise, *shown]] = cells(ledger.claims_table([lab(this=this, recorded=recorded)]))
    assert (number, claim, promise) == ("01", "It is smaller.", "≥ 2")
    undecided = "undecided<br><small>the bound lies inside the interval</small>"
    assert shown == ["2.00×<br><small>[1.90, 2.10]</small>", undecided, "2.10×", "holds"]


def test_a_row_cites_its_source():
    assert "{cite:t}`han2016deep`" in ledger.claims_table([lab()])


def test_rows_are_in_the_order_of_the_labs_and_of_their_claims():
    rows = cells(ledger.claims_table([lab([FASTER, SMALLER]), lab([SMALLER], name="02_second")]))
    assert [row[:2] for row in rows] == [["01", "It is faster."], ["01", "It is smaller."], ["02", "It is smaller."]]


def test_without_a_run_there_are_dashes():
    assert results(SMALLER, None, ran(ratio=times(1.2))) == ["—", "—", "1.20×", "fails"]
    assert results(SMALLER, ran(ratio=times(1.2))) == ["1.20×", "fails", "—", "—"]


def test_what_a_run_has_no_figure_for_is_not_measured():
    assert results(FASTER, ran(ratio=times(1.2)))[:2] == ["—", "not measured at this scale"]


def test_a_rehearsal_shows_its_figure_and_no_verdict():
    assert results(SMALLER, ran("quick", ratio=times(2.5)))[:2] == ["2.50×", "not measured at this scale"]


def test_a_claim_is_judged_as_it_reads_today():
    assert results(replace(SMALLER, promises={"ratio": Bound.parse("<= 1")}), ran(ratio=times(2.5)))[1] == "fails"


def test_a_rate_and_its_loss_stand_in_one_row():
    both = replace(SMALLER, promises=TWICE | {"lost": Bound.parse("<= 0.3")})
    for run in (ran(ratio=times(2.5), lost=times(0.1)), ran(lost=times(0.1), ratio=times(2.5))):
        assert results(both, run)[:2] == ["2.50×<br>0.100×", "holds"]  # in the order of the bounds


def test_a_figure_that_was_read_from_a_recorded_run_says_so():
    run = ran(ratio=times(2.5))
    run.record.read["ratio"] = "nvidia_h200"
    assert results(SMALLER, run)[0] == "2.50×<br><small>recorded</small>"


def test_what_decides_nothing_says_why():
    run = ran(ratio=Measurement(2.1, 2.05, 2.2, "×", 40, "quartiles"))
    measured, verdict = results(SMALLER, run)[:2]
    assert measured == "2.10×<br><small>(2.05 – 2.20)</small>"
    assert verdict == "undecided<br><small>quartiles of 40: no 95 % confidence</small>"


def test_the_condition_of_a_verdict_is_set_small_below_it_and_what_was_measured_under_it_below_the_figure():
    measured, verdict = results(ZIPPED, ran(ratio=times(1.2), zipped_ratio=times(2.5)))[:2]
    assert measured == "1.20×<br><small>then: 2.50×</small>"
    assert verdict == "fails; holds when<br><small>it is zipped</small>"


def test_chance_may_have_turned_one_verdict_in_twenty_that_rest_on_intervals():
    claims = [SMALLER] * 60 + [FASTER]
    decided = lab(claims, recorded=ran(ratio=between(2.5, 2.6)))
    assert ledger.chance_line([decided]).startswith("60 verdicts of the recorded runs rest on intervals of 95 %.")
    assert "expect up to 3 of them" in ledger.chance_line([decided])
    for measured in (times(3), between(1.9, 2.1)):  # exact, and undecided
        assert ledger.chance_line([lab(claims, recorded=ran(ratio=measured))]).startswith("0 verdicts")


def test_the_number_links_to_the_lab_when_the_site_has_it():
    link = "labs/01_first.html#the-ledger"
    assert cells(ledger.claims_table([lab(link=link)]))[0][0] == f'<a href="{link}">01</a>'
    assert cells(ledger.claims_table([lab(link="")]))[0][0] == "01"


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "`a`",
        "$a$ and $$b$$",
        "*a* and _b_",
        "{math}`a`",
        "{{ a }}",
        "[a](b)",
        "<b>a</b> &amp; b",
        "a\\b",
        "- a",
        "1. a",
        "# a",
        "> a",
        "```",
        ":::{note}",
        "(a)=",
        "% a",
        "+++",
        "---",
        "www.a.org",
        "a@b.org",
        "[^1]",
    ],
)
def test_text_is_shown_as_it_is(text):
    table = Table(["head", "head"], [[ledger.escape(text), "next"]]).myst()
    assert cells(table) == [[text, "next"]]
    assert not list(publish_doctree(table, parser=Parser(), settings_overrides={"report_level": 5}).findall(raw))


def test_text_of_several_lines_is_shown_on_one():
    assert ledger.escape("one\n  two") == "one two"


def test_the_verdicts_are_counted_without_their_conditions():
    this = ran(ratio=times(1), zipped_ratio=times(3), speedup=times(1))
    assert cells(ledger.counts_table([lab([ZIPPED, FASTER], this, ran(ratio=times(1)))])) == [
        ["fails; holds when …", "1", "0"],
        ["fails", "1", "1"],
        ["not measured at this scale", "0", "1"],
        ["claims", "2", "2"],
    ]


def test_a_run_shows_scale_date_device_and_commit():
    this = ran("full", "2026-05-04", {"gpu": "A GPU", "device": "cuda", "cores": 16})
    recorded = ran(machine={"commit": None})
    assert cells(ledger.runs_table([lab(this=this, recorded=recorded)])) == [
        ["01", "this", "full", "2026-05-04", "A GPU, 16 cores", "abc123"],
        ["01", "recorded", "standard", "—", "A processor, 2 cores", "—"],
    ]


def test_a_run_that_left_the_gpu_alone_shows_the_processor():
    assert "A processor, 2 cores" in ledger.origin(ran(machine={"gpu": "A GPU", "device": "cpu"}))


def test_a_run_that_no_runner_has_seen_has_no_date():
    assert ledger.origin(ran())[1] == "—"


def test_a_lab_is_read_from_its_folder_and_the_folder_of_records(tmp_path):
    folder, records = tmp_path / "labs" / "01_first", tmp_path / "records"
    folder.mkdir(parents=True)
    claim = '[[claim]]\nid = "smaller"\nclaim = "It is smaller."\nsource = "han2016deep"\n'
    (folder / "claims.toml").write_text(claim + 'makes_claim = "abstract"\npromises = { ratio = ">= 2" }\n')
    ran(scale="quick").write(folder / "recorded" / "quick.json")
    ran(scale="").write(folder / "recorded" / "gpu" / "a.json")
    assert ledger.read_lab(folder, records) == lab(recorded=ran(scale="quick"))
    ran(scale="standard").write(records / "01_first.json")
    assert ledger.read_lab(folder, records, "a").this == ran(scale="standard")
