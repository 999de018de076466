"""Grade a simulated class of 100: right, partly right, damaged, hostile, and any of them from Colab.

    python tests/rehearsals/class_of_100.py FOLDER

The expected points are those of the answers that each notebook holds. Prints what took how long; ends with 1 if a score
is not the expected one, if grading again gives anything else, or if a submission takes more than 10 s on average.
"""

import filecmp
import json
import random
import sys
import time
from importlib import import_module
from pathlib import Path

import nbformat.v4 as nb

from labkit.classroom import assign, grade

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "classroom")]
homework, test_sandbox = import_module("test_answers"), import_module("test_sandbox")
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
        given = homework.solutions(lab)
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
        expected[name] = 0 if damage == "cut off" else sum(homework.points(assignments[lab], cells).values())
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


def main(folder: Path) -> int:
    for lab in homework.LABS:
        assign.make(homework.ROOT / "labs" / lab, folder / "made" / lab)
    expected = simulate(folder / "submissions", folder / "made")
    results, seconds = [], []
    for attempt in ("first", "again"):
        began = time.perf_counter()
        grades = grade.grade_folder(folder / "submissions", folder / "made", folder / attempt, show=lambda _: None)
        seconds.append((time.perf_counter() - began) / len(grades))
        print(f"{attempt}: {len(grades)} submissions, {seconds[-1]:.1f} s each", flush=True)
        results.append({each.submission: each.total for each in grades})
    other = {name: (results[0][name], points) for name, points in expected.items() if results[0][name] != points}
    print(f"not the expected points: {other or 'none'}")
    same = results[0] == results[1] and filecmp.cmp(
        folder / "first/scores.csv", folder / "again/scores.csv", shallow=False
    )
    print(f"graded again: {'the same' if same else 'something else'}")
    return int(bool(other) or not same or max(seconds) > 10)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
