"""The ledger: verdicts follow from promise and measurement, and malformed claims are refused."""

import pytest

from labkit import runs
from labkit.claims import Bound, judge, load_claims, main
from labkit.measure import Measurement
from labkit.measure.measurement import CONFIDENCE, QUARTILES
from labkit.record import Record


def between(low: float, high: float) -> Measurement:
    return Measurement((low + high) / 2, low, high, "×", 9, CONFIDENCE, "Student's t over seeds")


@pytest.mark.parametrize(
    "promise, low, high, verdict",
    [
        (">= 4", 4, 5, "holds"),
        (">= 4", 3, 3.9, "fails"),
        (">= 4", 3.9, 4.1, "undecided"),
        (">= 4", 3, 4, "undecided"),  # the last of the interval keeps it
        ("<= 0.5", 0.1, 0.5, "holds"),
        ("<= 0.5", 0.6, 0.7, "fails"),
        ("<= 0.5", 0.4, 0.6, "undecided"),
        ("<= -0.5", -2, -1, "holds"),
        ("0.9 .. 1.1", 0.95, 1.05, "holds"),
        ("0.9 .. 1.1", 0.5, 0.8, "fails"),
        ("0.9 .. 1.1", 1.2, 1.3, "fails"),
        ("0.9 .. 1.1", 0.8, 1.0, "undecided"),
        ("0.9 .. 1.1", 0.8, 1.3, "undecided"),
    ],
)
def test_verdict_takes_the_whole_interval(promise, low, high, verdict):
    assert Bound.parse(promise).judge(between(low, high)) == verdict


@pytest.mark.parametrize(
    "measured, verdict",
    [
        (Measurement.exact(5, "×"), "holds"),
        (Measurement.exact(3, "×"), "fails"),
        (Measurement(5, 4.5, 6, "×", 40, QUARTILES), "undecided"),
        (Measurement(3, 2, 3.5, "×", 40, QUARTILES), "undecided"),
        (Measurement(5, 5, 5, "×", 1), "undecided"),  # one seed
    ],
)
def test_only_counts_and_confidence_intervals_decide(measured, verdict):
    assert Bound.parse(">= 4").judge(measured) == verdict


def test_what_was_not_measured_has_no_verdict():
    assert Bound.parse(">= 4").judge(None) == "not measured at this scale"


@pytest.mark.parametrize(
    "text", ["4", "> 4", ">= four", ">= 4 ms", "=> 4", "1 ..", "2 .. 1", "", ">= 4, <= 5", ">= .5"]
)
def test_other_promises_are_refused(text):
    with pytest.raises(ValueError, match="a promise reads '>= 4', '<= 0.5' or '0.9 .. 1.1'"):
        Bound.parse(text)


CLAIM = """
[[claim]]
id = "sparse-fast"
claim = "Sparsity speeds a network up."
source = "han2015"
makes_claim = "abstract"
promises = { speedup = ">= 1.1" }
"""
WHEN = CLAIM + 'holds_when = { condition = "whole channels go", promises = { speedup_structured = ">= 1.1" } }\n'


@pytest.fixture
def ledger(tmp_path):
    """Judge claims.toml, given as text, against findings given by name."""

    def hold(text: str, scale: str = "standard", **findings: Measurement):
        path = tmp_path / "claims.toml"
        path.write_text(text)
        record = Record("01_prune_quantize", scale, 0, findings=findings)
        return judge(path, record), record

    return hold


@pytest.mark.parametrize(
    "plain, under_condition, verdict",
    [
        (between(1.2, 1.4), None, "holds"),
        (between(1.2, 1.4), between(2, 3), "holds"),
        (between(0.9, 1.0), between(2, 3), "fails; holds when whole channels go"),
        (between(0.9, 1.0), between(1.0, 3), "fails"),
        (between(0.9, 1.0), between(0.9, 1.0), "fails"),
        (between(0.9, 1.0), None, "fails"),
        (between(1.0, 1.2), between(2, 3), "undecided"),
        (None, between(2, 3), "not measured at this scale"),
        (None, None, "not measured at this scale"),
    ],
)
def test_a_claim_may_hold_under_a_condition(ledger, plain, under_condition, verdict):
    findings = {"speedup": plain, "speedup_structured": under_condition}
    judged, _ = ledger(WHEN, **{key: m for key, m in findings.items() if m})
    assert judged.rows()[0]["verdict"] == verdict


@pytest.mark.parametrize(
    "rate, lost, verdict",
    [
        (between(40, 41), between(0.1, 0.2), "holds"),
        (between(40, 41), between(0.4, 0.5), "fails"),
        (between(30, 31), between(0.1, 0.2), "fails"),
        (between(30, 31), between(0.2, 0.4), "fails"),
        (between(40, 41), between(0.2, 0.4), "undecided"),
        (between(40, 41), None, "not measured at this scale"),
    ],
)
def test_a_rate_and_its_loss_are_judged_together(ledger, rate, lost, verdict):
    text = CLAIM.replace('speedup = ">= 1.1"', 'rate = ">= 40", lost = "<= 0.3"')
    findings = {key: m for key, m in {"rate": rate, "lost": lost}.items() if m}
    row = ledger(text, **findings)[0].rows()[0]
    assert (row["verdict"], row["promise"]) == (verdict, "≥ 40 and ≤ 0.3")


def test_a_rehearsal_judges_nothing(ledger):
    judged, _ = ledger(WHEN, "quick", speedup=between(1.2, 1.4), speedup_structured=between(2, 3))
    assert judged.rows()[0]["verdict"] == "not measured at this scale"


@pytest.mark.parametrize(
    "measured, reason",
    [
        (between(1.0, 1.2), "the bound lies inside the interval"),
        (Measurement(2, 1.9, 2.1, "×", 40, QUARTILES), "quartiles of 40: no 95 % confidence"),
        (
            Measurement(2, 2, 2, "×", 1, method="no spread over 1 seeds"),
            "range of 1, no spread over 1 seeds: no 95 % confidence",
        ),
        (between(1.2, 1.4), ""),
        (between(0.9, 1.0), ""),
    ],
)
def test_the_ledger_says_why_nothing_is_decided(ledger, measured, reason):
    assert ledger(CLAIM, speedup=measured)[0].rows()[0]["reason"] == reason


def test_a_figure_of_a_recorded_run_says_so(ledger):
    judged, record = ledger(CLAIM)
    record.find("speedup", between(1.2, 1.4), read_from="nvidia_h200")
    assert judged.rows()[0]["measured"] == "1.30× [1.20, 1.40] (recorded: nvidia_h200)"
    record.find("speedup", between(1.2, 1.4))
    assert judged.rows()[0]["measured"] == "1.30× [1.20, 1.40]"


def test_the_record_keeps_the_verdicts(ledger):
    judged, record = ledger(CLAIM, speedup=between(1.2, 1.4))
    assert (
        record.verdicts
        == judged.rows()
        == [
            {
                "id": "sparse-fast",
                "claim": "Sparsity speeds a network up.",
                "source": "han2015",
                "promise": "≥ 1.1",
                "measured": "1.30× [1.20, 1.40]",
                "condition": "",
                "under_condition": "",
                "verdict": "holds",
                "reason": "",
            }
        ]
    )


def test_a_notebook_shows_the_ledger_escaped(ledger):
    page = ledger(CLAIM.replace("speeds", "<b>speeds</b>"), speedup=between(1.2, 1.4))[0]._repr_html_()
    assert "&lt;b&gt;speeds" in page and "≥ 1.1" in page and "holds" in page


def test_a_terminal_shows_a_line_a_claim(ledger):
    text = str(ledger(WHEN, speedup=between(0.9, 1), speedup_structured=between(2, 3))[0])
    assert text.startswith(
        "fails; holds when whole channels go: Sparsity speeds a network up. Promised ≥ 1.1, measured "
    )
    assert text.endswith("; if whole channels go: 2.50× [2.00, 3.00]")
    assert "measured nothing" in str(ledger(CLAIM)[0])


@pytest.mark.parametrize("field", ["id", "claim", "source", "makes_claim", "promises"])
def test_every_field_is_needed(tmp_path, field):
    path = tmp_path / "claims.toml"
    path.write_text("\n".join(line for line in CLAIM.splitlines() if not line.startswith(f"{field} =")))
    claim = "claim 1" if field == "id" else "claim 'sparse-fast'"
    with pytest.raises(ValueError, match=f"claims.toml, {claim}: the field '{field}' is missing"):
        load_claims(path)


@pytest.mark.parametrize(
    "text, message",
    [
        (CLAIM + "verdict = 'holds'", "claim 'sparse-fast': unknown fields verdict"),
        (
            WHEN.replace("promises = { speedup_s", "promised = { speedup_s"),
            "'sparse-fast': the field 'promises' is missing",
        ),
        (CLAIM + "holds_when = { promises = { x = '>= 1' } }", "'sparse-fast': the field 'condition' is missing"),
        (WHEN.replace(" }\n", ", why = 'x' }\n"), "'sparse-fast': unknown fields why"),
        (WHEN.replace('d = ">= 1.1"', 'd = "fast"'), "'sparse-fast': a promise reads .* not 'fast'"),
        (CLAIM.replace('">= 1.1"', '"fast"'), "'sparse-fast': a promise reads .* not 'fast'"),
        (CLAIM.replace('">= 1.1"', "1.1"), "'sparse-fast': a promise reads .* not '1.1'"),
        (CLAIM.replace('speedup = ">= 1.1"', ""), "'sparse-fast': promises are a table of findings and bounds, got {}"),
        (CLAIM.replace('{ speedup = ">= 1.1" }', '">= 1"'), "promises are a table of findings and bounds, got '>= 1'"),
        (
            CLAIM.replace('"abstract"', '"no: it stores CSR"'),
            "'sparse-fast': makes_claim says where han2015 makes the claim",
        ),
        (
            CLAIM.replace('"abstract"', '""'),
            "'sparse-fast': makes_claim says where han2015 .* got '': cite who makes it",
        ),
        (CLAIM + CLAIM, "claim 'sparse-fast': this id occurs twice"),
        (CLAIM.replace("[[claim]]", "[[claims]]"), r"made of \[\[claim\]\] tables alone, got claims"),
        (CLAIM.replace("[[claim]]", "[claim]"), r"made of \[\[claim\]\] tables alone, got claim"),
        ("", r"made of \[\[claim\]\] tables alone, got none"),
        ("claim = [1]", r"made of \[\[claim\]\] tables alone, got 1"),
        (CLAIM.replace("]]", "]"), "is not TOML in UTF-8"),
    ],
)
def test_malformed_files_are_refused_with_file_and_claim(tmp_path, text, message):
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"claims.toml.*{message}"):
        load_claims(path)


def test_the_command_prints_every_verdict(ledger, tmp_path, capsys):
    record = ledger(CLAIM, speedup=between(0.9, 1))[1]
    runs.save(record, tmp_path / "records" / "01_prune_quantize.json")
    assert main(tmp_path) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["01_prune_quantize (standard)", "Sparsity speeds a network up.", "fails"]


def test_the_command_fails_before_any_lab_has_run(tmp_path, capsys):
    assert main(tmp_path) == 1
    assert "run the labs first" in capsys.readouterr().err


def test_a_byte_order_mark_is_no_part_of_the_claims(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(CLAIM, encoding="utf-8-sig")
    assert [claim.id for claim in load_claims(path)] == ["sparse-fast"]
