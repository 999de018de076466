"""Record: rows and findings, ratios between rows, and a file that is whole or not there."""

import json
import math

import pytest

from labkit.estimate.product import Product
from labkit.measure import Measurement
from labkit.record import Record
from labkit.runs import beside, needs


def megabytes(value: float) -> Measurement:
    return Measurement.exact(value * 1e6, "bytes")


@pytest.fixture
def record():
    record = Record("01_prune_quantize", "quick", seed=3, headline="12 times smaller")
    record.add("FP32", (), file=megabytes(8), accuracy=Measurement(94, 93, 95, "%", 1000))
    record.add("pruned", ("prune",), file=megabytes(4))
    record.add("INT8", ("quantize",), file=Measurement(2e6, 1.6e6, 2.5e6, "bytes", 5))
    record.add("both", ("prune", "quantize"), file=megabytes(1.6))
    record.find("smaller", Measurement(5, 4, 6, "×"))
    return record


def test_rows_keep_their_order_techniques_and_measurements(record):
    assert list(record.rows) == ["FP32", "pruned", "INT8", "both"]
    assert record.rows["both"].techniques == ("prune", "quantize")
    assert record.get("FP32", "accuracy").value == 94


def test_adding_to_a_row_completes_it_and_running_a_cell_again_replaces(record):
    record.add("pruned", accuracy=Measurement(90, 89, 91, "%"))
    record.add("pruned", file=megabytes(5))
    assert record.rows["pruned"].techniques == ("prune",)
    assert record.get("pruned", "accuracy").value == 90
    assert record.get("pruned", "file") == megabytes(5)
    assert len(record.rows) == 4


@pytest.mark.parametrize("bare", [8.9, 8, "8.9 MB", None])
def test_bare_numbers_are_refused(record, bare):
    with pytest.raises(TypeError, match="file is .*; results are Measurements"):
        record.add("new", file=bare)
    with pytest.raises(TypeError, match="key is .*; results are Measurements"):
        record.find("key", bare)
    assert "new" not in record.rows and "key" not in record.findings


def test_find_returns_what_it_keeps(record):
    finding = Measurement(1, 1, 1, "points")
    assert record.find("loss", finding) is finding
    assert record.findings["loss"] is finding


def test_what_is_not_there_is_answered_with_what_is(record):
    with pytest.raises(KeyError, match="no row 'FP16'; there are FP32, pruned, INT8, both"):
        record.get("FP16", "file")
    with pytest.raises(KeyError, match="row 'FP32' has no 'latency'; it has file, accuracy"):
        record.get("FP32", "latency")


def test_ratio_says_how_many_times_smaller(record):
    assert record.ratio("file", "FP32", "pruned") == Measurement(2, 2, 2, "×")
    assert record.ratio("file", "FP32", "INT8") == Measurement(4, 3.2, 5, "×")


def test_stack_sets_the_product_of_the_parts_against_the_whole(record):
    stack = record.stack("file", "FP32", ["pruned", "INT8"], "both")
    assert list(stack.factors) == ["pruned", "INT8"]
    assert stack.predicted == Measurement(8, 6.4, 10, "×")
    assert stack.measured == Measurement(5, 5, 5, "×")
    assert stack.share == Measurement(5 / 8, 5 / 10, 5 / 6.4, "×")


def test_effects_that_multiply_have_a_share_of_one():
    factors = {"a": Measurement.exact(2, "×"), "b": Measurement.exact(3, "×")}
    assert Product("base", "whole", factors, Measurement.exact(6, "×")).share.value == 1


def test_a_saved_record_loads_as_it_was(record, tmp_path):
    record.verdicts = [{"id": "smaller", "verdict": "holds"}]
    path = record.save(tmp_path / "new" / "record.json")
    assert Record.load(path) == record


def test_the_file_has_the_agreed_form(record, tmp_path):
    data = json.loads(record.save(tmp_path / "record.json").read_text())
    assert list(data) == [
        "lab",
        "scale",
        "seed",
        "headline",
        "command",
        "environment",
        "rows",
        "findings",
        "verdicts",
    ]
    assert (data["lab"], data["scale"], data["seed"]) == ("01_prune_quantize", "quick", 3)
    assert data["rows"][1] == {
        "name": "pruned",
        "techniques": ["prune"],
        "measurements": {"file": {"value": 4e6, "low": 4e6, "high": 4e6, "unit": "bytes", "n": 1}},
    }
    assert data["findings"]["smaller"] == {"value": 5, "low": 4, "high": 6, "unit": "×", "n": 1}


def test_a_record_says_what_its_numbers_depend_on_and_how_to_repeat_them(record, tmp_path):
    data = json.loads(record.save(tmp_path / "record.json").read_text())
    environment = data["environment"]
    assert {"python", "packages", "processor", "cores", "threads", "device", "gpu", "commit"} <= environment.keys()
    assert environment["packages"].keys() >= {"torch", "numpy"}
    assert environment["device"] == "cpu"
    assert data["command"] == f"labkit run {record.lab} --scale {record.scale}"


def test_without_a_path_a_record_goes_where_the_runner_says(record, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_RECORDS", str(tmp_path / "build"))
    assert record.save() == tmp_path / "build" / "01_prune_quantize.json"
    monkeypatch.delenv("LABKIT_RECORDS")
    monkeypatch.chdir(tmp_path)
    record.save()
    assert (tmp_path / "records" / "01_prune_quantize.json").exists()


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(record, tmp_path):
    path = record.save(tmp_path / "record.json")
    before = path.read_text()
    record.find("endless", Measurement(1, 1, math.inf, "ms"))  # JSON has no infinity
    with pytest.raises(ValueError, match="JSON compliant"):
        record.save(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(record, tmp_path):
    assert record.save(tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


def test_a_terminal_shows_an_aligned_table(record):
    lines = str(record).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["FP32", "pruned", "INT8", "both"]
    assert lines[0].split() == ["file", "accuracy"]
    assert "8.00 MB" in lines[1] and "94.0% [93.0, 95.0]" in lines[1]
    assert len({len(line) for line in lines}) == 1


def test_a_notebook_shows_an_escaped_table_with_small_intervals(record):
    record.add("<script>", **{"a<b": Measurement(1, 0, 2, "<i>")})
    page = record._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "a&lt;b" in page and "&lt;i&gt;" in page
    assert "94.0%<br><small>93.0 – 95.0</small>" in page
    assert page.count("<tr>") == 1 + len(record.rows)


def test_a_table_shows_the_metrics_that_are_named_and_the_rows_that_have_them(record):
    table = record.table("accuracy", "file")
    assert table.head == ["", "accuracy", "file"]
    assert table.rows == [["FP32", "94.0% [93.0, 95.0]", "8.00 MB"]]


@pytest.fixture
def reference(record, tmp_path):
    """Two recorded runs, as the runner leaves them."""
    for scale, minutes in (("standard", 4), ("quick", 1.5)):
        record.scale = scale
        path = record.save(tmp_path / "reference" / f"{scale}.json")
        run = {"seconds": 60 * minutes, "peak_bytes": 2_500_000_000}
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": run}))
    return path.parent


def test_the_needs_of_a_lab_are_those_of_its_recorded_runs_the_shortest_first(reference):
    table = needs(reference)
    assert [row[:3] for row in table.rows] == [["quick", "1.5 min", "2.50 GB"], ["standard", "4.0 min", "2.50 GB"]]
    assert all("cores, " in row[3] for row in table.rows)


def test_before_any_run_is_recorded_the_needs_are_an_empty_table(tmp_path):
    assert needs(tmp_path).rows == []


def test_findings_stand_beside_those_of_the_recorded_runs(record, reference):
    record.find("new_one", Measurement(1, 1, 1, "×"))
    table = beside(record, reference, ["smaller", "new_one"])
    assert table.head == ["finding", "this run (quick)", "quick", "standard"]
    assert table.rows[0] == ["smaller", *3 * ["5.00× [4.00, 6.00]"]]
    assert table.rows[1] == ["new one", "1.00×", "", ""]
