"""Drawings of stacks: what is drawn is what was measured, and what is refused says why."""

import pytest
import torch

from labkit.drawings import stacking
from labkit.measure import Measurement


def prune_half(w):
    return torch.where(w > 0.9, w, torch.zeros_like(w))


def round_to_half(w):
    return (2 * w).round() / 2


def measured(value: float) -> dict[str, Measurement]:
    lost = Measurement(value, value - 0.5, value + 0.5, "points", 5, "95 % confidence", "Student's t")
    return {"lost": lost, "file": Measurement.exact(1000, "bytes")}


def written(chart) -> list[str]:
    return [text.get_text() for text in chart.axes[0].texts if text.get_text()]


def colors(chart) -> list:
    return [patch.get_facecolor() for patch in chart.axes[0].patches]


def test_both_orders_are_applied_and_cells_that_differ_at_the_end_stand_out():
    chart = stacking.two_orders(torch.tensor([0.8, 1.1]), prune_half, round_to_half)
    assert [t for t in written(chart) if t in ("prune", "round")] == ["prune", "round", "round", "prune"]
    assert chart.alt == "0.8 1.1 in both orders. prune 0 1.1 → round 0 1; round 1 1 → prune 1 1."
    start, _, first_end, *_ = [colors(chart)[i : i + 2] for i in range(0, 12, 2)]
    second_end = colors(chart)[-2:]
    assert first_end[0] != start[0] and second_end[0] != start[0] and second_end[1] == start[1]


def test_a_tree_shares_beginnings_and_shows_results_and_refusals():
    results = {
        ("prune", "train"): measured(1),
        ("fold", "prune"): measured(45),
        ("prune", "fold"): measured(0),
        ("fold", "train"): "needs BatchNorm",
    }
    chart = stacking.tree(results, 2, "lost", "file")
    boxes = [t for t in written(chart) if t in ("prune", "train", "fold")]
    assert sorted(boxes) == ["fold", "fold", "prune", "prune", "train", "train"]  # two beginnings, four ends
    assert "1.00 points [0.50, 1.50]\n1.00 kB" in written(chart) and "refused: needs BatchNorm" in written(chart)
    assert "fold, prune: 45.0 points [44.5, 45.5], 1.00 kB" in chart.alt and chart.alt.startswith("lost, file.")
    assert len({*colors(chart)}) == 4  # beginnings, good, bad, refused


def test_orders_of_several_lengths_grow_in_one_tree():
    chart = stacking.tree({("a",): measured(0), ("a", "b", "c"): measured(3)}, 1, "lost")
    assert [t for t in written(chart) if t in "abc"] == ["a", "b", "c"]


def test_inputs_are_counted_by_which_model_is_right():
    first, second = (torch.tensor(x) for x in ([True, True, True, False], [True, False, True, False]))
    chart = stacking.right_and_wrong(first, second, ("one", "other"))
    assert [t for t in written(chart) if t.isdigit()] == ["2", "1", "0", "1"]
    assert "Of 4 images both are right on 2 and both wrong on 1" in chart.alt
    assert "Only one is right on 1, only other on 0" in chart.alt


def test_every_text_of_a_drawing_has_nine_points_or_more():
    charts = [
        stacking.two_orders(torch.tensor([0.8, 1.1]), prune_half, round_to_half),
        stacking.tree({("a", "b"): measured(0)}, 1, "lost"),
        stacking.right_and_wrong(torch.ones(3).bool(), torch.ones(3).bool(), ("one", "other")),
    ]
    assert min(text.get_fontsize() for chart in charts for text in chart.axes[0].texts) >= 9


@pytest.mark.parametrize("depth", [2, 3])
def test_a_tree_is_narrow_enough_for_a_page(depth):
    order = tuple("abc"[:depth])
    assert stacking.tree({order: measured(1)}, 1, "lost").get_size_inches()[0] <= 7.6
