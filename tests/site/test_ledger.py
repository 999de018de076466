"""The tables of the ledger, from made-up claims and records. How a browser shows them: test_ledger_page.py."""

import json
from dataclasses import replace

import pytest
from docutils.core import publish_doctree
from docutils.nodes import entry, raw
from myst_parser.parsers.docutils_ import Parser

from labkit.claims import Check, Claim
from labkit.site import ledger

EXTENSIONS = ["colon_fence", "dollarmath", "linkify", "substitution", "tasklist"]  # those of Jupyter Book
SMALLER = Claim("smaller", "It is smaller.", "han2016deep", Check("ratio", ">= 2"))
FASTER = Claim("faster", "It is faster.", "hu2022lora", Check("speedup", "1.3 .. 1.8"))


def judged(claim: Claim, verdict: str, measured: str = "2.10× [2.00, 2.20]", under: str = "") -> dict:
    condition = {"condition": claim.condition, "under_condition": under}
    return {"id": claim.id, "promise": claim.check.promise, "measured": measured, "verdict": verdict} | condition


def record(*verdicts: dict, scale: str = "quick", run: dict | None = None, **machine) -> dict:
    """A record of a run on two cores, as far as the ledger reads it."""
    environment = {"processor": "A processor", "cores": 2, "gpu": None, "device": "cpu", "commit": "abc123"} | machine
    return {"scale": scale, "environment": environment, "verdicts": list(verdicts), "run": run or {"seconds": 1}}


def lab(claims=(SMALLER,), this=None, recorded=None, name="01_first", link="") -> ledger.Lab:
    return ledger.Lab(name, list(claims), this, [recorded] if recorded else [], link)


def cells(table: str) -> list[list[str]]:
    """The text of a table as it is shown, row by row, without its head; HTML stands for itself."""
    settings = {"myst_enable_extensions": EXTENSIONS, "report_level": 5}
    document = publish_doctree(table, parser=Parser(), settings_overrides=settings)
    found = [node.astext() for node in document.findall(entry)]
    width = table.split("* -")[1].count("\n")
    return [found[start : start + width] for start in range(width, len(found), width)]


def results(claim: Claim, this: dict | None, recorded: dict | None = None) -> list[str]:
    """What the claim's row shows of the two runs: measured and verdict of each."""
    return cells(ledger.claims_table([lab([claim], this, recorded)]))[0][4:]


def test_a_row_shows_the_claim_and_what_each_run_says_of_it():
    this, recorded = record(judged(SMALLER, "undecided", "2.0×")), record(judged(SMALLER, "holds", "2.1×"))
    [[number, claim, _, promise, *shown]] = cells(ledger.claims_table([lab(this=this, recorded=recorded)]))
    assert (number, claim, promise) == ("01", "It is smaller.", "≥ 2")
    assert shown == ["2.0×", "undecided", "2.1×", "holds"]


def test_a_row_cites_its_source():
    assert "{cite:t}`han2016deep`" in ledger.claims_table([lab()])


def test_rows_are_in_the_order_of_the_labs_and_of_their_claims():
    rows = cells(ledger.claims_table([lab([FASTER, SMALLER]), lab([SMALLER], name="02_second")]))
    assert [row[:2] for row in rows] == [["01", "It is faster."], ["01", "It is smaller."], ["02", "It is smaller."]]


def test_without_a_record_of_this_run_there_are_dashes_and_the_recorded_run_still():
    assert results(SMALLER, None, record(judged(SMALLER, "fails", "1.2×"))) == ["—", "—", "1.2×", "fails"]


def test_without_a_recorded_run_there_are_dashes_too():
    assert results(SMALLER, record(judged(SMALLER, "fails", "1.2×"))) == ["1.2×", "fails", "—", "—"]


def test_a_claim_that_came_after_the_run_has_dashes():
    assert results(FASTER, record(judged(SMALLER, "holds"))) == ["—"] * 4


def test_a_verdict_on_another_promise_is_not_shown():
    assert results(SMALLER, record(judged(SMALLER, "holds") | {"promise": ">= 1"})) == ["—"] * 4


def test_what_this_scale_does_not_measure_has_a_verdict_but_no_figure():
    this = record(judged(SMALLER, "not measured at this scale", ""))
    assert results(SMALLER, this)[:2] == ["—", "not measured at this scale"]


def test_the_interval_of_a_figure_is_set_small_below_it():
    assert results(SMALLER, record(judged(SMALLER, "holds")))[0] == "2.10×<br><small>2.00 – 2.20</small>"


def test_the_condition_of_a_verdict_is_set_small_below_it_and_what_was_measured_under_it_below_the_figure():
    claim = replace(SMALLER, condition="it is zipped", otherwise=Check("zipped_ratio", ">= 2"))
    measured, verdict = results(claim, record(judged(claim, "holds only if it is zipped", "1.2×", "2.5×")))[:2]
    assert measured == "1.2×<br><small>if so: 2.5×</small>"
    assert verdict == "holds only if<br><small>it is zipped</small>"


def test_a_verdict_on_another_condition_is_not_shown():
    claim = replace(SMALLER, condition="it is zipped", otherwise=Check("zipped_ratio", ">= 2"))
    assert results(claim, record(judged(SMALLER, "fails"))) == ["—"] * 4


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
    table = ledger.list_table(["head", "head"], [[ledger.escape(text), "next"]])
    assert cells(table) == [[text, "next"]]
    assert not list(publish_doctree(table, parser=Parser(), settings_overrides={"report_level": 5}).findall(raw))


def test_text_of_several_lines_is_shown_on_one():
    assert ledger.escape("one\n  two") == "one two"


def test_the_verdicts_are_counted_without_their_conditions():
    this = record(judged(SMALLER, "holds only if it is zipped"), judged(FASTER, "fails"))
    recorded = record(judged(SMALLER, "holds only if it is small"))
    assert cells(ledger.counts_table([lab([SMALLER, FASTER], this, recorded)])) == [
        ["holds only if …", "1", "1"],
        ["fails", "1", "0"],
        ["—", "0", "1"],
        ["claims", "2", "2"],
    ]


def test_a_run_shows_scale_date_device_and_commit():
    this = record(scale="full", run={"date": "2026-05-04"}, gpu="A GPU", device="cuda", cores=16)
    recorded = record(scale="standard", commit=None)
    assert cells(ledger.runs_table([lab(this=this, recorded=recorded)])) == [
        ["01", "this", "full", "2026-05-04", "A GPU, 16 cores", "abc123"],
        ["01", "recorded", "standard", "—", "A processor, 2 cores", "—"],
    ]


def test_a_run_that_left_the_gpu_alone_shows_the_cpu():
    assert "A processor, 2 cores" in ledger.origin(record(gpu="A GPU", device="cpu"))


def test_a_record_that_no_runner_has_seen_has_no_date():
    unseen = record()
    del unseen["run"]
    assert ledger.origin(unseen)[1] == "—"


def test_the_largest_scale_counts_however_long_a_run_took():
    assert ledger.largest([record(scale="full"), record(scale="standard"), record(scale="quick")])["scale"] == "full"
    assert ledger.largest([record(scale="quick"), record(scale="standard")])["scale"] == "standard"
    assert ledger.largest([]) is None


def test_a_lab_is_read_from_its_folder_and_the_folder_of_records(tmp_path):
    folder, records = tmp_path / "labs" / "01_first", tmp_path / "records"
    (folder / "reference" / "full_size").mkdir(parents=True)
    claim = '[[claim]]\nid = "smaller"\nclaim = "It is smaller."\nsource = "han2016deep"\nmetric = "ratio"\n'
    (folder / "claims.toml").write_text(claim + 'promise = ">= 2"\n')
    (folder / "reference" / "quick.json").write_text(json.dumps(record(scale="quick")))
    (folder / "reference" / "full_size" / "a.json").write_text(json.dumps(record(scale="full")))
    assert ledger.read_lab(folder, records) == lab(recorded=record(scale="quick"))
    records.mkdir()
    (records / "01_first.json").write_text(json.dumps(record(scale="standard")))
    assert ledger.read_lab(folder, records, "a").this == record(scale="standard")
