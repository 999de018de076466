"""Steps: what their text says, what they need and refuse, and the orders that this leaves."""

import doctest
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toy
from labkit.stack import Refused, Runner, Step, admit, is_admissible, orders, read, step

PLAIN = toy.Toy.facts


def test_a_step_is_written_with_its_defaults_filled_in():
    assert str(toy.shrink()) == str(toy.shrink(times=2)) == str(toy.shrink(2, loss=0.5)) == "shrink(2, 0.5)"
    assert str(toy.trim()) == f"{toy.trim()}" == "trim(0.25, gently)"
    assert str(toy.fold()) == "fold()"


def test_steps_with_the_same_text_are_the_same_step():
    assert toy.shrink() == toy.shrink(2, 0.5)
    assert toy.shrink() != toy.shrink(3)
    assert len({toy.shrink(), toy.shrink(2), toy.shrink(3), toy.fold(), toy.fold()}) == 3


@pytest.mark.parametrize(
    "wrong", [lambda: toy.shrink(1, 2, 3), lambda: toy.fold(1), lambda: toy.shrink(size=2), lambda: toy.noise(seed=3)]
)
def test_wrong_parameters_are_an_error_at_once(wrong):
    with pytest.raises(TypeError):
        wrong()


def test_a_parameter_without_a_default_must_be_given():
    @step()
    def cut(model, task, layers):
        return model

    assert str(cut(3)) == "cut(3)"
    with pytest.raises(TypeError, match="layers"):
        cut()


def test_a_step_is_random_if_its_function_has_a_seed_and_the_seed_is_not_in_its_text():
    assert [each.random for each in (toy.noise(), toy.draw(), toy.shrink(), toy.fold())] == [True, True, False, False]
    assert (str(toy.noise()), str(toy.draw())) == ("noise(0.125)", "draw()")


def test_a_random_step_gets_the_seed_wherever_it_stands_among_the_parameters():
    got = []

    @step()
    def mix(model, task, share, seed, rounds=3):
        got.append((share, seed, rounds))
        return model

    mix(0.5).apply(None, None, 7)
    mix(0.25, 2).apply(None, None, 8)
    assert got == [(0.5, 7, 3), (0.25, 8, 2)]


def test_a_step_keeps_the_name_and_the_docstring_of_its_function():
    assert toy.trim.__name__ == "trim"
    assert toy.trim.__doc__.startswith("As small as `shrink`")


def test_a_step_of_ones_own_takes_ten_lines(task):
    [example] = doctest.DocTestFinder(recurse=False).find(step, globs={"step": step, "torch": torch})
    assert len(example.docstring.split(">>>", 1)[1].splitlines()) <= 10
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    blur = example.globs["blur"]
    assert blur(0.1).random
    model = Runner(task).model([blur(0.1)])
    assert 0 < (model.weight - torch.eye(4)).abs().max() < 1
    with pytest.raises(Refused, match="they have no room for it"):
        admit([toy.pack(), blur()], PLAIN)


def test_a_refused_step_says_which_fact_why_and_what_came_before():
    with pytest.raises(Refused) as refused:
        admit([toy.shrink(), toy.pack(), toy.fold(), toy.noise(0.5)], PLAIN)
    assert str(refused.value) == (
        "noise(0.5) does not work on a model with integers: they have no room for it "
        "(after shrink(2, 0.5), pack(4), fold())"
    )
    with pytest.raises(Refused) as refused:
        admit([toy.repair()], PLAIN)
    assert str(refused.value) == "repair() needs a model with small: there is nothing to repair (at the start)"


def test_what_a_step_takes_away_is_missed_by_the_next():
    with pytest.raises(Refused, match=r"needs a model with plain: there is nothing to fold \(after fold\(\)\)"):
        admit([toy.fold(), toy.fold()], PLAIN)
    with pytest.raises(Refused, match="at the start"):
        admit([toy.fold()], frozenset())


def test_admit_lists_what_is_known_after_each_step():
    known = admit([toy.shrink(), toy.fold(), toy.pack(), toy.repair()], PLAIN)
    small, folded = {"plain", "small"}, {"small"}
    assert known == [small, folded, {"small", "integers"}, {"small", "integers"}]
    assert admit([], PLAIN) == []


def test_is_admissible_says_whether_admit_would_refuse():
    assert is_admissible([], PLAIN)
    assert is_admissible([toy.noise(), toy.pack()], PLAIN)
    assert not is_admissible([toy.pack(), toy.noise()], PLAIN)


def test_orders_are_the_permutations_in_which_nothing_is_refused():
    shrink, pack, noise, repair = toy.shrink(), toy.pack(), toy.noise(), toy.repair()
    assert orders([pack, noise], PLAIN) == [(noise, pack)]
    assert set(orders([shrink, pack, repair], PLAIN)) == {
        (shrink, pack, repair),
        (shrink, repair, pack),
        (pack, shrink, repair),
    }
    assert orders([toy.fold(), toy.fold()], PLAIN) == []
    assert orders([], PLAIN) == [()]


FACTS = st.frozensets(st.sampled_from("abc"), max_size=2)


def made(name: str, gives: frozenset, takes: frozenset, needs: frozenset, refuses: frozenset) -> Step:
    def nothing(model, task):
        return model

    nothing.__name__ = name
    return step(gives, takes, dict.fromkeys(needs, "why"), dict.fromkeys(refuses, "why"))(nothing)()


@given(start=FACTS, demands=st.lists(st.tuples(FACTS, FACTS, FACTS, FACTS), max_size=4))
def test_orders_leave_out_nothing_admissible_and_have_nothing_else(start, demands):
    def can_follow(order: tuple[int, ...]) -> bool:
        facts = set(start)
        for number in order:
            gives, takes, needs, refuses = demands[number]
            if needs - facts or refuses & facts:
                return False
            facts = {fact for fact in "abc" if fact in gives or (fact in facts and fact not in takes)}
        return True

    steps = [made(f"step{number}", *each) for number, each in enumerate(demands)]
    expected = [order for order in permutations(range(len(steps))) if can_follow(order)]
    assert orders(steps, start) == [tuple(steps[number] for number in order) for order in expected]
    for order in permutations(range(len(steps))):
        assert is_admissible([steps[number] for number in order], start) == can_follow(order)


@pytest.mark.parametrize("each", toy.STEPS, ids=str)
def test_a_written_step_is_read_again(each):
    assert read(str(each), toy) == each


class Vocabulary:
    """Steps that tell what they were called with."""

    @staticmethod
    @step()
    def tell(model, task, first, second=0):
        return first, second


values = st.integers() | st.floats() | st.booleans() | st.none() | st.sampled_from(["global", "2 bit", "", "x(y)"])


@given(values, values)
def test_a_step_that_is_read_does_the_same(first, second):
    written = Vocabulary.tell(first, second)
    try:
        again = read(str(written), Vocabulary)
    except ValueError:
        assert "" in (first, second)  # an empty word cannot be told from none
        return
    assert repr(again.apply(None, None, 0)) == repr((first, second))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "None",
        "thin(0.5)",
        "shrink",
        "shrink(",
        "shrink()",
        "shrink(2)",
        "shrink(2,0.5)",
        "shrink(2, 0.5",
        "shrink(2, 0.50)",
        "shrink(2, 0.5, 1)",
        "fold(1)",
        "torch(1)",
        "Toy()",
        "Counter(1)",
        "__name__",
        "STEPS()",
    ],
)
def test_a_text_that_no_step_has_is_an_error_that_names_it(text):
    with pytest.raises(ValueError) as error:
        read(text, toy)
    assert str(error.value) == f"toy has no step {text!r}"
