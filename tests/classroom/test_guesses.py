"""What a class guessed, from the records handed in beside the notebooks."""

import json

import pytest

from labkit.classroom import grade, guesses, sandbox
from labkit.measure import Measurement
from labkit.record import Guess, Record
from submissions import SQUARE, notebook


def record(guess, measured=1.25, lab="01_prune_quantize") -> bytes:
    kept = Record(lab, "quick", 0)
    kept.guesses["faster"] = Guess("How many times as fast?", "×", guess)
    kept.find("faster", Measurement.exact(measured, "×"))
    return json.dumps(kept.as_dict()).encode()


def collected(tmp_path, *contents: bytes):
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.json").write_bytes(content)
    return guesses.collect(sorted(tmp_path.glob("*.json")), lambda path: path.read_bytes())


def test_the_guesses_of_a_class_stand_beside_what_was_measured(tmp_path):
    found, left_out = collected(tmp_path, record(4), record(2, 1.5), record(None))
    faster = found["01_prune_quantize"]["faster"]
    assert (faster.question, faster.values, faster.measured) == ("How many times as fast?", [4, 2], [1.25, 1.5])
    assert left_out == []


def test_every_guess_is_in_the_distribution_and_the_measured_range_is_marked(tmp_path):
    found, _ = collected(tmp_path, record(1), record(9), record(9), record(5))
    rows = found["01_prune_quantize"]["faster"].distribution
    assert [count for _, count in rows] == [1, 0, 0, 0, 1, 0, 0, 2]
    assert [text for text, _ in rows if "measured" in text] == ["1 – 2 ← measured"]


def test_guesses_that_are_all_right_are_one_range(tmp_path):
    found, _ = collected(tmp_path, record(1.25), record(1.25))
    assert sum(count for _, count in found["01_prune_quantize"]["faster"].distribution) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "no record of a lab that can be read"),
        (b"[]", "no record of a lab that can be read"),
        (b'{"lab": "01", "guesses": {"a": 4}}', "no record of a lab that can be read"),
        (b"[" * 100_000, "no record of a lab that can be read"),
        (record(4).replace(b'"value": 4', b'"value": "4"'), "the guess of faster, or what was measured, is no number"),
        (record(4).replace(b'"value": 4', b'"value": NaN'), "the guess of faster, or what was measured, is no number"),
        (record(4).replace(b'"value": 4', b'"value": true'), "the guess of faster, or what was measured, is no number"),
    ],
)
def test_what_is_no_record_is_named_with_the_reason_and_spoils_nothing(tmp_path, content, why):
    found, left_out = collected(tmp_path, record(4), content)
    assert found["01_prune_quantize"]["faster"].values == [4]
    assert len(left_out) == 1 and left_out[0].startswith(f"1.json: {why}")


def test_the_summary_of_a_graded_class_shows_its_guesses_as_text(made, tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "ada.ipynb").write_bytes(notebook(SQUARE))
    (tmp_path / "class" / "ada.json").write_bytes(record(4).replace(b"How many", b"<b>How</b> many"))
    limits = sandbox.Limits(seconds=1, all_seconds=30, memory=2**30, file_bytes=2**20)
    grade.grade_folder(tmp_path / "class", made, tmp_path / "out", limits, show=lambda _: None)
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "Guesses: 01_prune_quantize" in page and "&lt;b&gt;How&lt;/b&gt; many times as fast?" in page
    assert "Guessed by 1, in ×: median 4; their runs measured 1.25 (median)." in page
