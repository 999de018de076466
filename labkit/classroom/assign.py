"""Student notebooks and autograders, made by Otter Assign from the labs' assignment.py."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell

from labkit import files

STUDENT, AUTOGRADER = "student.ipynb", "autograder.zip"
CHECK = re.compile(r'grader\.check\("(\w+)"\)')
QUESTION = re.compile(r"# BEGIN QUESTION\n(?:#? ?)name: (\w+)")
TEST = re.compile(r"^def (test_\w+)\(.*", re.MULTILINE | re.DOTALL)
CHECKER = '''\
import inspect


def check(*tests):
    """Run public tests against the functions of this notebook, and say what they say."""
    for test in tests:
        name = test.__name__.removeprefix("test_").replace("_", " ")
        needed = list(inspect.signature(test).parameters)
        if missing := [function for function in needed if function not in globals()]:
            print(f"not yet: {missing[0]} is not defined: run the cell with your answer first")
            continue
        try:
            test(*(globals()[function] for function in needed))
        except Exception as error:
            print(f"not yet: {name}\\n         {type(error).__name__}: {error}")
            if "NoneType" in str(error):
                print("         (Does the function return something yet?)")
        else:
            print(f"passed:  {name}")'''
HEADING = """\
# The public tests of this exercise. Run the cell as often as you like; it changes nothing, and
# what it prints says what to look at. Hidden tests of the same kind run when it is graded.
"""


class AssignError(RuntimeError):
    """An assignment cannot be made; the message says why."""


def make(lab: Path, out: Path) -> None:
    """Write the student's notebook and the autograder of a lab's assignment.py into the folder `out`.

    Raises AssignError with what Otter said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch, "assignment.ipynb"), Path(scratch, "made")
        assignment = jupytext.read(lab / "assignment.py")
        jupytext.write(assignment, source)
        command = [sys.executable, "-m", "otter", "assign", "--no-run-tests", source, made]
        done = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise AssignError(f"{lab / 'assignment.py'}: Otter Assign ended with\n{done.stdout}")
        notebook = self_checking(nbformat.read(made / "student" / source.name, as_version=4), as_written(assignment))
        [autograder] = (made / "autograder").glob("*.zip")
        out.mkdir(parents=True, exist_ok=True)
        files.write(out / STUDENT, nbformat.writes(notebook).encode())
        shutil.copy(autograder, out / AUTOGRADER)


def as_written(assignment: nbformat.NotebookNode) -> dict[tuple[str, str], str]:
    """The source of every test, by the names of its exercise and its function: Otter's copy has lost its layout."""
    tests, exercise = {}, ""
    for cell in assignment.cells:
        if question := QUESTION.search(cell.source):
            exercise = question[1]
        if test := TEST.search(cell.source):
            tests[exercise, test[1]] = test[0].strip()
    return tests


def self_checking(notebook: nbformat.NotebookNode, written: dict[tuple[str, str], str]) -> nbformat.NotebookNode:
    """Otter's student notebook with its public tests, as they were written, in the cells that run them.

    Otter keeps them in the notebook's metadata, which a kernel in Colab cannot read.
    """
    public = notebook.metadata.pop("otter")["tests"]
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    notebook.cells.insert(first, new_code_cell(CHECKER, id="check"))
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("lines_to_next_cell", None)
        if cell.cell_type == "code" and (asked := CHECK.fullmatch(cell.source.strip())):
            names = re.findall(r"^def (\w+)\(", public[asked[1]], re.MULTILINE)
            tests = [written[asked[1], name] for name in names]
            cell.source = "\n\n\n".join([HEADING + tests[0], *tests[1:], f"check({', '.join(names)})"])
    return notebook


def functions(tests: str) -> str:
    """The test functions in one of Otter's test files, without what Otter needs around them."""
    text = re.sub(r"^@test_case\(.*\)\n", "", tests, flags=re.MULTILINE)
    return text[text.index("def ") :].strip()


def all_tests(autograder: Path) -> dict[str, str]:
    """Otter's test files in an autograder, with the hidden tests and all points: text by the exercise's name."""
    with zipfile.ZipFile(autograder) as archive:
        names = [name for name in archive.namelist() if name.startswith("tests/") and name.endswith(".py")]
        return {Path(name).stem: archive.read(name).decode() for name in names}


def exercises(student: Path, tests: dict[str, str]) -> list[str]:
    """The names of the exercises, which are those of the functions asked for, as they stand in the notebook."""
    source = "\n".join("".join(cell["source"]) for cell in json.loads(student.read_text(encoding="utf-8"))["cells"])
    return sorted(tests, key=lambda name: source.index(f"def {name}("))
