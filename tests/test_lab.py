"""The beginning and the end of a lab: settings, record, scratch folder; saved, compared, with its sources."""

import shutil
from pathlib import Path

import pytest
import torch

from labkit import lab, runs
from labkit.measure import Measurement

ROOT = Path(__file__).parents[1]
NAME = "05_stacking"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A lab's folder in a copy of the project, in which it is run at scale quick."""
    here = tmp_path / "labs" / NAME
    shutil.copytree(ROOT / "labs" / NAME, here, ignore=shutil.ignore_patterns("search", "answers", "*.ipynb"))
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "book" / "references.bib", tmp_path / "book")
    monkeypatch.chdir(here)
    monkeypatch.setenv("LABKIT_SCALE", "quick")
    monkeypatch.setenv("LABKIT_RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(lab, "_records", [])
    return here


def test_a_lab_starts_with_its_settings_and_shows_what_it_needs(folder, capsys):
    record, settings, device, files = lab.start(NAME, steps=(1, 2, 3), sizes=((4, 5), (6,), (7,)))
    assert (settings.steps, settings.sizes) == (1, (4, 5))
    assert (record.lab, record.scale, record.seed) == (NAME, "quick", lab.SEED)
    assert record.settings == {"steps": 1, "sizes": (4, 5)}
    assert device == record.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert files.is_dir() and not any(files.iterdir())
    shown = capsys.readouterr().out
    assert "scale quick" in shown and "quick (this run)" in shown and "standard" in shown


def test_the_seed_is_set(folder):
    lab.start(NAME)
    first = torch.rand(3)
    lab.start(NAME)
    assert torch.equal(first, torch.rand(3))


def test_a_lab_may_stay_on_the_cpu(folder):
    assert lab.start(NAME, device="cpu").device == "cpu"


def test_finishing_saves_the_record_and_sets_it_beside_the_recorded_runs(folder, tmp_path, capsys):
    record = lab.start(NAME, steps=(1, 2, 3)).record
    record.scale = "standard"
    record.find("images_smaller", Measurement(5, 4, 6, "×"))
    record.find("other", Measurement.exact(1, "×"))
    table = lab.finish("{images_smaller} smaller", "_smaller")
    assert "5.00× smaller" in capsys.readouterr().out
    saved = runs.load(tmp_path / "records" / f"{NAME}.json").record
    assert (saved.headline, saved.settings) == ("{images_smaller} smaller", {"steps": 1})
    assert [row[:2] for row in table.rows] == [["images smaller", "5.00× (4.00 – 6.00)"]]
    assert all(table.rows[0][2:])
    assert len(lab.finish("{images_smaller} smaller").rows) == 2
    with pytest.raises(KeyError, match="images_faster"):
        lab.finish("{images_faster} faster")


def test_a_rehearsal_has_no_headline_to_carry_away(folder, capsys):
    lab.start(NAME, steps=(1, 2, 3)).record.find("images_smaller", Measurement.exact(5, "×"))
    lab.finish("{images_smaller} smaller")
    assert "a rehearsal: at scale quick nothing is concluded" in capsys.readouterr().out


def test_the_sources_are_what_text_and_claims_cite(folder):
    lab.start(NAME)
    keys = lab.sources().entries.keys()
    assert {"akiba2019optuna", "mahadik2025systematic"} <= keys  # the first cited in the text, the second by a claim
    assert "zhang2024tinyllama" not in keys


def test_a_guess_is_set_beside_what_is_measured_and_kept(folder, tmp_path, capsys):
    record = lab.start(NAME, steps=(1, 2, 3)).record
    lab.guess("images_smaller", "How much smaller is the file?", "×", 4)
    record.find("images_smaller", Measurement(1.26, 1.2, 1.3, "×"))
    assert "images_smaller: you said 4.00×; measured 1.26× (1.20 – 1.30)" in capsys.readouterr().out
    lab.finish("{images_smaller} smaller")
    kept = runs.load(tmp_path / "records" / f"{NAME}.json").record.guesses["images_smaller"]
    assert (kept.question, kept.unit, kept.value) == ("How much smaller is the file?", "×", 4)


def test_without_a_guess_the_lab_runs_and_says_where_to_write_it(folder, capsys):
    record = lab.start(NAME).record
    lab.guess("images_smaller", "How much smaller is the file?", "×", None)
    assert "Write your number, in ×, in place of None" in capsys.readouterr().out
    record.find("images_smaller", Measurement.exact(5, "×"))
    assert "images_smaller: no guess; measured 5.00×" in capsys.readouterr().out


def test_a_guess_is_a_number_in_the_unit_of_the_finding(folder):
    record = lab.start(NAME).record
    with pytest.raises(TypeError, match="a guess is a number, got '4×': write 4"):
        lab.guess("images_smaller", "How much smaller is the file?", "×", "4×")
    lab.guess("images_smaller", "How much smaller is the file?", "×", 4)
    with pytest.raises(ValueError, match="the guess of images_smaller is in '×', what was measured in 'bytes'"):
        record.find("images_smaller", Measurement.exact(5, "bytes"))


def test_before_the_start_nothing_can_be_finished(folder):
    for end in (lambda: lab.finish("done"), lab.sources, lambda: lab.guess("a", "How much?", "×", None)):
        with pytest.raises(RuntimeError, match="no lab was started: run the cell with lab.start first"):
            end()
