"""From a folder of notebooks to scores, feedback and summary."""

import csv
import json
import os
import shutil
import threading
import zipfile
from pathlib import Path

import pytest

from labkit.__main__ import main
from labkit.classroom import assign, grade, sandbox
from submissions import SQUARE, TWICE, notebook

LIMITS = sandbox.Limits(seconds=1, all_seconds=30, memory=2**30, file_bytes=2**20)
CLASS = {
    "ada": (notebook(TWICE, SQUARE), 6),
    "ben": (notebook(TWICE), 3),
    "cem/second try (1)": (notebook("def square(x):\n    return 9", TWICE), 4),
    "copied cells": (notebook(TWICE, "def twice(x):\n    return 0", TWICE, SQUARE), 6),
    "blank": (notebook("def twice(x):\n    ...", "def square(x):\n    ..."), 0),
    "broken": (b"{", 0),
    "other": (notebook("print('hello')"), 0),
    "stopped": (notebook("while True: pass", TWICE, SQUARE), 6),
    "=formula": (notebook(TWICE), 3),
}


@pytest.fixture
def submissions(tmp_path):
    for name, (data, _) in CLASS.items():
        path = tmp_path / "submissions" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "submissions"


@pytest.fixture
def graded(submissions, made, tmp_path):
    return grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)


def rows(folder) -> dict[str, dict[str, str]]:
    with open(folder / "scores.csv", newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def test_every_submission_gets_its_points(graded):
    assert {each.submission: each.total for each in graded} == {name: points for name, (_, points) in CLASS.items()}


def test_the_table_of_scores_has_a_line_for_each_and_no_formula(graded, tmp_path):
    table = rows(tmp_path / "out")
    assert set(table) == {name.replace("=formula", "'=formula") for name in CLASS}
    assert (table["cem/second try (1)"]["exercise 1"], table["cem/second try (1)"]["exercise 2"]) == ("3", "1")
    assert table["ada"]["of"] == "6" and "no notebook" in table["broken"]["notes"]
    assert "none of the functions" in table["other"]["notes"] and "more than 1 s" in table["stopped"]["notes"]


def test_feedback_tells_what_a_public_test_says_and_of_a_hidden_one_only_its_name(graded, tmp_path):
    page = (tmp_path / "out" / "feedback" / "blank.html").read_text()
    assert "try it with 3 in your head" in page
    assert "a larger number (hidden test, 2 points)" in page and "unseen" not in page


def test_nothing_of_a_hidden_test_stands_in_what_another_says(small):
    spy = """def spy(x):
    frame = sys._getframe()
    while frame := frame.f_back:
        seen.append(repr(frame.f_locals) + repr(frame.f_globals))
    raise ValueError(f"{len(seen)} frames", ["secret" for text in seen if "un" + "seen" in text])"""
    cells = "import sys\nseen = []", spy, "twice = square = spy"
    result = grade.grade(notebook(*cells), "spy", [small], LIMITS)
    assert result.points == {"twice": 0, "square": 0} and "frames" in result.feedback["square"][0]
    assert "secret" not in str(result.feedback)


@pytest.mark.parametrize(
    "cells",
    [
        ["def  twice (x):\n    return 2 * x"],
        ["twice = lambda x: 2 * x"],
        ["twice: object = lambda x: 2 * x"],
        ["square, twice = None, lambda x: 2 * x"],
        ["try:\n    def twice(x):\n        return 2 * x\nfinally:\n    pass"],
        ["class twice:\n    def __new__(cls, x):\n        return 2 * x"],
        ["%%writefile helper.py\ndef f(x):\n    return 2 * x", "from helper import f as twice"],
    ],
)
def test_a_function_belongs_to_its_assignment_however_it_is_defined(small, cells):
    assert grade.grade(notebook(*cells), "ada", [small], LIMITS).points == {"twice": 3, "square": 0}


def test_of_a_hidden_test_that_was_stopped_from_outside_that_is_told_and_it_is_run_again(submissions, made, tmp_path):
    shutil.rmtree(submissions)
    submissions.mkdir()
    (submissions / "ada.ipynb").write_bytes(notebook("def twice(x): return 6 if x == 3 else [0 for _ in iter(int, 1)]"))
    [result] = grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)
    assert result.feedback["twice"] == [
        "a larger number (hidden test, 2 points): ran for more than it may and was stopped"
    ]
    assert not (tmp_path / "out" / "graded").exists()


def test_the_summary_shows_the_distribution_and_the_hardest_exercise_first(graded, tmp_path):
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "7 submissions, 6 points" in page
    assert page.index("<td>square</td>") < page.index("<td>twice</td>")
    assert "broken" in page and "other" in page


def test_grading_again_changes_nothing(graded, submissions, made, tmp_path):
    names = ["scores.csv", "summary.html", *(f"feedback/{page}" for page in os.listdir(tmp_path / "out" / "feedback"))]
    assert len(names) == 2 + len(graded)
    before = [(tmp_path / "out" / name).read_bytes() for name in names]
    assert grade.grade_folder(submissions, made, tmp_path / "again", LIMITS, show=lambda _: None) == graded
    assert [(tmp_path / "again" / name).read_bytes() for name in names] == before


def test_an_interrupted_run_goes_on_where_it_stopped(submissions, made, tmp_path, monkeypatch):
    def stop_at_three(line: str) -> None:
        if line.startswith("3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=stop_at_three)
    done = {json.loads(path.read_text())["submission"] for path in (tmp_path / "out" / "graded").glob("*.json")}
    assert len(done) >= 3
    again = []
    run = grade.grade
    monkeypatch.setattr(grade, "grade", lambda path, name, *rest: again.append(name) or run(path, name, *rest))
    grades = grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)
    assert set(again) == set(CLASS) - done
    assert {each.submission: each.total for each in grades} == {name: points for name, (_, points) in CLASS.items()}


def test_a_changed_submission_is_graded_anew(graded, submissions, made, tmp_path):
    (submissions / "ben.ipynb").write_bytes(notebook(TWICE, SQUARE))
    grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)
    assert rows(tmp_path / "out")["ben"]["points"] == "6"


def test_a_change_of_points_is_graded_anew(graded, submissions, made, tmp_path):
    changed = tmp_path / "made" / "01_small"
    shutil.copytree(made / "01_small", changed)
    with (
        zipfile.ZipFile(made / "01_small" / assign.AUTOGRADER) as old,
        zipfile.ZipFile(changed / assign.AUTOGRADER, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"points=2", b"points=4").replace(b"points = 3", b"points = 5"))
    grade.grade_folder(submissions, tmp_path / "made", tmp_path / "out", LIMITS, show=lambda _: None)
    assert (rows(tmp_path / "out")["ada"]["points"], rows(tmp_path / "out")["ada"]["of"]) == ("10", "10")


def test_what_a_mac_puts_into_an_archive_is_no_submission(graded, submissions, made, tmp_path):
    (submissions / "__MACOSX").mkdir()
    for name in ("__MACOSX/ada.ipynb", "._ada.ipynb"):
        (submissions / name).write_bytes(b"\0")
    (submissions / "folder.ipynb").mkdir()
    assert grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None) == graded


def test_a_file_that_cannot_be_read_or_is_a_link_costs_itself_only(graded, submissions, made, tmp_path, monkeypatch):
    (submissions / "locked.ipynb").touch()
    (submissions / "mine.ipynb").symlink_to("ada.ipynb")
    (submissions / "nowhere.ipynb").symlink_to("nobody.ipynb")
    os.mkfifo(submissions / "pipe.ipynb")
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "locked.ipynb":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    again = grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)
    more = {each.submission: each.notes for each in again if each not in graded}
    assert len(again) == len(graded) + 4
    assert more == {
        "locked": ["the file cannot be read: Permission denied"],
        "mine": ["the file is a link: hand in the notebook itself"],
        "nowhere": ["the file is a link: hand in the notebook itself"],
        "pipe": ["the file cannot be read: it is a pipe or a device"],
    }


def anew(submissions: Path, files: dict[str, bytes]) -> None:
    """Let these files, and no others, lie in the folder."""
    shutil.rmtree(submissions)
    for name, data in files.items():
        (submissions / name).parent.mkdir(parents=True, exist_ok=True)
        (submissions / name).write_bytes(data)


def test_a_notebook_is_known_by_any_name_and_every_other_file_is_listed_with_the_reason(submissions, made, tmp_path):
    right, lines = notebook(TWICE), []
    anew(
        submissions,
        {
            **dict.fromkeys(["a.ipynb", "a.IPYNB", "a.ipynb.txt", "a.ipynb.json", "a.json", "a", "a.ipynb "], right),
            **{"essay.txt": b"words", "a.ipynb.zip": b"PK", "numbers.txt": b"{1}", ".DS_Store": b"\0", "large": b""},
            "__MACOSX/a.ipynb": right,
        },
    )
    os.truncate(submissions / "large", grade.LARGEST + 1)
    (submissions / "link").symlink_to(submissions)
    os.mkfifo(submissions / "pipe")
    grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lines.append)
    table = rows(tmp_path / "out")
    assert {name: row["points"] for name, row in table.items()} == {
        **dict.fromkeys(["a.ipynb", "a.IPYNB", "a.ipynb.txt", "a.ipynb.json", "a.json", "a", "a.ipynb "], "3"),
        "a.ipynb.zip": "0",
    }
    page = (tmp_path / "out" / "summary.html").read_text()
    for reason, names in {
        "neither a notebook nor a record of a lab": ".DS_Store, essay.txt, numbers.txt",
        "a copy that Jupyter or a Mac keeps": "__MACOSX/a.ipynb",
        "the file is a link: hand in the notebook itself": "link",
        "the file cannot be read: it is a pipe or a device": "pipe",
        "the file is larger than 16 MB: clear its outputs and hand it in again": "large",
    }.items():
        assert f"<li>{reason}: {names}</li>" in page and f"not graded, because {reason}: {names}" in lines


def test_each_submission_has_a_page_of_its_own_whatever_they_are_called(submissions, made, tmp_path):
    names = ["k", "k.html/k", "K", "k" * 249, f"{'ü' * 124}", "a/b", "a_b", "con\nsole", "..", "-", "a\\b", "`rm`"]
    first = grade.page_names(names)
    names += [page.removesuffix(".html") for page in first.values()]  # chosen by somebody who knows how pages are named
    anew(submissions, {f"{name}.ipynb": name.encode() for name in names})
    (submissions / Path(*["deep"] * 500)).mkdir(parents=True)
    grades = grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=lambda _: None)
    pages = list((tmp_path / "out" / "feedback").iterdir())
    assert len({page.name.casefold() for page in pages}) == len(pages) == len(grades) == len(set(names))
    titles = {page.read_text().partition("<h1>")[2].partition("</h1>")[0] for page in pages}
    assert titles == {grade.visible_name(name) for name in names}


def test_results_may_lie_in_the_folder_of_submissions(submissions, made):
    anew(submissions, {"ada.ipynb": notebook(TWICE)})
    out = submissions / "out"
    before = grade.grade_folder(submissions, made, out, LIMITS, show=lambda _: None)
    assert grade.grade_folder(submissions, made, out, LIMITS, show=lambda _: None) == before
    assert "Not graded" not in (out / "summary.html").read_text()


@pytest.mark.parametrize(
    "said",
    [
        "a\rzoe\r=1+1",
        "a\nzoe,01_small,6,6",
        "\x0bzoe\x0c\x85\u2028\u2029",
        "\x1b]0;mine\x07",
        "\0",
        "\u202eeoz\u200b\ufeff\ufe0f\u3164",
        "\ud800",
        '"',
        '","=1',
        "x" * 10**6,
        "é日本🎉",
    ],
)
def test_whatever_a_name_or_an_error_holds_each_submission_is_one_line_that_can_be_seen(said):
    hostile = grade.Grade(said[:200], "", {}, {}, [said, said])
    table = grade.scores([hostile, grade.Grade("zoe", "", {}, {}, [])], [grade.Assignment("01_small", {}, {"a": []})])
    assert len(table.splitlines()) == 3 and table.replace("\n", "").isprintable()
    assert not grade.UNSEEN.search(table)
    read = list(csv.DictReader(table.splitlines()))
    assert [len(row) for row in read] == [6, 6] and read[1]["submission"] == "zoe" != read[0]["submission"]
    assert len(read[0]["notes"]) < 13_000


@pytest.mark.parametrize("before", ["", " ", '"', "a;", "a,", "a|", 'a; "', "a\t", "a;\u200b"])
@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(1)", "＝1"])
def test_nothing_is_a_formula_at_whatever_separator_a_spreadsheet_cuts_a_line(before, formula):
    hostile = grade.Grade(before + formula, "", {}, {}, [before + formula])
    table = grade.scores([hostile], [grade.Assignment("01_small", {}, {"a": []})])
    for separator in ",;|\t":
        for row in csv.reader(table.splitlines()[1:], delimiter=separator):
            assert [cell for cell in row if cell.strip(' "')[:1] in tuple("=+-@＝")] == []


def test_two_names_are_never_written_alike():
    names = ["a\rb", "a\\rb", "a\\\\rb", "=a", "'=a", "''=a", "a\u200bb", "ab", "a\\u200bb", "a\udcfcb", "a\\udcfcb"]
    table = grade.scores([grade.Grade(name, "", {}, {}, []) for name in names], [grade.Assignment("s", {}, {"a": []})])
    assert len({row["submission"] for row in csv.DictReader(table.splitlines())}) == len(names)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_as_many_run_at_once_as_there_are_cores_for_this_process_each_on_its_own():
    mine = os.sched_getaffinity(0)
    with grade.one_core_each(grade.workers(sandbox.Limits(memory=1))) as pool:
        barrier = threading.Barrier(len(mine))
        found = list(pool.map(lambda _: (barrier.wait(), os.sched_getaffinity(0))[1], range(len(mine))))
    assert sorted(core for cores in found for core in cores) == sorted(mine) == sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [min(mine)])
    try:
        assert grade.workers(sandbox.Limits(memory=1)) == 1
    finally:
        os.sched_setaffinity(0, mine)


def test_a_name_in_no_encoding_is_graded_and_shown(submissions, made, tmp_path, capsys):
    shutil.rmtree(submissions)
    submissions.mkdir()
    (submissions / os.fsdecode(b"J\xfcrgen.ipynb")).write_bytes(notebook(TWICE))
    [result] = grade.grade_folder(submissions, made, tmp_path / "out", LIMITS, show=print)
    assert result.total == 3 and "J\\udcfcrgen  3 points" in capsys.readouterr().out
    assert "J\\udcfcrgen" in rows(tmp_path / "out")


def test_without_notebooks_or_assignments_it_says_what_is_missing(made, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["grade", str(tmp_path / "empty"), "--assignments", str(made)]) == 2
    assert "no notebooks" in capsys.readouterr().err
    assert main(["grade", str(tmp_path), "--assignments", str(tmp_path)]) == 2
    assert "make assignments" in capsys.readouterr().err
