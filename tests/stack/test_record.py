"""The recorded studies that ship with Lab 05: whole, readable, and as good as the lab says."""

import json
import math
from pathlib import Path

import pytest

from labkit.stack import SEEDS, Recorded, Rows, Runner, admit, read
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text

FOLDER = Path(__file__).parents[2] / "labs" / "05_stacking" / "recorded" / "search"
START = {"images": frozenset({"BatchNorm"}), "text": frozenset()}
VOCABULARY = {"images": images, "text": text}
every_task = pytest.mark.parametrize("task", START)


@pytest.fixture(scope="module")
def rows() -> dict[str, Rows]:
    return {task: Rows(recorded=[FOLDER / f"{task}.jsonl"]) for task in START}


@every_task
def test_every_recorded_stack_can_be_read_and_done_again(rows, task):
    for row in rows[task].all():
        admit([read(step, VOCABULARY[task]) for step in row.steps], START[task])


# What is learned without compression, and more of it: came into the study after the rows of the language model.
WANTED = "lora(64,200) int8>lora(64,200) nf4>lora(64,200) lora(64,200)>int8 lora(64,200)>nf4 cut(2)>nf4>lora(16,100)"


@every_task
def test_every_order_pair_and_ablation_was_recorded_with_every_seed(rows, task):
    recorded = Runner(Recorded(rows[task], START[task]), rows[task])
    missing = []
    for steps in VOCABULARY[task].STUDY.stacks():
        try:
            assert recorded.averaged(steps, SEEDS)
        except LookupError:
            missing.append(">".join(map(str, steps)).replace(" ", ""))
    named = {name.replace("quantize(int8)", "int8").replace("quantize(nf4)", "nf4") for name in missing}
    assert named <= (set(WANTED.split()) if task == "text" else set())


def test_the_searches_have_more_than_200_trials_and_the_record_says_how_they_were_run(rows):
    about = [json.loads((FOLDER / f"{task}_about.json").read_text()) for task in START]
    assert sum(origin["search"]["trials"] for origin in about) > 200
    for origin in about:
        assert sum(origin["search"]["samplers"].values()) == origin["search"]["trials"]
        assert origin["search"]["samplers"].keys() == {"nsga2", "tpe"}
    assert all(origin["environment"]["gpu"] and origin["date"] and origin["commands"] for origin in about)


def test_mobilenet_is_15_times_smaller_at_most_a_point_worse(rows):
    found = rows["images"].averaged().values()
    assert [m for m in found if m["smaller"].low >= 15 and m["lost"].high <= 1 and m["lost"].n >= 3]


def test_smollm2_is_half_of_its_bytes_at_most_5_percent_of_perplexity_worse_without_training(rows):
    found = rows["text"].averaged()
    start = found[()]["file"].value
    untrained = [m for steps, m in found.items() if "lora" not in str(steps)]
    assert [m for m in untrained if m["lost"].high <= math.log(1.05) and m["file"].value <= start / 2]
