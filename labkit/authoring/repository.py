"""The repository that Colab opens the labs from, and that a lab opened alone fetches its folder and this package from.

No file names one before it is chosen: whoever owns the name has his code run on the readers' machines. `labkit
repository OWNER/NAME` writes the one setting, `[project.urls]` in pyproject.toml, and what follows from it in many
files: set-up cells, badges and links. They name the tag of the project's version, so a notebook fetches the package
that it was published with, and not that of the day.
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


@dataclass(frozen=True)
class Repository:
    """A public repository on GitHub: `name` is "owner/name", `revision` one of its tags or commits.

    Raises ValueError for a name that cannot be one.
    """

    name: str
    revision: str

    def __post_init__(self):
        if not NAME.fullmatch(self.name) or self.name.lower().endswith((".git", "/.", "/..")):
            raise ValueError(f"{self.name!r} is no repository; it is written OWNER/NAME, as in its address on GitHub")

    @property
    def address(self) -> str:
        return f"{HOST}/{self.name}"

    def source(self, path: str) -> str:
        """Where GitHub shows a file of the repository."""
        return f"{self.address}/blob/{self.revision}/{path}"

    def colab(self, lab: str) -> str:
        """Where Colab opens the notebook of a lab, NN_name."""
        return f"https://colab.research.google.com/github/{self.name}/blob/{self.revision}/labs/{lab}/{lab[3:]}.ipynb"


def read(root: Path) -> Repository | None:
    """The repository of the project in `root`, at the tag of its version; None before it is chosen.

    Raises ValueError for an address that is not one on GitHub.
    """
    address = _project(root).get("urls", {}).get("Repository")
    return Repository(address.removeprefix(f"{HOST}/"), tag(root)) if address else None


def tag(root: Path) -> str:
    """The tag under which the project's version is published: v0.1.0 for 0.1.0."""
    return f"v{_project(root)['version']}"


def _project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def badge(repository: Repository | None, lab: str) -> str:
    """The line below a lab's title, in Markdown: the link to Colab, or where else the lab runs.

    The picture is ours: a page asks no other host for it.
    """
    return f"[![Open in Colab](../colab.svg)]({repository.colab(lab)})" if repository else NO_BADGE


def readme_link(repository: Repository | None, lab: str, title: str) -> str:
    """The links to a lab in the table of README.md: to its folder and, where there is a repository, to Colab."""
    folder = f"[{title}](labs/{lab}/)"
    return f"{folder} ([Colab]({repository.colab(lab)}))" if repository else folder


def setup_cell(repository: Repository | None, lab: str) -> str:
    """The source of a lab's first code cell: it finds the lab's folder and the package.

    In a notebook that was opened alone it fetches them from the repository, or says that there is none.
    """
    if repository is None:
        return SETUP_OF_A_CLONE
    return SETUP.format(address=repository.address, tag=repository.revision, lab=lab)


NO_BADGE = "To run this lab, clone its whole repository and open the notebook there."
SETUP = """\
import os
import runpy
import subprocess

clone = "git clone -q -c advice.detachedHead=false --depth 1 -b {tag} {address} efficiency-stack"
if not os.path.exists("claims.toml"):  # not in its folder, or alone, as in Colab
    here = "." if os.path.exists("labs/{lab}") else "efficiency-stack"
    subprocess.run(f"test -d {{here}} || {{clone}}", shell=True, check=True)
    os.chdir(f"{{here}}/labs/{lab}")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing
"""
SETUP_OF_A_CLONE = '''\
import os
import runpy

if not os.path.exists("claims.toml"):
    raise FileNotFoundError(f"""no claims.toml in {os.getcwd()}: a lab needs its folder.
In a clone, run it there, in labs/NN_name. Opened alone? Clone its whole repository.
(The owner types `labkit repository OWNER/NAME` once; then it fetches the rest.)""")
_ = runpy.run_path("../set_up.py")  # installs labkit where it is missing
'''

PROJECT_URLS = """\
[project.urls] # `labkit repository OWNER/NAME` writes it, and all that follows from it
Repository = "{address}"
Changelog = "{address}/blob/HEAD/CHANGELOG.md"
Issues = "{address}/issues"

"""

# What `change` writes anew, whatever repository or version it named before.
BADGE = rf"^# (?:\[!\[Open in Colab\]\(.*|{re.escape(NO_BADGE)})$"
SETUP_CELL = r"^import os\n(?:.*\n)*?_ = runpy\.run_path\(.*\n"
README_LINK = r"^(\| \d\d \| )\[(.*?)\]\(labs/(\w+)/\)(?: \(\[Colab\]\(\S+\)\))?"
URLS = r"^\[project\.urls\].*\n(?:[^\[\n].*\n)*\n?"
CITED = r"^repository-code:.*\n"


def change(root: Path, name: str) -> list[Path]:
    """Write the repository OWNER/NAME and the tag of the project's version wherever they stand; derive the notebooks.

    Returns the files that changed. All texts are made before the first is written. Raises ValueError for a name that
    is none, and for a file in which the place of the repository was lost.
    """
    new = Repository(name, tag(root))
    scripts = [lab / f"{lab.name[3:]}.py" for lab in sorted(root.glob("labs/[0-9][0-9]_*"))]
    others = [root / other for other in ("CITATION.cff", "README.md", "pyproject.toml")]
    texts = {path: path.read_text(encoding="utf-8") for path in [*filter(Path.is_file, scripts), *others]}
    changed = {path: _named(path, text, new) for path, text in texts.items()}
    changed = {path: text for path, text in changed.items() if text != texts[path]}
    written = []
    for path, text in changed.items():
        files.write(path, text.encode())
        written.append(path)
        if path in scripts:
            derive(path)
            written.append(path.with_suffix(".ipynb"))
    return written


def derive(script: Path) -> None:
    """Make a lab's notebook from its .py, as `make notebooks` does."""
    command = [sys.executable, "-m", "jupytext", "--quiet", "--update", "--to", "notebook", script.name]
    subprocess.run(command, cwd=script.parent, check=True)


def _named(path: Path, text: str, new: Repository) -> str:
    """The text of a file with the new repository in it."""
    if path.name == "README.md":
        return re.sub(README_LINK, lambda row: row[1] + readme_link(new, row[3], row[2]), text, flags=re.MULTILINE)
    if path.name == "CITATION.cff":
        text = re.sub(CITED, "", text, flags=re.MULTILINE)
        return _put(path, text, r"^(?=keywords:)", f'repository-code: "{new.address}"\n')
    if path.name == "pyproject.toml":
        text = re.sub(URLS, "", text, flags=re.MULTILINE)
        return _put(path, text, r"^(?=\[project\.scripts\])", PROJECT_URLS.format(address=new.address))
    text = _put(path, text, BADGE, f"# {badge(new, path.parent.name)}")
    return _put(path, text, SETUP_CELL, setup_cell(new, path.parent.name))


def _put(path: Path, text: str, place: str, new: str) -> str:
    """The text with what the pattern `place` finds first replaced."""
    text, count = re.subn(place, lambda _: new, text, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError(f"{path} has no place for the repository: nothing in it matches {place!r}")
    return text
