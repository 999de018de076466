"""The labs' homework for the tests: its solutions, the answers beside them, and the points that a notebook gets.

The answers that the tests of an exercise must tell apart stand in labs/NN_name/answers/EXERCISE.diff. Each begins with
a line `# wrong: TITLE` or `# right: TITLE`. Below it stands the whole of its cell, or else what it changes in the
solution, as a diff has it: `-` before a line that goes, `+` before a line that comes, a space before a line that stays
and shows the place; a blank line between two changes. Below a right answer that stands there whole, changes are to that
answer and no longer to the solution.
"""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jupytext
import nbformat

from labkit.classroom import assign, grade, worker

ROOT = Path(__file__).parents[1]
LABS = sorted(path.parent.name for path in ROOT.glob("labs/[0-9][0-9]_*/assignment.py"))
HEADING = re.compile(r"^# (wrong|right): (.+)\n", re.MULTILINE)
FUNCTION = re.compile(r"^def (\w+)\(", re.MULTILINE)
MARK = re.compile(r"^ *# (BEGIN|END) SOLUTION *\n?", re.MULTILINE)
SECONDS = 20  # of a cell or a test


@dataclass(frozen=True)
class Answer:
    """An answer to an exercise: wrong or right, and the code of its cell."""

    lab: str
    exercise: str
    kind: str
    title: str
    code: str

    def __str__(self) -> str:
        return f"{self.lab[:2]} {self.exercise}, {self.kind}: {self.title}"


@cache
def answers() -> list[Answer]:
    """Every answer in the folders answers."""
    return [
        Answer(path.parts[-3], path.stem, *each)
        for path in sorted(ROOT.glob("labs/*/answers/*.diff"))
        for each in read(path.read_text(), solutions(path.parts[-3])[path.stem])
    ]


def read(text: str, solution: str) -> Iterator[tuple[str, str, str]]:
    """Kind, title and code of each answer in a file. Raises ValueError for changes that cannot be made."""
    last_right = solution
    _, *parts = HEADING.split(text)
    for kind, title, body in zip(parts[::3], parts[1::3], parts[2::3]):
        if body.startswith(("-", "+", " ")):
            try:
                yield kind, title, changed(last_right, body.strip("\n"))
            except ValueError as error:
                raise ValueError(f"{kind}: {title}: {error}") from error
        else:
            code = f"{body.strip()}\n"
            if kind == "right":
                last_right = code
            yield kind, title, code


def changed(code: str, changes: str) -> str:
    """Code after changes that are written as in a diff.

    Raises ValueError if what a change replaces does not stand in the code exactly once, or a line has no mark.
    """
    for change in re.split(r"\n\n+", changes):
        lines = change.splitlines()
        if unmarked := [line for line in lines if line[0] not in "-+ "]:
            raise ValueError(f"a line begins with -, + or a space, not as {unmarked[0]!r}")
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
        if not old:
            raise ValueError(f"no line to tell the place:\n{change}")
        if (count := f"\n{code}".count(f"\n{old}")) != 1:
            raise ValueError(f"what is to go must stand in the code once, and stands there {count} times:\n{old}")
        code = f"\n{code}".replace(f"\n{old}", f"\n{new}")[1:]
    return code


@cache
def source(lab: str) -> nbformat.NotebookNode:
    """The assignment of a lab as a notebook, before Otter has made anything of it."""
    return jupytext.read(ROOT / "labs" / lab / "assignment.py")


@cache
def solutions(lab: str) -> dict[str, str]:
    """The code of the right answers, by exercise."""
    cells = [cell.source for cell in source(lab).cells if cell.cell_type == "code"]
    return {FUNCTION.search(cell)[1]: MARK.sub("", cell) for cell in cells if "# BEGIN SOLUTION" in cell}


def set_up(lab: str) -> str:
    """The code that stands above all exercises, such as imports."""
    cells = source(lab).cells
    first = next(i for i, cell in enumerate(cells) if "# BEGIN QUESTION" in cell.source)
    return "".join(f"{cell.source}\n" for cell in cells[:first] if cell.cell_type == "code")


@cache
def student_cells(student: Path) -> list[tuple[str, str]]:
    """The code cells of a student's notebook, each with the exercise that it is to answer, if any."""
    cells = []
    for cell in nbformat.read(student, as_version=4).cells:
        if "otter_answer_cell" in cell.metadata.get("tags", []):
            cells.append((FUNCTION.search(cell.source)[1], cell.source))
        elif cell.cell_type == "code":
            cells.append(("", cell.source))
    return cells


def handed_in(student: Path, given: dict[str, str]) -> list[str]:
    """The code cells of a student's notebook with these answers in it."""
    return [given.get(exercise, cell) for exercise, cell in student_cells(student)]


def alone(student: Path, exercise: str, code: str) -> list[str]:
    """The cells that one exercise needs: its answer, and those that neither ask for an answer nor check one."""
    cells = [(name, cell) for name, cell in student_cells(student) if not cell.startswith(assign.HEADING)]
    return [code if name else cell for name, cell in cells if name in ("", exercise)]


def run(cells: list[str]) -> dict:
    """What the cells of a notebook leave: a mistake is to cost points where it is tested, not by a slip."""
    namespace: dict = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()):
        for cell in cells:
            note = worker.timed(SECONDS, exec, cell, namespace)
            assert note == "", f"{note} in\n{cell}"
    return namespace


def points(assignment: grade.Assignment, exercise: str, namespace: dict) -> float:
    """What an exercise gets, by the worker's own functions, in this process: a new one for each would take too long."""
    defined: dict = {}
    exec(assignment.sources[exercise], defined)
    functions = [thing for name, thing in defined.items() if name.startswith("test_")]
    with redirect_stdout(io.StringIO()):
        passed = [not worker.timed(SECONDS, worker.call, function, namespace) for function in functions]
    return sum(test.points for test, good in zip(assignment.exercises[exercise], passed) if good)


def all_points(assignment: grade.Assignment, cells: list[str]) -> dict[str, float]:
    """What a notebook gets, by exercise."""
    namespace = run(cells)
    return {exercise: points(assignment, exercise, namespace) for exercise in assignment.exercises}


def full(assignment: grade.Assignment) -> dict[str, float]:
    """What the right answers get, by exercise."""
    return {exercise: sum(test.points for test in tests) for exercise, tests in assignment.exercises.items()}
