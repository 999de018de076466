"""The repository that Colab opens the labs from, and that a lab opened alone fetches its folder and this package from.

It is one setting, `[tool.labkit]` in pyproject.toml. The badge, the set-up cell and the links that follow from it stand
in many files; `labkit repository OWNER/NAME` changes them all.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from labkit import files

HOST = "https://github.com"
NAME = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
BRANCH = re.compile(r"[A-Za-z0-9._/-]+")


@dataclass(frozen=True)
class Repository:
    """A public repository on GitHub: `name` is "owner/name", `branch` a branch or tag.

    Raises ValueError for what cannot be one.
    """

    name: str
    branch: str = "main"

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no repository; it is written OWNER/NAME, as in its address on GitHub")
        if not BRANCH.fullmatch(self.branch):
            raise ValueError(f"{self.branch!r} is no name of a branch or tag")

    @property
    def address(self) -> str:
        return f"{HOST}/{self.name}"

    def source(self, path: str) -> str:
        """Where GitHub shows a file of the repository."""
        return f"{self.address}/blob/{self.branch}/{path}"

    def colab(self, lab: str) -> str:
        """Where Colab opens the notebook of a lab, NN_name."""
        return f"https://colab.research.google.com/github/{self.name}/blob/{self.branch}/labs/{lab}/{lab[3:]}.ipynb"


def read(root: Path) -> Repository:
    """The setting of the project in `root`."""
    setting = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["labkit"]
    return Repository(setting["repository"], setting["branch"])


def badge(repository: Repository, lab: str) -> str:
    """The link to Colab in a lab's first cell, in Markdown. Its picture is ours: a page asks no other host for it."""
    return f"[![Open in Colab](../colab.svg)]({repository.colab(lab)})"


def setup_cell(repository: Repository, lab: str) -> str:
    """The source of a lab's first code cell: it finds the lab's folder and the package, or fetches them."""
    return SETUP.format(address=repository.address, branch=repository.branch, lab=lab)


SETUP = """\
import os
import runpy
import subprocess

clone = "git clone -q --depth 1 -b {branch} {address} efficiency-stack"
if not os.path.exists("claims.toml"):  # opened alone, as in Colab: fetch its folder
    subprocess.run(f"test -d efficiency-stack || {{clone}}", shell=True, check=True)
    os.chdir("efficiency-stack/labs/{lab}")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing
"""


def change(root: Path, new: Repository) -> list[Path]:
    """Name another repository in the setting and wherever it is used, and derive the notebooks anew.

    Returns the files that changed. All texts are made before the first is written.
    """
    old = read(root)
    texts = {path: path.read_text(encoding="utf-8") for path in _files(root)}
    changed = {path: _renamed(text, old, new, _lab(root, path)) for path, text in texts.items()}
    changed = {path: text for path, text in changed.items() if text != texts[path]}
    written = []
    for path, text in changed.items():
        files.write(path, text.encode())
        written.append(path)
        if _lab(root, path):
            derive(path)
            written.append(path.with_suffix(".ipynb"))
    return written


def derive(script: Path) -> None:
    """Make a lab's notebook from its .py, as `make notebooks` does."""
    command = [sys.executable, "-m", "jupytext", "--quiet", "--update", "--to", "notebook", script.name]
    subprocess.run(command, cwd=script.parent, check=True)


def _files(root: Path) -> list[Path]:
    scripts = [lab / f"{lab.name[3:]}.py" for lab in sorted(root.glob("labs/[0-9][0-9]_*"))]
    # The setting comes last: whoever is interrupted before can give the command again.
    others = [root / name for name in ("CITATION.cff", "README.md", "pyproject.toml")]
    return [*filter(Path.is_file, scripts), *others]


def _lab(root: Path, path: Path) -> str | None:
    return path.parent.name if path.parent.parent == root / "labs" else None


def _renamed(text: str, old: Repository, new: Repository, lab: str | None) -> str:
    if lab:
        text = text.replace(setup_cell(old, lab), setup_cell(new, lab))
    setting = 'repository = "{0.name}"\nbranch = "{0.branch}"\n'
    text = text.replace(setting.format(old), setting.format(new))
    text = text.replace(f"/github/{old.name}/blob/{old.branch}/", f"/github/{new.name}/blob/{new.branch}/")
    return re.sub(re.escape(old.address) + r"(?![\w-]|\.\w)", new.address, text)
