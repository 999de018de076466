"""Grade a folder of notebooks: scores, a page of feedback for each, and a summary of the class."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import os
import random
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median

import psutil

from labkit import files
from labkit.classroom import assign, guesses, sandbox
from labkit.environment import cores

NOT_RUN = "the grader could not run it"
# What no test says, but what was done to it from outside; a busy machine may have had a part in it.
OUTSIDE = re.compile(
    r"(ran for|started|wrote) more than (it may|\d{1,4} (s|processes|MB)) and was stopped"
    rf"|ended the whole process and was left out|needed more memory than there is for an answer|was not run|{NOT_RUN}"
)
NUMBER = re.compile(r"more than \d+ \w+")
# What a cell binds: by def and class in any place, by = and import where a line begins. A pattern, because the grader
# must not be stopped by what a student wrote.
BOUND = re.compile(
    r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)"
    r"|^(\w[\w, \t]*)(?::[^=\n]*)?=(?!=)|^(?:from[ \t].*)?import[ \t](.*)",
    re.MULTILINE,
)
IGNORED = re.compile(r"/(\.ipynb_checkpoints|__MACOSX)/|/\._[^/]*$")  # of Jupyter, and of archives made on a Mac
LARGEST = 2**24  # bytes of a submitted notebook that is opened
LONGEST = 2000  # characters of the notes in a line of the table
OBJECT = re.compile(rb"[\xef\xbb\xbf\xff\xfe\s\0]*\{")  # how JSON begins, in any of its encodings
# What is printed and not seen: fillers, joiners, selectors of a variant.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
# What a spreadsheet takes for a formula, at the beginning or behind any separator.
FORMULA = re.compile(r"(^|[,;|])([\s\"']*[=+\-@＝＋－＠])")


@dataclass(frozen=True)
class Test:
    """One test of an exercise: what it shows, its points, and whether students see it."""

    name: str
    points: float
    hidden: bool


@dataclass(frozen=True)
class Assignment:
    """An assignment as it is graded: the source of its test functions, and each exercise's tests in their order."""

    name: str
    sources: dict[str, str]
    exercises: dict[str, list[Test]]

    @property
    def hidden(self) -> set[sandbox.TestStep]:
        tests = ((name, i, test) for name, tests in self.exercises.items() for i, test in enumerate(tests))
        return {sandbox.TestStep(name, i) for name, i, test in tests if test.hidden}

    @property
    def points(self) -> float:
        return sum(test.points for tests in self.exercises.values() for test in tests)


@dataclass(frozen=True)
class Grade:
    """What one submission gets: for each exercise its points, and for each failed test what is told of it."""

    submission: str
    assignment: str
    points: dict[str, float]
    feedback: dict[str, list[str]]
    notes: list[str]

    @property
    def total(self) -> float:
        return sum(self.points.values())


def load(folder: Path) -> Assignment:
    """An assignment from the folder that `labkit assign` made. Otter's format decides how points are given."""
    from otter.test_files.exception_test import ExceptionTestFile

    sources = assign.all_tests(folder / assign.AUTOGRADER)
    exercises = {}
    for name in assign.exercises(folder / assign.STUDENT, sources):
        cases = ExceptionTestFile.from_string(sources[name]).test_cases
        titles = [case.body.test_func.__name__.removeprefix("test_").replace("_", " ") for case in cases]
        exercises[name] = [Test(title, case.points, case.hidden) for title, case in zip(titles, cases)]
    return Assignment(folder.name, {name: assign.functions(text) for name, text in sources.items()}, exercises)


def code_cells(notebook: bytes) -> list[str]:
    """The sources of a notebook's code cells. Raises ValueError, in words for a student, for what is no notebook."""
    try:
        cells = json.loads(notebook)["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the file is no notebook that can be read: hand in the .ipynb as it was saved") from error


def belongs_to(cells: list[str], assignments: list[Assignment]) -> Assignment | None:
    """The assignment most of whose functions the cells define, whatever the file is called; None if none has any."""
    defined = {name for cell in cells for line in BOUND.findall(cell) for name in re.findall(r"\w+", " ".join(line))}
    if not any(defined & each.exercises.keys() for each in assignments):  # bound in some rarer way
        defined = set(re.findall(r"\w+", " ".join(cells)))
    best = max(assignments, key=lambda each: len(defined & each.exercises.keys()))
    return best if defined & best.exercises.keys() else None


def only_code(notebook: bytes) -> bytes:
    """A notebook with its code cells and nothing else; empty for what is no notebook."""
    try:
        return json.dumps({"cells": [{"cell_type": "code", "source": cell} for cell in code_cells(notebook)]}).encode()
    except ValueError:
        return b""


def read(path: Path) -> bytes:
    """A submitted file. Raises ValueError, in words for a student, for what is not to be opened or cannot be."""
    try:
        if path.is_symlink():  # an archive can bring one that leads to another student's file
            raise ValueError("the file is a link: hand in the notebook itself")
        if not path.is_file():
            raise ValueError("the file cannot be read: it is a pipe or a device")
        if path.stat().st_size > LARGEST:
            raise ValueError(f"the file is larger than {LARGEST >> 20} MB: clear its outputs and hand it in again")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error


def grade(notebook: bytes, name: str, assignments: list[Assignment], limits: sandbox.Limits) -> Grade:
    """Grade one notebook; whatever is wrong with it becomes a note."""
    try:
        cells = code_cells(notebook)
        if (assignment := belongs_to(cells, assignments)) is None:
            raise ValueError("none of the functions that the exercises ask for is defined in it")
    except ValueError as error:
        return Grade(name, "", {}, {}, [str(error)])
    try:
        outcome = sandbox.run(cells, assignment.sources, limits, assignment.hidden)
    except Exception as error:
        return Grade(name, "", {}, {}, [f"{NOT_RUN}: {type(error).__name__}: {error}"])
    points, feedback = {}, {}
    for exercise, tests in assignment.exercises.items():
        said = outcome.passed.get(exercise, {})
        results = [(test, said.get(i, "was not run")) for i, test in enumerate(tests)]
        points[exercise] = sum(test.points for test, problem in results if not problem)
        feedback[exercise] = [told(test, problem) for test, problem in results if problem]
    return Grade(name, assignment.name, points, feedback, outcome.notes)


def told(test: Test, problem: str) -> str:
    """What a student reads of a failed test; of a hidden one only its name, and what was done to it from outside."""
    if not test.hidden:
        return f"{test.name} ({test.points:g}): {problem}"
    name = f"{test.name} (hidden test, {test.points:g} points)"
    # Without its number, which code inside could have chosen, to tell what a hidden test asks.
    return f"{name}: {NUMBER.sub('more than it may', problem)}" if OUTSIDE.fullmatch(problem) else name


@dataclass
class Collected:
    """What lies in a folder: submissions (code, or why there is none), records, and the rest with the reason."""

    submissions: dict[str, bytes | ValueError] = field(default_factory=dict)
    records: list[Path] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)


def collect(folder: Path, out: Path) -> Collected:
    """Read all that students handed in, before any of it runs.

    A notebook is known by its name, which has .ipynb in it, or by what it holds. `out` may lie in the folder.
    Raises FileNotFoundError where there is no folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    root, found = folder.resolve(), Collected()
    files_, unread = _files(root, out.resolve())
    names = {path.relative_to(root).as_posix(): path for path in sorted(files_)}
    for folder_name, reason in sorted(unread.items()):
        found.left_out.setdefault(reason, []).append(f"{folder_name.relative_to(root).as_posix()}/")
    for name, path in names.items():
        if IGNORED.search(f"/{name}"):
            found.left_out.setdefault("a copy that Jupyter or a Mac keeps", []).append(name)
            continue
        try:
            data: bytes | ValueError = read(path)
        except ValueError as error:
            data = error
        is_notebook = ".ipynb" in path.name.lower()
        if isinstance(data, bytes):
            code = only_code(data) if is_notebook or OBJECT.match(data) else b""
            is_notebook, data = is_notebook or bool(code), code
        if is_notebook:
            short = name.removesuffix(".ipynb")
            found.submissions[name if short in names else short] = data
        elif isinstance(data, ValueError):
            found.left_out.setdefault(str(data), []).append(name)
        elif path.suffix == ".json":
            found.records.append(path)
        else:
            found.left_out.setdefault("neither a notebook nor a record of a lab", []).append(name)
    return found


def _files(root: Path, out: Path) -> tuple[list[Path], dict[Path, str]]:
    """All below a folder that is no folder, but for `out`; and the folders that cannot be read, with the reason."""
    found, unread, folders = [], {}, [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if Path(entry.path) != out:
                        (folders if is_folder else found).append(Path(entry.path))
        except OSError as error:
            unread[folder] = f"the folder cannot be read: {error.strerror}"
    return found, unread


def grade_folder(
    submissions: Path, made: Path, out: Path, limits: sandbox.Limits = sandbox.Limits(), show=print
) -> list[Grade]:
    """Grade every notebook in a folder and its sub-folders, and write scores.csv, feedback and summary.html to `out`.

    Records (*.json) beside the notebooks are read for what the class guessed, which goes into the summary.
    `made` is the folder of assignments that `labkit assign` wrote. A submission that was graded before, by the same
    tests and limits, is not run again. Raises FileNotFoundError where there are no notebooks or no assignments.
    """
    assignments = [load(folder.parent) for folder in sorted(made.glob(f"*/{assign.AUTOGRADER}"))]
    if not assignments:
        raise FileNotFoundError(f"no assignments in {made}: run `make assignments` first")
    collected = collect(submissions, out)
    if not collected.submissions:
        raise FileNotFoundError(f"no notebooks in {submissions}")
    for sentence in sandbox.protection():
        show(f"{sentence}.")
    tests = json.dumps([asdict(each) for each in assignments]) + repr(limits) + sandbox.WORKER.read_text()
    pages = page_names(list(collected.submissions))

    def graded(name: str, notebook: bytes | ValueError) -> Grade:
        if isinstance(notebook, ValueError):
            return Grade(name, "", {}, {}, [str(notebook)])
        key = hashlib.sha256((tests + name).encode(errors="backslashreplace") + notebook).hexdigest()
        kept = out / "graded" / f"{key}.json"
        if kept.is_file():
            return Grade(**json.loads(kept.read_text()))
        result = grade(notebook, name, assignments, limits)
        if not any(map(OUTSIDE.search, [*result.notes, *sum(result.feedback.values(), [])])):
            files.write(kept, json.dumps(asdict(result), indent=1).encode())
        return result

    grades = []
    pool = one_core_each(workers(limits))
    try:
        for number, result in enumerate(pool.map(graded, *zip(*collected.submissions.items())), 1):
            grades.append(result)
            notes = f"  ({len(result.notes)} notes)" if result.notes else ""
            line = f"{number}/{len(pages)}  {visible_name(result.submission)}  {result.total:g} points{notes}"
            show(printable(line))
            page = feedback_page(result, assignments).encode(errors="backslashreplace")
            files.write(out / "feedback" / pages[result.submission], page)
    finally:
        pool.shutdown(cancel_futures=True)
    files.write(out / "scores.csv", scores(grades, assignments).encode())
    parts = [left_out_page(collected.left_out), guesses_page(*guesses.collect(collected.records, read))]
    page = summary(grades, assignments, "\n".join(parts)).encode(errors="backslashreplace")
    files.write(out / "summary.html", page)
    for reason, names in collected.left_out.items():
        show(printable(f"not graded, because {reason}: {', '.join(map(visible_name, names))}"))
    return grades


def printable(text: str) -> str:
    """Text in the terminal's encoding, which may lack some characters."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def visible(text: str) -> str:
    """Text in which each character that breaks a line, turns the direction or takes no room is spelled out."""
    return "".join(
        character
        if character.isprintable() and not UNSEEN.match(character)
        else character.encode("unicode_escape").decode()
        for character in text
    )


def visible_name(name: str) -> str:
    """A submission's name as it is shown; two names never look the same in this form because of what is spelled out."""
    return visible(name.replace("\\", r"\\"))


def page_names(names: list[str]) -> dict[str, str]:
    """A name for the page of each submission: its own where that is short, plain and nobody else's, else with a hash.

    A name that looks as if it had one gets one, too: no submission chooses the page of another.
    """
    found = {name: re.sub(r"[^\w .()=-]", "_", name)[:50] for name in names}
    counts = Counter(short.casefold() for short in found.values())
    for name, short in found.items():
        if short != name or counts[short.casefold()] > 1 or re.search("-[0-9a-fA-F]{8}$", short):
            found[name] = f"{short}-{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return {name: f"{short}.html" for name, short in found.items()}


def workers(limits: sandbox.Limits) -> int:
    """How many submissions to run at once: no more than this process has cores, and memory for."""
    return max(1, min(cores(), psutil.virtual_memory().available // limits.memory))


def one_core_each(count: int) -> ThreadPoolExecutor:
    """Threads that each run, with the processes that they start, on a core: a submission takes no other's time."""
    if not hasattr(os, "sched_setaffinity"):
        return ThreadPoolExecutor(count)
    free = random.sample(sorted(os.sched_getaffinity(0)), count)
    return ThreadPoolExecutor(count, initializer=lambda: os.sched_setaffinity(0, {free.pop()}))


def scores(grades: list[Grade], assignments: list[Assignment]) -> str:
    """One line a submission: assignment, points, points of each exercise in order, notes."""
    text = io.StringIO()
    most = max(len(each.exercises) for each in assignments)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["submission", "assignment", "points", "of", *(f"exercise {i + 1}" for i in range(most)), "notes"])
    of = {each.name: each.points for each in assignments}
    for each in grades:
        points = [f"{value:g}" for value in each.points.values()]
        cells = [visible_name(each.submission), each.assignment, f"{each.total:g}", f"{of.get(each.assignment, 0):g}"]
        notes = " ".join("; ".join(each.notes).split())
        if len(notes) > LONGEST:
            notes = f"{notes[:LONGEST]} … (all notes are on the feedback page)"
        table.writerow([*map(plain, cells), *points, *[""] * (most - len(points)), plain(visible(notes))])
    return text.getvalue()


def plain(text: str) -> str:
    """A cell that a spreadsheet takes for text, also where it cuts lines at other separators: nothing is a formula."""
    return FORMULA.sub(r"\1'\2", text)


def left_out_page(left_out: dict[str, list[str]]) -> str:
    """The files that were not graded, by the reason; "" for none."""
    if not left_out:
        return ""
    lines = (
        f"<li>{html.escape(reason)}: {html.escape(', '.join(map(visible_name, names)))}</li>"
        for reason, names in left_out.items()
    )
    return f"<h2>Not graded, because</h2><ul>{''.join(lines)}</ul>"


def feedback_page(result: Grade, assignments: list[Assignment]) -> str:
    """What one student is told, as a page that needs nothing else."""
    assignment = next((each for each in assignments if each.name == result.assignment), None)
    parts = [f"<h1>{html.escape(visible_name(result.submission))}</h1>"]
    if assignment:
        parts.append(f"<p>{html.escape(assignment.name)}: <b>{result.total:g} of {assignment.points:g} points</b></p>")
        for exercise, tests in assignment.exercises.items():
            possible = sum(test.points for test in tests)
            parts.append(f"<h2>{html.escape(exercise)}: {result.points[exercise]:g} of {possible:g}</h2>")
            failed = "".join(f"<li><pre>{html.escape(line)}</pre></li>" for line in result.feedback[exercise])
            parts.append(f"<p>Not passed:</p><ul>{failed}</ul>" if failed else "<p>All tests passed.</p>")
    if result.notes:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in result.notes)
        parts.append(f"<h2>Notes on the run</h2><ul>{notes}</ul>")
    return whole_page(f"Feedback: {visible_name(result.submission)}", "\n".join(parts))


def guesses_page(found: dict[str, dict[str, guesses.Guessed]], left_out: list[str]) -> str:
    """What a class guessed of each finding beside what its own runs measured; "" where no record was handed in."""
    parts = []
    for lab, findings in sorted(found.items()):
        parts.append(f"<h2>Guesses: {html.escape(lab)}</h2>")
        for key, each in findings.items():
            parts.append(f"<h3>{html.escape(key)}</h3><p>{html.escape(each.question)}</p>")
            parts.append(
                f"<p>Guessed by {len(each.values)}, in {html.escape(each.unit)}: median {median(each.values):.3g}; "
                f"their runs measured {median(each.measured):.3g} (median).</p>"
            )
            parts.append(bars("guess", "students", each.distribution, len(each.values)))
    if left_out:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in left_out)
        parts.append(f"<h2>Records that were not read</h2><ul>{lines}</ul>")
    return "\n".join(parts)


def summary(grades: list[Grade], assignments: list[Assignment], more: str = "") -> str:
    """The class at a glance: distribution of points, the exercises from the hardest on, and `more`, as HTML."""
    parts = ["<h1>Class summary</h1>"]
    for assignment in assignments:
        totals = [each.total for each in grades if each.assignment == assignment.name]
        if not totals:
            continue
        parts.append(f"<h2>{html.escape(assignment.name)}</h2>")
        parts.append(
            f"<p>{len(totals)} submissions, {assignment.points:g} points: mean {mean(totals):.1f}, "
            f"median {median(totals):g}, from {min(totals):g} to {max(totals):g}.</p>"
        )
        shares = [min(9, int(10 * total / assignment.points)) for total in totals]
        rows = [(f"{10 * i} – {10 * i + 10} %", shares.count(i)) for i in range(10)]
        parts.append(bars("points", "submissions", rows, max(1, *(count for _, count in rows))))
        hardest = []
        for exercise, tests in assignment.exercises.items():
            got = [each.points[exercise] for each in grades if each.assignment == assignment.name]
            hardest.append((100 * mean(got) / sum(test.points for test in tests), exercise))
        rows = [(exercise, round(share)) for share, exercise in sorted(hardest)]
        parts.append("<h3>Exercises, the hardest first</h3>" + bars("exercise", "% of the points", rows, 100))
    if lost := [each for each in grades if not each.assignment]:
        names = "".join(
            f"<li>{html.escape(visible_name(each.submission))}: {html.escape('; '.join(each.notes))}</li>"
            for each in lost
        )
        parts.append(f"<h2>Could not be graded</h2><ul>{names}</ul>")
    parts.append(more)
    return whole_page("Class summary", "\n".join(parts))


def bars(label: str, unit: str, rows: list[tuple[str, int]], most: int) -> str:
    """A table whose numbers are also drawn, `most` over the whole width."""
    body = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{value}</td>"
        f'<td><div class="bar" style="width: {100 * value / most:.0f}%"></div></td></tr>'
        for name, value in rows
    )
    return f"<table><thead><tr><th>{label}</th><th>{unit}</th><th></th></tr></thead><tbody>{body}</tbody></table>"


def whole_page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }}
pre {{ white-space: pre-wrap; margin: 0; }}
table {{ border-collapse: collapse; width: 100%; }} th, td {{ text-align: left; padding: 0.15rem 0.8rem 0.15rem 0; }}
td:last-child {{ width: 60%; }} .bar {{ background: #0072B2; height: 0.9rem; min-width: 1px; }}
</style></head><body>
{body}
</body></html>
"""
