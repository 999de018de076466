"""The studies of Lab 05: their stacks can all be run."""

from itertools import permutations

import optuna
import pytest
from optuna.trial import FixedTrial

from labkit.stack import Refused, Step, admit, is_admissible, read
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text

of_both_tasks = pytest.mark.parametrize("study", [images.STUDY, text.STUDY], ids=["images", "text"])


@of_both_tasks
def test_every_stack_of_a_study_is_admissible_and_can_be_read(study):
    for stack in study.stacks():
        assert is_admissible(stack, study.facts), [str(step) for step in stack]
        assert tuple(read(str(step), study.vocabulary) for step in stack) == tuple(stack)


@of_both_tasks
def test_a_study_has_the_start_every_order_every_ablation_and_every_pair(study):
    steps, pairs, whole = study.steps, study.pairs, study.whole
    wanted = [(), whole, *permutations(steps), *permutations(pairs, 2), *[(each,) for each in (*pairs, *whole)]]
    wanted += [whole[:number] + whole[number + 1 :] for number in range(len(whole))]
    assert {stack for stack in wanted if is_admissible(stack, study.facts)} <= {
        tuple(stack) for stack in study.stacks()
    }
    assert is_admissible(whole, study.facts)


def draws(space, count: int):
    """Stacks that a search could try first, with what was suggested for each."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(count):
        trial = study.ask()
        yield space(trial), trial.params


@of_both_tasks
def test_whatever_is_suggested_gives_steps_that_can_be_read_and_are_admissible_or_refused(study):
    admissible = 0
    for steps, params in draws(study.space, 300):
        assert isinstance(steps, list) and all(isinstance(step, Step) for step in steps)
        assert [read(str(step), study.vocabulary) for step in steps] == steps
        assert study.space(FixedTrial(params)) == steps
        try:
            assert len(admit(steps, study.facts)) == len(steps)
            admissible += 1
        except Refused as error:
            assert str(error)
    assert admissible > 200


def test_of_pictures_only_training_after_integers_is_refused():
    for steps, params in draws(images.STUDY.space, 300):
        refused = params["values"] == "int8" and params["training"] != "none" and params["training after sharing"]
        assert is_admissible(steps, images.STUDY.facts) == (not refused), [str(step) for step in steps]


def test_of_text_nothing_is_refused():
    assert all(is_admissible(steps, frozenset()) for steps, _ in draws(text.STUDY.space, 300))


def test_where_nothing_is_chosen_nothing_is_done_but_to_round():
    nothing = {
        "channels removed": 0.0,
        "sparsity": 0.0,
        "rule": "global",
        "values": "float",
        "training": "none",
        "training steps": 50,
        "training after sharing": True,
    }
    assert images.STUDY.space(FixedTrial(nothing)) == [images.half()]
    nothing = {
        "layers cut": 0,
        "sparsity": 0.0,
        "by": "wanda",
        "values": "float",
        "rank": 0,
        "training steps": 25,
        "order": "LQP",
    }
    assert text.STUDY.space(FixedTrial(nothing)) == []


def test_what_is_chosen_is_done_in_the_order_that_is_chosen():
    chosen = {
        "channels removed": 0.25,
        "sparsity": 0.9,
        "rule": "lamp",
        "values": "3 bit",
        "training": "distill",
        "training steps": 400,
        "training after sharing": True,
    }
    first = [images.thin(0.25), images.prune(0.9, "lamp")]
    assert images.STUDY.space(FixedTrial(chosen)) == [*first, images.share(3), images.distill(400), images.half()]
    chosen |= {"training": "recover", "values": "int8", "training after sharing": False}
    assert images.STUDY.space(FixedTrial(chosen)) == [*first, images.recover(400), images.quantize(), images.half()]
    chosen = {
        "layers cut": 2,
        "sparsity": 0.3,
        "by": "magnitude",
        "values": "nf4",
        "rank": 16,
        "training steps": 100,
        "order": "LQP",
    }
    assert text.STUDY.space(FixedTrial(chosen)) == [
        text.cut(2),
        text.lora(16, 100),
        text.quantize("nf4"),
        text.prune(0.3, "magnitude"),
    ]


@of_both_tasks
def test_every_architecture_that_a_study_meets_is_timed(study):
    """What changes the shape of the network: the channels and the BatchNorm of one, the layers of the other."""
    timed = study.architectures
    assert all(is_admissible(stack, study.facts) for stack in timed)

    def shape(stack) -> set[str]:
        return {str(step) for step in stack if str(step).startswith(("thin", "fold", "cut"))}

    known = [shape(stack) for stack in timed]
    met = [*study.stacks(), *(steps for steps, _ in draws(study.space, 300) if is_admissible(steps, study.facts))]
    assert [shape(stack) for stack in met if shape(stack) not in known] == []
