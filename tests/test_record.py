"""Record: rows and findings, ratios between rows, and a file that is whole or not there."""

import pytest

from labkit.measure import Measurement
from labkit.measure.measurement import CONFIDENCE
from labkit.record import Record


def megabytes(value: float) -> Measurement:
    return Measurement.exact(value * 1e6, "bytes")


@pytest.fixture
def record():
    record = Record("01_prune_quantize", "quick", seed=3, headline="12 times smaller")
    record.add("FP32", (), file=megabytes(8), accuracy=Measurement(94, 93, 95, "%", 1000, CONFIDENCE, "Wilson"))
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
    assert record.ratio("file", "FP32", "pruned") == Measurement.exact(2, "×")
    assert record.ratio("file", "FP32", "INT8") == Measurement(4, 3.2, 5, "×", 5)


def test_a_product_of_rows_sets_the_parts_against_the_whole(record):
    product = record.product("file", "FP32", ["pruned", "INT8"], "both")
    assert list(product.factors) == ["pruned", "INT8"]
    assert product.predicted == Measurement(8, 6.4, 10, "×", 5)
    assert product.measured == Measurement.exact(5, "×")
    assert product.share == Measurement(5 / 8, 5 / 10, 5 / 6.4, "×", 5)


def test_a_product_that_is_kept_again_replaces_the_one_of_its_title(record):
    product = record.product("file", "FP32", ["pruned", "INT8"], "both")
    assert record.keep("a net: pruning × INT8", "file", product) is product
    record.keep("another", "time", product)
    record.keep("a net: pruning × INT8", "time", product)
    assert [(kept.title, kept.cost) for kept in record.products] == [
        ("another", "time"),
        ("a net: pruning × INT8", "time"),
    ]


def test_a_row_keeps_how_it_was_set_up(record):
    record.add("INT8", settings={"bits": 8})
    record.add("INT8", settings={"groups": 64})
    assert record.rows["INT8"].settings == {"bits": 8, "groups": 64}


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
    assert "94.0%<br><small>[93.0, 95.0]</small>" in page and "<small>(1.60 – 2.50)</small>" in page
    assert page.count("<tr>") == 1 + len(record.rows)


def test_a_table_shows_the_metrics_that_are_named_and_the_rows_that_have_them(record):
    table = record.table("accuracy", "file")
    assert table.head == ["", "accuracy", "file"]
    assert table.rows == [["FP32", "94.0% [93.0, 95.0]", "8.00 MB"]]
