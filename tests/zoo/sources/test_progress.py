"""A bar while bytes come, and nothing afterwards."""

import nbformat.v4 as nb
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

SHOW = """\
from labkit.zoo.sources import progress
progress.EVERY = 0
with progress.shown("a <model>", total=2_000_000, done=500_000) as advance:
    advance(1_000_000)
"""


def run(*cells: str) -> tuple[list, list[str]]:
    """What is left in the cells of a notebook, and the HTML that was shown on the way."""
    seen = []

    class Client(NotebookClient):
        def process_message(self, message, *rest):
            if "data" in message["content"]:
                seen.append(message["content"]["data"].get("text/html"))
            return super().process_message(message, *rest)

    notebook = nb.new_notebook(cells=[nb.new_code_cell(cell) for cell in cells])
    Client(notebook, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells], seen


def test_in_a_notebook_a_bar_moves_and_leaves_an_empty_output():
    [[left]], seen = run(SHOW)
    assert left["data"]["text/html"] == ""
    assert "value='500000' max='2000000'" in seen[0] and "a &lt;model&gt;: 0.5 of 2.0 MB" in seen[0]
    assert "value='1500000'" in seen[1] and "1.5 of 2.0 MB" in seen[1]


def test_the_bar_goes_when_the_download_fails():
    [[left]], _ = run(f"try:\n    exec({SHOW + '    raise OSError'!r})\nexcept OSError:\n    pass")
    assert left["data"]["text/html"] == ""


def test_in_a_log_there_is_no_bar(capfd):
    from labkit.zoo.sources import progress

    with progress.shown("a model", total=2, done=0) as advance:
        advance(2)
    assert capfd.readouterr() == ("", "")
