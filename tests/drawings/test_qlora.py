"""What Lab 03 draws: the numbers that were given, text that can be read, and what it says in words."""

import pytest
import torch
from matplotlib.text import Text

from labkit.drawings import qlora
from labkit.measure import Measurement
from labkit.techniques.quantization import nf4

WEIGHTS = torch.tensor([[0.1, -0.4, 0.2, 0.0], [0.1, -2.0, 8.0, 3.0]])


def blocks():
    codes, absmax = nf4.quantize_blocks(WEIGHTS, nf4.nf4_values(), block=4)
    return WEIGHTS, codes, absmax, nf4.dequantize_blocks(codes, absmax, nf4.nf4_values(), 4)


def parts(**gigabytes):
    return {name: Measurement.exact(1e9 * value, "bytes") for name, value in gigabytes.items()}


DRAWN = {
    "beside": lambda: qlora.beside(4096, 4096, 16),
    "rounding": lambda: qlora.rounding(*blocks()),
    "merging": lambda: qlora.merging(0.3, [0.55 + i / 10 for i in range(10)]),
    "training_memory": lambda: qlora.training_memory(
        [{"full": parts(weights=2, optimizer=8)}, {"LoRA": parts(weights=2, workspace=1)}], [2.5]
    ),
    "levels": lambda: qlora.levels(
        torch.randn(4, 100), torch.full((7,), 3.0), {"NF4": (nf4.nf4_values(), 9.3), "FP4": (nf4.fp4_values(), 12.5)}
    ),
}


@pytest.fixture(params=DRAWN)
def drawing(request):
    return DRAWN[request.param]()


def written(drawing) -> list[str]:
    return [text.get_text() for text in drawing.findobj(Text) if text.get_text()]


def test_text_is_nine_points_or_more_and_inside_the_picture(drawing):
    drawing.draw_without_rendering()
    width, height = drawing.bbox.size
    ticks = {tick for ax in drawing.axes for tick in (*ax.get_xticklabels(), *ax.get_xticklabels(minor=True))}
    for text in drawing.findobj(Text):
        if text.get_text() and text.get_visible() and text not in ticks:  # some lie outside the axis, and are not drawn
            assert text.get_fontsize() >= 9, text.get_text()
            box = text.get_window_extent()
            assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, text.get_text()


def test_it_says_in_words_what_it_shows(drawing):
    assert len(drawing.alt) > 60 and drawing.alt.endswith(".")


def test_an_adapter_has_few_numbers_and_the_gradient():
    drawing = qlora.beside(4096, 4096, 16)
    assert "16,777,216 numbers without gradient" in drawing.alt and "131,072 numbers with gradients" in drawing.alt
    assert {"A: 16 × 4,096\n65,536 numbers", "B: 4,096 × 16\n65,536 numbers"} <= set(written(drawing))


def test_blocks_are_divided_rounded_and_multiplied_again():
    text = written(qlora.rounding(*blocks()))
    for value in (".4", "−1", ".25", "−.25", "8", "15"):
        assert value in text
    assert text.count("8") == 3  # the largest weight, its absmax, and what comes back


def test_on_the_grid_no_small_change_moves_and_between_its_points_as_many_as_it_is_large():
    drawing = qlora.merging(0.3, [0.55 + i / 10 for i in range(10)])
    assert {"on the grid: 0 of 10 move to 2", "between: 3 of 10 move to 2"} <= set(written(drawing))


def test_parts_are_stacked_in_gigabytes_and_cards_are_named():
    drawing = DRAWN["training_memory"]()
    full, last = drawing.axes
    assert [(bar.get_x(), bar.get_width()) for bar in full.patches] == [(0, 2), (2, 8)]
    assert [(bar.get_x(), bar.get_width()) for bar in last.patches] == [(0, 2), (2, 1)]
    assert {" 10 GB", " 3 GB", "card: 2.5 GB", "optimizer"} <= set(written(drawing))
    assert "gradients" not in written(drawing) and "full 10 GB, the most of it optimizer" in drawing.alt


def test_a_last_block_that_is_not_whole_is_left_out_of_the_histogram():
    weight = torch.ones(100)
    weight[64:] = 50
    drawing = qlora.levels(weight, torch.tensor([1.0, 50.0]), {"NF4": (nf4.nf4_values(), 0.0)})
    assert drawing.axes[0].get_xlim()[1] < 3
