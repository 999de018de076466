"""Notebooks as students hand them in, for the tests of grading."""

import nbformat
import nbformat.v4 as nb

TWICE, SQUARE = "def twice(x):\n    return x + x", "def square(x):\n    return x**2"


def notebook(*cells: str) -> bytes:
    return nbformat.writes(nb.new_notebook(cells=[nb.new_code_cell(cell) for cell in cells])).encode()
