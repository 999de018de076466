"""Cells, boxes and arrows: what is drawn is what was given."""

import pytest

from labkit import drawings


@pytest.fixture
def drawing():
    return drawings.canvas(6, 4, "A matrix.")


def test_a_canvas_has_its_size_in_cells_its_description_and_no_axes(drawing):
    chart, ax = drawing
    assert chart.alt == "A matrix." and not ax.axison
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 6), (4, 0))
    assert tuple(chart.get_size_inches()) == (6 * drawings.CELL, 4 * drawings.CELL)


def test_every_value_stands_in_its_cell_and_zeros_are_white(drawing):
    _, ax = drawing
    drawings.cells(ax, 1, 2, [[1.5, 0.0], [-2.0, 3.0]], "#123456", "{:.1f}", "weights")
    assert [text.get_text() for text in ax.texts] == ["1.5", "0.0", "-2.0", "3.0", "weights"]
    assert [cell.get_xy() for cell in ax.patches] == [(1, 2), (2, 2), (1, 3), (2, 3)]
    assert [cell.get_facecolor()[:3] == (1, 1, 1) for cell in ax.patches] == [False, True, False, False]


def test_cells_can_have_a_color_each_and_words(drawing):
    _, ax = drawing
    drawings.cells(ax, 0, 0, [["a", "b"]], [["red", "blue"]])
    assert [cell.get_facecolor()[:3] for cell in ax.patches] == [(1, 0, 0), (0, 0, 1)]


def test_a_box_and_an_arrow_carry_their_text(drawing):
    _, ax = drawing
    drawings.box(ax, 0, 0, 2, 1, "frozen")
    drawings.arrow(ax, (2, 0.5), (4, 0.5), "adds")
    assert {"frozen", "adds"} <= {text.get_text() for text in ax.texts}
