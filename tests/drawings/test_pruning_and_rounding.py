"""What pruning and rounding do to a matrix: the drawing's numbers are those of the techniques."""

import pytest
import torch

from labkit.drawings import pruning_and_rounding

WEIGHTS = torch.tensor([[0.9, -0.1, 0.4, -1.2], [0.2, 0.8, -0.3, 0.1], [-0.7, 0.3, 1.1, -0.2], [0.1, -0.6, 0.2, 0.5]])


@pytest.fixture
def chart():
    return pruning_and_rounding.four_files(WEIGHTS, 0.5)


@pytest.fixture
def texts(chart) -> list[str]:
    return [text.get_text() for text in chart.axes[0].texts]


def test_the_four_matrices_stand_in_their_cells(texts):
    titles = [texts.index(title) for title in ("FP32", "pruned: 50 % zeros", "rounded to INT8", "both")]
    plain, pruned, rounded, both = (texts[i - 16 : i] for i in titles)
    assert [float(value) for value in plain] == [pytest.approx(w) for w in WEIGHTS.flatten().tolist()]
    assert pruned[:4] == ["0.9", "0", "0.4", "-1.2"] and pruned.count("0") == both.count("0") == 8
    assert rounded[:4] == ["95", "-11", "42", "-127"] and both[:4] == ["95", "0", "42", "-127"]


def test_the_bits_of_each_and_of_the_positions(texts, chart):
    assert [text for text in texts if "bits" in text] == [
        "512 bits",
        "256 + 16 bits",
        "128 bits",
        "64 + 16 bits",
        "32 bits",
        "8 bits",
    ]
    assert "both 80, of which 16 for positions" in chart.alt


def test_the_positions_of_few_weights_cost_less_than_a_bit_each():
    chart = pruning_and_rounding.four_files(WEIGHTS, 0.75)
    assert "pruned 141, of which 13 for positions" in chart.alt


def test_texts_can_be_read_and_do_not_overlap(chart):
    chart.draw_without_rendering()
    ax = chart.axes[0]
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert min(text.get_fontsize() for text in ax.texts) >= 9
    assert not any(box.count_overlaps(boxes[i + 1 :]) for i, box in enumerate(boxes))
    assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 for box in boxes)
