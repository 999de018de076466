"""The assignments of the labs: the solution gets all points, a blank none, and each plausible mistake costs its own."""

import io
import json
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import pytest
from otter.test_files.exception_test import ExceptionTestFile

from labkit.classroom import assign, grade, sandbox, worker

ROOT = Path(__file__).parents[2]
LABS = sorted(path.parent.name for path in ROOT.glob("labs/[0-9][0-9]_*/assignment.py"))
ANSWER = re.compile(r"^# %% (wrong|right): (.+)\n", re.MULTILINE)
MARK = re.compile(r"^ *# (BEGIN|END) SOLUTION *\n?", re.MULTILINE)
BODY = re.compile(r"^ *# BEGIN SOLUTION\n(.*?)^ *# END SOLUTION", re.MULTILINE | re.DOTALL)
every_lab = pytest.mark.parametrize("lab", LABS)


@dataclass(frozen=True)
class Answer:
    lab: str
    exercise: str
    kind: str
    title: str
    code: str

    def __str__(self) -> str:
        return f"{self.lab[:2]} {self.exercise}, {self.kind}: {self.title}"


def answers() -> list[Answer]:
    """Every answer in the folders answers."""
    found = []
    for path in sorted(ROOT.glob("labs/*/answers/*.py")):
        _, *parts = ANSWER.split(path.read_text())
        for kind, title, code in zip(parts[::3], parts[1::3], parts[2::3]):
            found.append(Answer(path.parts[-3], path.stem, kind, title, code))
    return found


def source(lab: str) -> nbformat.NotebookNode:
    return jupytext.read(ROOT / "labs" / lab / "assignment.py")


def solutions(lab: str) -> dict[str, str]:
    """The code of the right answers, by exercise."""
    cells = [
        cell.source for cell in source(lab).cells if "# BEGIN SOLUTION" in cell.source and cell.cell_type == "code"
    ]
    return {re.search(r"^def (\w+)\(", cell, re.MULTILINE)[1]: MARK.sub("", cell) for cell in cells}


@pytest.fixture(scope="session")
def homework(tmp_path_factory) -> Path:
    """The folder with the assignments of all labs, made by Otter."""
    out = tmp_path_factory.mktemp("homework")
    for lab in LABS:
        assign.make(ROOT / "labs" / lab, out / lab)
    return out


@pytest.fixture(scope="session")
def assignments(homework) -> dict[str, grade.Assignment]:
    return {lab: grade.load(homework / lab) for lab in LABS}


def handed_in(student: Path, given: dict[str, str]) -> list[str]:
    """The code cells of a student's notebook with these answers in it."""
    cells = []
    for cell in nbformat.read(student, as_version=4).cells:
        name = re.search(r"^def (\w+)\(", cell.source, re.MULTILINE)
        if "otter_answer_cell" in cell.metadata.get("tags", []):
            cells.append(given.get(name[1], cell.source))
        elif cell.cell_type == "code":
            cells.append(cell.source)
    return cells


def points(assignment: grade.Assignment, cells: list[str]) -> dict[str, float]:
    """What a notebook gets, by the worker's own functions, in this process: a new one for each would take too long."""
    namespace: dict = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()):
        for cell in cells:
            note = worker.timed(20, worker.run_cell, cell, namespace)
            assert note == "", f"{note} in\n{cell}"  # a mistake is to cost points where it is tested, not by a slip
        got = {}
        for exercise, tests in assignment.exercises.items():
            defined: dict = {}
            exec(assignment.sources[exercise], defined)
            functions = [thing for name, thing in defined.items() if name.startswith("test_")]
            passed = [not worker.timed(20, worker.run_test, function, namespace) for function in functions]
            got[exercise] = sum(test.points for test, good in zip(tests, passed) if good)
    return got


def full(assignment: grade.Assignment) -> dict[str, float]:
    return {exercise: sum(test.points for test in tests) for exercise, tests in assignment.exercises.items()}


@every_lab
def test_a_lab_has_four_to_eight_exercises_with_difficulty_minutes_points_and_a_hint(lab, assignments):
    exercises = full(assignments[lab])
    assert 4 <= len(exercises) <= 8
    texts = [cell.source for cell in source(lab).cells if re.match(r"## \d+ · ", cell.source)]
    for text, of in zip(texts, exercises.values(), strict=True):
        said = re.search(r"^\*(easy|medium|hard), (\d+) minutes, (\d+) points\*", text, re.MULTILINE)
        assert said and int(said[3]) == of, text.splitlines()[0]
        assert "<details><summary>Hint</summary>" in text


@every_lab
def test_an_exercise_has_five_plausible_mistakes_and_another_right_answer(lab, assignments):
    for exercise in assignments[lab].exercises:
        kinds = [answer.kind for answer in answers() if (answer.lab, answer.exercise) == (lab, exercise)]
        assert kinds.count("wrong") >= 5 and kinds.count("right") >= 1, exercise


@every_lab
def test_an_exercise_has_public_and_hidden_tests(lab, assignments):
    for tests in assignments[lab].exercises.values():
        assert {test.hidden for test in tests} == {True, False}


@every_lab
def test_the_solution_gets_all_points(lab, homework, assignments):
    assert points(assignments[lab], handed_in(homework / lab / assign.STUDENT, solutions(lab))) == full(
        assignments[lab]
    )


@every_lab
def test_a_blank_notebook_gets_none(lab, homework, assignments):
    assert set(points(assignments[lab], handed_in(homework / lab / assign.STUDENT, {})).values()) == {0}


@pytest.mark.parametrize("answer", answers(), ids=str)
def test_a_mistake_costs_points_where_it_is_made_and_another_right_answer_none(answer, homework, assignments):
    assignment = assignments[answer.lab]
    given = solutions(answer.lab) | {answer.exercise: answer.code}
    got, of = points(assignment, handed_in(homework / answer.lab / assign.STUDENT, given)), full(assignment)
    assert (got[answer.exercise] == of[answer.exercise]) == (answer.kind == "right")
    assert {name: value for name, value in got.items() if name != answer.exercise} == {
        name: value for name, value in of.items() if name != answer.exercise
    }


@every_lab
def test_the_process_for_a_students_code_gives_the_same_points(lab, homework, assignments, tmp_path):
    given = solutions(lab)
    given[next(iter(given))] = "0"
    cells = handed_in(homework / lab / assign.STUDENT, given)
    outcome = sandbox.run(cells, assignments[lab].sources)
    got = {
        exercise: sum(test.points for i, test in enumerate(tests) if not outcome.passed[exercise][i])
        for exercise, tests in assignments[lab].exercises.items()
    }
    assert got == points(assignments[lab], cells) and min(got.values()) == 0 < max(got.values())


@every_lab
def test_otter_itself_gives_the_same_points(lab, homework, assignments):
    given = solutions(lab)
    wrong = next(answer for answer in answers() if answer.lab == lab and answer.kind == "wrong")
    given[wrong.exercise] = wrong.code
    cells, namespace = handed_in(homework / lab / assign.STUDENT, given), {}
    with redirect_stdout(io.StringIO()):
        for cell in cells:
            worker.timed(20, worker.run_cell, cell, namespace)
        by_otter = {}
        for exercise, text in assign.all_tests(homework / lab / assign.AUTOGRADER).items():
            tests = ExceptionTestFile.from_string(text)
            tests.run(namespace)
            by_otter[exercise] = tests.score
    assert by_otter == points(assignments[lab], cells)


@every_lab
def test_no_trace_of_a_solution_or_a_hidden_test_is_in_the_students_notebook(lab, homework, assignments):
    text = (homework / lab / assign.STUDENT).read_text()
    notebook = nbformat.reads(text, as_version=4)
    assert "SOLUTION" not in text and "otter" not in notebook.metadata and "hidden: true" not in text
    secret, shown = "", assign.CHECKER
    for cell in source(lab).cells:
        hidden = "hidden: true" in cell.source
        secret += "\n".join([*BODY.findall(cell.source), cell.source * hidden, ""])
        shown += "\n" if hidden else BODY.sub("", cell.source) + "\n"
    lines = {line.strip() for line in secret.splitlines()} - {""}
    secrets = [line for line in lines if line not in shown]
    assert len(secrets) > 50
    assert [line for line in secrets if json.dumps(line, ensure_ascii=False)[1:-1] in text] == []
    for tests in assignments[lab].exercises.values():
        for test in tests:
            assert (f"def test_{test.name.replace(' ', '_')}(" in text) != test.hidden
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells)


@every_lab
def test_the_check_cells_of_a_blank_notebook_ask_for_an_answer(lab, homework, assignments, capsys):
    namespace: dict = {"__name__": "__main__"}
    for cell in handed_in(homework / lab / assign.STUDENT, {}):
        exec(cell, namespace)
    said = capsys.readouterr().out
    assert "not yet:" in said and "passed:" not in said
    namespace = {"__name__": "__main__"}
    for cell in handed_in(homework / lab / assign.STUDENT, dict.fromkeys(assignments[lab].exercises, "")):
        exec(cell, namespace)
    said = capsys.readouterr().out.splitlines()
    assert {line.split(":")[1] for line in said} == {f" {name} is not defined" for name in assignments[lab].exercises}


@every_lab
def test_an_assignment_needs_nothing_but_numerical_libraries(lab, homework):
    imports = re.findall(
        r"^(?:import|from) (\w+)", "\n".join(handed_in(homework / lab / assign.STUDENT, {})), re.MULTILINE
    )
    assert set(imports) <= {"torch", "numpy", *sys.stdlib_module_names}
