"""The student's copy: nothing of the solution in it, and checks that run anywhere."""

import json

import nbformat
import pytest

from labkit.classroom import assign


@pytest.fixture
def student(made) -> nbformat.NotebookNode:
    return nbformat.read(made / "01_small" / assign.STUDENT, as_version=4)


def test_no_trace_of_solutions_or_hidden_tests_is_left(made):
    text = (made / "01_small" / assign.STUDENT).read_text()
    for secret in ("the secret of", "2 * x", "a_larger_number", "unseen", "1000000", 'otter": {'):
        assert secret not in text


def test_it_has_no_outputs_and_runs_to_its_end_as_it_is(student, capsys):
    namespace = {}
    for cell in student.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            exec(cell.source, namespace)
    said = capsys.readouterr().out
    assert said.count("not yet: three") == 2 and said.count("try it with 3 in your head") == 2


def test_a_right_answer_is_told_so(student, capsys):
    namespace = {}
    for cell in student.cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("...", "return 2 * x"), namespace)
    assert "passed:  three" in capsys.readouterr().out


def test_the_autograder_has_all_tests_and_points(made, small):
    assert list(small.exercises) == ["twice", "square"] and small.points == 6
    assert [(test.points, test.hidden) for test in small.exercises["twice"]] == [(1, False), (2, True)]


def test_a_broken_assignment_is_an_error_that_shows_what_otter_said(tmp_path):
    (tmp_path / "assignment.py").write_text("# %% [raw]\n# # BEGIN QUESTION\n# name: one\n")
    with pytest.raises(assign.AssignError, match="assignment.py"):
        assign.make(tmp_path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_public_test_is_shown_as_it_was_written(student):
    check = next(cell.source for cell in student.cells if "check(test_three)" in cell.source)
    assert 'def test_three(twice):\n    assert twice(3) == 6, "try it with 3 in your head"  # public\n' in check


def test_a_blank_answer_is_asked_whether_it_returns_something(student, capsys):
    namespace = {}
    for cell in student.cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("twice(3) ==", "twice(3) + 0 =="), namespace)
    assert "Does the function return something yet?" in capsys.readouterr().out


def test_an_answer_that_has_not_been_run_is_asked_for(student, capsys):
    namespace = {}
    for cell in student.cells:
        if cell.cell_type == "code" and not cell.source.startswith("def twice"):
            exec(cell.source, namespace)
    assert "not yet: twice is not defined: run the cell with your answer first" in capsys.readouterr().out


def test_the_notebook_is_valid(made):
    nbformat.validate(json.loads((made / "01_small" / assign.STUDENT).read_text()))
