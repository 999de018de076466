"""A lab as JupyterLab opens and saves it: script and notebook are one document, and git does not see its outputs."""

import json
from pathlib import Path

import nbformat.v4 as nb
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

from clones import changes, make_clone

ROOT = Path(__file__).parents[2]
LABS = sorted((ROOT / "labs").glob("[0-9][0-9]_*"))


def test_the_settings_in_the_header_are_the_same_in_every_lab():
    headers = {(lab / f"{lab.name[3:]}.py").read_text().split("# ---\n")[1] for lab in LABS}
    assert len(headers) == 1


@pytest.fixture
def clone(tmp_path) -> tuple[Path, str]:
    """A repository with one lab in it, and the lab's script in it."""
    script = f"labs/{LABS[0].name}/{LABS[0].name[3:]}.py"
    make_clone(tmp_path, ".gitattributes", ".gitignore", script, script.replace(".py", ".ipynb"))
    return tmp_path, script


def contents_manager(folder: Path):
    return build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(folder))


def run_and_save(manager, path: str) -> None:
    """What JupyterLab does when a user opens a file as a notebook, runs it and saves it."""
    model = manager.get(path, type="notebook")
    notebook = model["content"]
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.11.7"}
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        cell["execution_count"] = number + 1
        cell["metadata"] |= {"trusted": True, "collapsed": True, "jupyter": {"outputs_hidden": True}}
        cell["outputs"] = [nb.new_output("stream", name="stdout", text="a result\n")]
    manager.save({"type": "notebook", "content": notebook, "format": "json"}, path)


@pytest.mark.parametrize("opened", [".py", ".ipynb"])
def test_running_and_saving_either_of_the_pair_changes_nothing_that_git_keeps(clone, opened):
    folder, script = clone
    path = str(Path(script).with_suffix(opened))
    run_and_save(contents_manager(folder), path)
    kept = json.loads((folder / script).with_suffix(".ipynb").read_text())
    assert any(cell.get("outputs") for cell in kept["cells"])  # the reader's results are not lost
    assert changes(folder) == ""


def test_an_edit_in_jupyterlab_reaches_both_files(clone):
    folder, script = clone
    manager = contents_manager(folder)
    model = manager.get(script, type="notebook")
    model["content"]["cells"][0]["source"] += "\nOne more line."
    manager.save({"type": "notebook", "content": model["content"], "format": "json"}, script)
    assert "# One more line." in (folder / script).read_text()
    assert "One more line." in (folder / script).with_suffix(".ipynb").read_text()
