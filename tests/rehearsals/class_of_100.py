"""Grade a simulated class of 100: right, partly right, damaged, hostile, and any of them from Colab.

    python -m pytest -s tests/rehearsals/class_of_100.py

It is no part of the tests, for it takes its time. The expected points are those of the answers that each notebook
holds. Prints what took how long; fails if a score is not the expected one, if grading again gives anything else, or if
a submission takes more than 10 s on average.
"""

import filecmp
import json
import random
import time
from pathlib import Path

import nbformat.v4 as nb

import homework
from classroom import test_sandbox
from labkit.classroom import assign, grade

KINDS = ("right", "partly right", "damaged", "hostile", "hostile and partly right")
DAMAGES = ("deleted", "copied", "renamed", "syntax error", "cut off")
COLAB = {
    "colab": {"provenance": []},
    "kernelspec": {"name": "python3", "display_name": "Python 3"},
    "accelerator": "GPU",
}


def simulate(folder: Path, made: Path) -> dict[str, float]:
    """Write 100 notebooks; return their expected points."""
    chance, expected = random.Random(0), {}
    wrong = [answer for answer in homework.answers() if answer.kind == "wrong"]
    assignments = {lab: grade.load(made / lab) for lab in homework.LABS}
    for number in range(100):
        lab = homework.LABS[number % len(homework.LABS)]
        given = dict(homework.solutions(lab))
        kind = KINDS[number // 20]
        damage = DAMAGES[(number + number // 5) % 5] if kind == "damaged" else ""
        first, answer = next(iter(given.items()))
        if "partly" in kind:
            for exercise in chance.sample(sorted(given), 2):
                given[exercise] = chance.choice([a.code for a in wrong if (a.lab, a.exercise) == (lab, exercise)])
            given.pop(chance.choice(sorted(given)))  # left blank
        if damage in ("deleted", "renamed", "syntax error"):
            given[first] = ""
        cells = homework.handed_in(made / lab / assign.STUDENT, given)
        name = f"{kind}/{damage or 'student'} {number:03}"
        expected[name] = 0 if damage == "cut off" else sum(homework.all_points(assignments[lab], cells).values())
        if damage == "copied":
            cells = [copy for cell in cells for copy in (cell, cell)]
        elif damage == "renamed":
            cells.append(answer.replace(f"def {first}(", f"def my_{first}("))
        elif damage == "syntax error":
            cells.append(f"{answer}\n)")
        if "hostile" in kind:
            deed = chance.choice(sorted(test_sandbox.HOSTILE))
            cells.insert(chance.randrange(3, len(cells)), test_sandbox.HOSTILE[deed][0])
        notebook = nb.new_notebook(
            cells=[nb.new_code_cell(cell) for cell in cells], metadata=chance.choice([COLAB, {}])
        )
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook)[: 500 if damage == "cut off" else None])
    return expected


def test_every_submission_gets_its_points_and_the_same_again(tmp_path):
    for lab in homework.LABS:
        assign.make(homework.ROOT / "labs" / lab, tmp_path / "made" / lab)
    expected = simulate(tmp_path / "submissions", tmp_path / "made")
    results, seconds = [], []
    for attempt in ("first", "again"):
        began, out = time.perf_counter(), tmp_path / attempt
        grades = grade.grade_folder(tmp_path / "submissions", tmp_path / "made", out, show=lambda _: None)
        seconds.append((time.perf_counter() - began) / len(grades))
        print(f"{attempt}: {len(grades)} submissions, {seconds[-1]:.1f} s each", flush=True)
        results.append({each.submission: each.total for each in grades})
    assert {name: results[0][name] for name in expected} == expected
    assert results[0] == results[1]
    assert filecmp.cmp(tmp_path / "first" / "scores.csv", tmp_path / "again" / "scores.csv", shallow=False)
    assert max(seconds) <= 10
