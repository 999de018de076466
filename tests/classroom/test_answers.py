"""The assignments of the labs: the solution gets all points, a blank none, and each plausible mistake costs its own."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from otter.test_files.exception_test import ExceptionTestFile

import homework
from homework import LABS, Answer, answers, full, handed_in, solutions
from labkit.classroom import assign, grade, sandbox

BODY = re.compile(r"^ *# BEGIN SOLUTION\n(.*?)^ *# END SOLUTION", re.MULTILINE | re.DOTALL)
SOLUTION = "def spread(x):\n    low = min(x)\n    high = max(x)\n    return high - low\n"
ANSWERS = """\
# wrong: the sign
-    return high - low
+    return low - high

# wrong: the middle, in two changes
     low = min(x)
+    count = 2

-    return high - low
+    return (high + low) / count

# right: sorted
def spread(x):
    x = sorted(x)

    return x[-1] - x[0]

# wrong: the sign again
-    return x[-1] - x[0]
+    return x[0] - x[-1]
"""
every_lab = pytest.mark.parametrize("lab", LABS)


@pytest.fixture(scope="session")
def made_of(convert) -> dict[str, Path]:
    """The folders of what Otter makes of the labs' assignments, by lab; two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(LABS, pool.map(convert, [homework.ROOT / "labs" / lab for lab in LABS])))


@pytest.fixture(scope="session")
def assignments(made_of) -> dict[str, grade.Assignment]:
    return {lab: grade.load(folder) for lab, folder in made_of.items()}


@pytest.fixture
def student(lab, made_of) -> Path:
    """The student's notebook of a lab."""
    return made_of[lab] / assign.STUDENT


def test_an_answer_is_a_whole_cell_or_changes_the_solution_or_the_right_answer_above_it():
    found = list(homework.read(ANSWERS, SOLUTION))
    assert [(kind, title) for kind, title, _ in found] == [
        ("wrong", "the sign"),
        ("wrong", "the middle, in two changes"),
        ("right", "sorted"),
        ("wrong", "the sign again"),
    ]
    assert [code for *_, code in found] == [
        "def spread(x):\n    low = min(x)\n    high = max(x)\n    return low - high\n",
        "def spread(x):\n    low = min(x)\n    count = 2\n    high = max(x)\n    return (high + low) / count\n",
        "def spread(x):\n    x = sorted(x)\n\n    return x[-1] - x[0]\n",
        "def spread(x):\n    x = sorted(x)\n\n    return x[0] - x[-1]\n",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("-    return high\n+    return low", "stands there 0 times"),
        ("-    y = x\n+    y = 2 * x", "stands there 2 times"),
        ("+    y = 1", "no line to tell the place"),
        ("-    z = y\nz = 1", "not as 'z = 1'"),
    ],
)
def test_a_change_that_is_not_of_exactly_one_place_is_an_error(change, said):
    with pytest.raises(ValueError, match=f"wrong: the title: .*{said}"):
        list(homework.read(f"# wrong: the title\n{change}\n", "def f(x):\n    y = x\n    z = y\n    y = x\n"))


@every_lab
def test_a_lab_has_four_to_eight_exercises_with_difficulty_minutes_points_and_a_hint(lab, assignments):
    exercises = full(assignments[lab])
    assert 4 <= len(exercises) <= 8
    texts = [cell.source for cell in homework.source(lab).cells if re.match(r"## \d+ · ", cell.source)]
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
def test_the_solution_gets_all_points(lab, student, assignments):
    assert homework.all_points(assignments[lab], handed_in(student, solutions(lab))) == full(assignments[lab])


@every_lab
def test_a_blank_notebook_gets_none(lab, student, assignments):
    assert set(homework.all_points(assignments[lab], handed_in(student, {})).values()) == {0}


@pytest.mark.parametrize("answer", answers(), ids=str)
def test_a_mistake_costs_points_and_another_right_answer_none(answer: Answer, made_of, assignments):
    assignment, exercise = assignments[answer.lab], answer.exercise
    namespace = homework.run(homework.alone(made_of[answer.lab] / assign.STUDENT, exercise, answer.code))
    got = homework.points(assignment, exercise, namespace)
    assert (got == full(assignment)[exercise]) == (answer.kind == "right")


@every_lab
@pytest.mark.parametrize("first", [0, 1])
def test_mistakes_in_every_other_exercise_cost_nothing_in_those_between(lab, first, student, assignments):
    exercises = list(assignments[lab].exercises)[first::2]
    mistakes = {
        answer.exercise: answer.code
        for answer in answers()
        if answer.lab == lab and answer.exercise in exercises and answer.kind == "wrong"
    }
    got = homework.all_points(assignments[lab], handed_in(student, solutions(lab) | mistakes))
    assert [name for name, of in full(assignments[lab]).items() if got[name] < of] == exercises


@every_lab
def test_the_process_for_a_students_code_gives_the_same_points(lab, student, assignments):
    given = solutions(lab)
    cells = handed_in(student, given | {next(iter(given)): "0"})
    outcome = sandbox.run(cells, assignments[lab].sources)
    got = {
        exercise: sum(test.points for i, test in enumerate(tests) if not outcome.passed[exercise][i])
        for exercise, tests in assignments[lab].exercises.items()
    }
    assert got == homework.all_points(assignments[lab], cells) and min(got.values()) == 0 < max(got.values())


@every_lab
def test_otter_itself_gives_the_same_points(lab, student, assignments):
    wrong = next(answer for answer in answers() if answer.lab == lab and answer.kind == "wrong")
    cells = handed_in(student, solutions(lab) | {wrong.exercise: wrong.code})
    namespace, by_otter = homework.run(cells), {}
    with redirect_stdout(StringIO()):
        for exercise, text in assign.all_tests(student.with_name(assign.AUTOGRADER)).items():
            tests = ExceptionTestFile.from_string(text)
            tests.run(namespace)
            by_otter[exercise] = tests.score
    assert by_otter == homework.all_points(assignments[lab], cells)


@every_lab
def test_no_trace_of_a_solution_or_a_hidden_test_is_in_the_students_notebook(lab, student, assignments):
    text = student.read_text()
    notebook = nbformat.reads(text, as_version=4)
    assert "SOLUTION" not in text and "otter" not in notebook.metadata and "hidden: true" not in text
    secret, shown = "", assign.CHECKER
    for cell in homework.source(lab).cells:
        secret += "\n".join([*BODY.findall(cell.source), ""])
        if "hidden: true" in cell.source:
            secret += cell.source + "\n"
        else:
            shown += BODY.sub("", cell.source) + "\n"
    lines = {line.strip() for line in secret.splitlines()} - {""}
    secrets = [line for line in lines if line not in shown]
    assert len(secrets) > 50
    assert [line for line in secrets if json.dumps(line, ensure_ascii=False)[1:-1] in text] == []
    for tests in assignments[lab].exercises.values():
        for test in tests:
            assert (f"def test_{test.name.replace(' ', '_')}(" in text) != test.hidden
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells)


@every_lab
def test_the_check_cells_of_a_blank_notebook_ask_for_an_answer(lab, student, assignments, capsys):
    namespace: dict = {"__name__": "__main__"}
    for cell in handed_in(student, {}):
        exec(cell, namespace)
    said = capsys.readouterr().out
    assert "not yet:" in said and "passed:" not in said
    namespace = {"__name__": "__main__"}
    for cell in handed_in(student, dict.fromkeys(assignments[lab].exercises, "")):
        exec(cell, namespace)
    said = capsys.readouterr().out.splitlines()
    assert {line.split(":")[1] for line in said} == {f" {name} is not defined" for name in assignments[lab].exercises}


@every_lab
def test_an_assignment_needs_nothing_but_numerical_libraries(student):
    imports = re.findall(r"^(?:import|from) (\w+)", "\n".join(handed_in(student, {})), re.MULTILINE)
    assert set(imports) <= {"torch", "numpy", *sys.stdlib_module_names}
