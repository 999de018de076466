"""What points are given for: little for what the public tests show, nothing for an answer that ignores its input.

The tests are those of the labs' assignment.py as they stand there, without Otter between.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from homework import LABS, answers, set_up, source

QUESTION = re.compile(r"# BEGIN QUESTION\n#? ?name: (\w+)")
TEST = re.compile(r'"""# BEGIN TEST CONFIG\npoints: (\d+)\n(hidden: true\n)?""" *# END TEST CONFIG\n(.*)', re.DOTALL)
MOST = 0.4  # of an assignment's points for what a student could read off its public tests
every_lab = pytest.mark.parametrize("lab", LABS)


@dataclass(frozen=True)
class Graded:
    exercise: str
    points: int
    hidden: bool
    test: Callable


def graded(lab: str) -> list[Graded]:
    """All tests of an assignment."""
    found, exercise = [], ""
    for cell in source(lab).cells:
        if question := QUESTION.search(cell.source):
            exercise = question[1]
        if written := TEST.match(cell.source):
            defined: dict = {}
            exec(written[3], defined)
            [test] = [thing for name, thing in defined.items() if name.startswith("test_")]
            found.append(Graded(exercise, int(written[1]), bool(written[2]), test))
    assert len(found) == sum("BEGIN TEST CONFIG" in cell.source for cell in source(lab).cells) > 0
    return found


def written(lab: str, exercise: str, title: str) -> list[Callable]:
    """The functions in the answers to an exercise that have these words in their title."""
    found = []
    for answer in answers():
        if (answer.lab, answer.exercise) == (lab, exercise) and title in answer.title:
            defined: dict = {}
            exec(set_up(lab) + answer.code, defined)
            found.append(defined[exercise])
    return found


def passes(test: Callable, answer: Callable) -> bool:
    try:
        test(answer)
    except Exception:
        return False
    return True


def refuse(*_, **__):
    raise ValueError("refused")


CONSTANTS = [lambda *_, value=value, **__: value for value in (0, 1, 0.5, True, "", [], (), {})]
ARGUMENTS = [lambda *given, place=place, **_: given[place] for place in range(3)]


@every_lab
def test_public_tests_give_at_most_two_fifths_of_the_points(lab):
    tests = graded(lab)
    assert sum(each.points for each in tests if not each.hidden) <= MOST * sum(each.points for each in tests)


@every_lab
def test_an_answer_that_ignores_its_input_gets_no_point(lab):
    for each in graded(lab):
        for answer in [refuse, *CONSTANTS, *ARGUMENTS, *written(lab, each.exercise, "a constant")]:
            assert not passes(each.test, answer), f"{each.exercise}: {each.test.__name__}"


@every_lab
def test_what_is_learnt_from_the_public_tests_by_heart_gets_no_hidden_point(lab):
    for each in graded(lab):
        for answer in written(lab, each.exercise, "by heart"):
            assert not (each.hidden and passes(each.test, answer)), f"{each.exercise}: {each.test.__name__}"
