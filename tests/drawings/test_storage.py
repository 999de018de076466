"""The drawings of a Deep Compression file: what stands in them is what the technique computes."""

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color

from labkit.drawings import storage
from labkit.plot import ORANGE
from labkit.techniques.quantization.codebook import Codebook

ROW = np.array([0, 0.8, 0, -0.5, 0, 0, 0, 0, 0, 0, 0.3, 0])
STEPS = {
    "pruned": {"weights": 400_000, "index": 60_000, "codebook": 0, "overhead": 1000},
    "shared": {"weights": 70_000, "index": 62_000, "codebook": 500, "overhead": 1000},
}


def texts(chart) -> list[str]:
    return [text.get_text() for text in chart.axes[0].texts]


def legible(chart) -> bool:
    return all(text.get_fontsize() >= 9 for text in chart.axes[0].texts)


def test_distances_bits_and_one_filler_are_drawn():
    chart = storage.gap_coding(ROW, 2)
    said = texts(chart)
    assert [text for text in said if text.startswith("+")] == ["+2", "+2", "+4", "+3"]
    below = said[len(ROW) * 2 + 1 :]  # behind the places, the row and its title
    assert [text for text in below if len(text) == 2 and set(text) <= {"0", "1"}] == ["01", "01", "11", "10"]
    assert said.count("filler") == 1 and legible(chart)
    assert "fillers at places [7]" in chart.alt
    orange = [patch for patch in chart.axes[0].patches if same_color(patch.get_facecolor(), ORANGE)]
    assert len(orange) == 3  # in the row, its bits, its value


def test_a_row_that_needs_no_filler_has_none():
    assert "filler" not in texts(storage.gap_coding(ROW, 3))


def test_every_weight_has_its_code_and_the_table_its_centroids():
    weight = torch.tensor([[1.9, 0.0], [-1.1, 2.1]])
    book = Codebook(torch.tensor([-1.1, 2.0]), torch.tensor([1, 0, 1]), torch.tensor([0, 2, 3]), weight.shape)
    chart = storage.codebook(weight, book, bits=2)
    said = [text for text in texts(chart) if text]
    assert said[:5] == ["1.9", "0", "-1.1", "2.1", "32-bit weights"]
    assert said[5:10] == ["10", "00", "01", "10", "2-bit codes"]
    assert said[10:] == ["00", "0", "01", "-1.10", "10", "2.00", "codebook"]
    assert "01 is -1.10; 10 is 2.00" in chart.alt and legible(chart)


def test_weights_of_one_code_have_one_color():
    weight = torch.tensor([[1.9, 0.0], [-1.1, 2.1]])
    book = Codebook(torch.tensor([-1.1, 2.0]), torch.tensor([1, 0, 1]), torch.tensor([0, 2, 3]), weight.shape)
    colors = [patch.get_facecolor() for patch in storage.codebook(weight, book, bits=2).axes[0].patches[:4]]
    assert colors[0] == colors[3] != colors[2] and colors[1][:3] == (1, 1, 1)


def test_the_account_says_what_each_step_saved_of_which_part():
    chart = storage.account("VGG-9", 6_283_176, STEPS)
    first, pruned, shared = texts(chart)
    assert first.startswith("6,283 kB") and pruned == "461 kB"
    assert shared == "134 kB\nvalues −330, positions +2"
    assert chart.alt.endswith("pruned: values 400, positions 60 kB; shared: values 70, positions 62 kB.")
    assert legible(chart)


def test_the_bars_of_the_account_are_as_long_as_the_files():
    ax = storage.account("VGG-9", 6_283_176, STEPS).axes[0]
    ends: dict[float, float] = {}
    for bar in ax.patches:
        y = round(bar.get_y() + bar.get_height() / 2, 2)
        ends[y] = max(ends.get(y, 0), bar.get_x() + bar.get_width())
    assert ends[1] == pytest.approx(461) and ends[2] == pytest.approx(133.5)
    assert ends[0] == ax.get_xlim()[1]  # the dense file's is cut at the edge
