"""The notebook of a very small lab as it is after its execution, for the tests of the site."""

import base64
import io
from pathlib import Path

import nbformat.v4 as nb
from matplotlib.figure import Figure


def write_lab(path: Path, text: str = "", outputs: list | None = None) -> None:
    """Write it: a text with formulas, a cell with `outputs`, else with a picture, and a ledger."""
    text = "# A lab\n\nA weight of $b$ bits:\n\n$$s = \\frac{b}{8}\\ \\mathrm{bytes}$$\n\n" + text
    text += "\n\n## 2 · The ledger\n\nThe verdicts."
    cells = [
        nb.new_markdown_cell(text),
        nb.new_code_cell("plot()", execution_count=1, outputs=[picture()] if outputs is None else outputs),
    ]
    metadata = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nb.writes(nb.new_notebook(cells=cells, metadata=metadata)))


def picture():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2])
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return nb.new_output("display_data", {"image/png": base64.b64encode(png.getvalue()).decode()})
