"""The path from noise, rows of pictures and merged tokens: what is drawn is what was computed."""

import numpy as np
import pytest
import torch

from labkit.drawings import diffusion
from labkit.measure import Measurement
from labkit.record import Record
from labkit.techniques.diffusion.token_merging import Matching, match


def test_the_path_ends_at_a_picture_and_is_the_same_for_more_levels():
    coarse, fine = (diffusion.path(2.1, np.linspace(3, 0.01, n)) for n in (400, 4000))
    assert fine[0] == 2.1 and abs(fine[-1] - 1) < 0.01
    assert abs(coarse[-1] - fine[-1]) < 1e-3
    assert np.allclose(diffusion.path(-2.1, np.linspace(3, 0.01, 400)), -coarse)


def test_what_lies_behind_is_the_mean_of_both_pictures_in_noise_and_one_of_them_near_the_end():
    assert abs(diffusion.behind(0.5, 100.0)) < 1e-3 and abs(diffusion.behind(0.5, 0.1) - 1) < 1e-3
    # Of two points with normal noise: weights exp(-(x - 1)² / 2s²) and exp(-(x + 1)² / 2s²).
    near, far = (np.exp(-((0.7 - picture) ** 2) / (2 * 1.5**2)) for picture in (1, -1))
    assert diffusion.behind(0.7, 1.5) == pytest.approx((near - far) / (near + far))


def test_one_leap_says_what_it_shows():
    chart = diffusion.one_leap(steps=8)
    assert "8 small steps" in chart.alt and "in one leap" in chart.alt
    (ax,) = chart.axes
    assert [len(line.get_xdata()) for line in ax.lines[:2]] == [3000, 9]
    assert min(text.get_fontsize() for text in ax.texts if text.get_text()) >= 9


def test_rows_of_pictures_have_their_names_and_columns():
    rows = {"noise": torch.zeros(3, 3, 4, 4), "picture": torch.ones(3, 3, 4, 4)}
    chart = diffusion.rows_of_pictures(rows, "Two rows.", ["a", "b", "c"])
    assert chart.alt == "Two rows." and len(chart.axes) == 6
    texts = [[text.get_text() for text in ax.texts] for ax in chart.axes]
    assert texts == [["noise"], [], [], ["picture", "a"], ["b"], ["c"]]
    assert chart.axes[5].images[0].get_array().max() == 1


def test_groups_follow_the_matching():
    matching = Matching(
        torch.tensor([0, 2]), torch.tensor([[1, 3, 4]]), torch.tensor([[5, 6, 7]]), torch.tensor([[0, 1, 0]])
    )
    assert diffusion.groups(matching).tolist() == [0, 1, 2, 3, 4, 0, 2, 0]


def test_what_merged_is_covered_and_the_largest_groups_have_a_colour_each():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    # Tokens 1 and 4 merge into 0, and 3 into 2.
    matching = Matching(
        torch.tensor([0, 2, 8, 10]),
        torch.tensor([[5, 6, 7, 9, 11, 12, 13, 14, 15]]),
        torch.tensor([[1, 4, 3]]),
        torch.tensor([[0, 0, 1]]),
    )
    chart = diffusion.merged_tokens(image, matching, 4, 4, largest=2)
    left, right = chart.axes
    assert (left.get_title(), right.get_title()) == ("13 of 16 tokens stay", "the 2 largest groups")
    assert corners(left.collections[0]) == [(0, 1), (1, 0), (3, 0)]
    assert [corners(group) for group in right.collections] == [[(0, 0), (0, 1), (1, 0)], [(2, 0), (3, 0)]]
    assert "3 of 16 tokens are covered" in chart.alt and "of 3, 2 tokens" in chart.alt


def corners(cells) -> list[tuple[int, int]]:
    """Upper left corners of covered tokens, as (x, y)."""
    return sorted(tuple(path.vertices.min(axis=0).astype(int).tolist()) for path in cells.get_paths())


def test_a_matching_of_a_picture_can_be_drawn():
    x = torch.randn(1, 64, 5, generator=torch.Generator().manual_seed(0))
    chart = diffusion.merged_tokens(torch.rand(3, 16, 16), match(x, 8, 8, 0.5), 8, 8)
    assert chart.axes[0].get_title() == "32 of 64 tokens stay"


def test_bias_falls_with_the_number_of_pictures_on_plain_ticks():
    chart = diffusion.bias({n: Measurement(600 / n, 500 / n, 700 / n, "", 4) for n in (50, 500, 2000)})
    (ax,) = chart.axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["50", "500", "2000"]
    assert "all of them are real" in chart.alt


def test_the_floor_is_dotted_and_told():
    record = Record("04_example", "quick", seed=0)
    for name, far, ms in (("a", 1.0, 5.0), ("b", 2.0, 3.0)):
        record.add(name, latency=Measurement.exact(ms, "ms"), distance_2000=Measurement.exact(far, ""))
    record.add("autoencoder", distance_2000=Measurement.exact(0.35, ""))
    chart = diffusion.above_the_floor(record, ["a", "b"], "autoencoder")
    assert chart.alt.endswith("The floor, autoencoder, lies at 0.35.")
    assert any(line.get_linestyle() == ":" for line in chart.axes[0].lines)
