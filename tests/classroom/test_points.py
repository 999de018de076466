"""What points are given for: little for what the public tests show, nothing for an answer that ignores its input.

The tests are those of the labs' assignment.py as they stand there, without Otter between.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest

from homework import LABS, answers, set_up, solutions, source
from spoiled import SPOILINGS, spoiled

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


@cache
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


PARTS = 4  # that a result has at most, in a tuple or a dictionary
# What no text forbids: the spoilings of an exercise that cost nothing, whole (None) or in a part, and why.
HARMLESS = {
    ("smallest_file", "floats for integers"): ([None, 0, 1, 2], "a whole number may be written as 128.0"),
    ("training_bytes", "floats for integers"): ([None, 0, 1, 2], "the text asks for numbers"),
    ("guided_in_part", "floats for integers"): ([None, 1], "the text asks for a number"),
    ("int4_in_groups", "tensors in other bits"): ([2], "codes of zero may have any integer dtype"),
    ("weighted_step", "tensors in other bits"): ([None, 0, 1], "the text asks for floats and integers of any size"),
    ("guided_in_part", "tensors in other bits"): ([None, 0], "the dtype is that of the network, which is given"),
    ("escape_coder", "tensors in other bits"): ([1], "the text names no dtype of a vector"),
    ("escape_coder", "tensors of floats for integers"): ([1], "the text names no dtype of a vector"),
    ("escape_coder", "lists for tensors"): ([0], "encode may give arrays or lists"),
    ("int4_in_groups", "lists for tuples"): ([None], "the text asks for four tensors"),
    ("weighted_step", "lists for tuples"): ([None], "the text asks for two tensors"),
    ("escape_coder", "lists for tuples"): ([None, 0], "the text asks for symbols and values"),
    ("guided_in_part", "lists for tuples"): ([None], "the text asks for x and a number"),
    ("whole_and_product", "lists for tuples"): ([None], "the text asks for three values"),
    ("order_verdict", "lists for tuples"): ([None], "the text asks for four values"),
}


@cache
def solution(lab: str, exercise: str) -> Callable:
    defined: dict = {}
    exec(set_up(lab) + solutions(lab)[exercise], defined)
    return defined[exercise]


@pytest.mark.parametrize("spoiling", SPOILINGS)
@pytest.mark.parametrize(("lab", "exercise"), [(lab, exercise) for lab in LABS for exercise in solutions(lab)])
def test_a_right_answer_that_is_spoiled_loses_points(lab, exercise, spoiling):
    lost_nothing = []
    for part in (None, *range(PARTS)):
        seen: list[bool] = []
        answer = spoiled(solution(lab, exercise), SPOILINGS[spoiling](), part, seen)
        kept = [passes(each.test, answer) for each in graded(lab) if each.exercise == exercise]
        if any(seen) and all(kept):
            lost_nothing.append(part)
        if not any(seen) and part is None:
            break  # nothing there to spoil
    assert lost_nothing == HARMLESS.get((exercise, spoiling), ([], ""))[0]
