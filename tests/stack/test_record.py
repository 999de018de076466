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


@every_task
def test_every_order_pair_and_ablation_was_recorded_with_every_seed(rows, task):
    recorded = Runner(Recorded(rows[task], START[task]), rows[task])
    for steps in VOCABULARY[task].STUDY.stacks():
        assert recorded.averaged(steps, SEEDS)  # a LookupError names what is missing


def test_the_record_says_how_it_was_made(rows):
    about = [json.loads((FOLDER / f"{task}_about.json").read_text()) for task in START]
    assert all(origin["environment"]["gpu"] and origin["date"] and origin["commands"] for origin in about)


def test_the_search_has_more_than_200_trials_of_both_samplers():
    search = json.loads((FOLDER / "images_about.json").read_text())["search"]
    assert sum(search["samplers"].values()) == search["trials"] > 200
    assert search["samplers"].keys() == {"nsga2", "tpe"}


def test_mobilenet_is_15_times_smaller_at_most_a_point_worse(rows):
    found = rows["images"].averaged().values()
    assert [m for m in found if m["smaller"].low >= 15 and m["lost"].high <= 1 and m["lost"].n >= 3]


def test_smollm2_is_nearly_half_of_its_bytes_at_most_5_percent_of_perplexity_worse_without_training(rows):
    found = rows["text"].averaged()
    start = found[()]["file"].value
    untrained = [m for steps, m in found.items() if "lora" not in str(steps)]
    assert [m for m in untrained if m["lost"].high <= math.log(1.05) and m["file"].value <= start / 1.9]
