"""Files of the working tree in a repository of their own, which a test may change."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from rehearsals.colab import kept_files

ROOT = Path(__file__).parents[1]


def git(folder: Path, *command: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    return subprocess.run(["git", *author, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def make_clone(folder: Path, *paths: str) -> None:
    """One commit of all files under these paths that git keeps, or would keep, in a repository set up as by `make`."""
    for name in kept_files(*paths):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "-q")
    makefile = (ROOT / "Makefile").read_text().replace("\\\n\t", "")
    options = re.search(r"^strip := (.*)$", makefile, re.MULTILINE)[1]
    git(folder, "config", "filter.nbstripout.clean", f"'{sys.executable}' {options}")
    git(folder, "config", "filter.nbstripout.smudge", "cat")
    git(folder, "config", "filter.nbstripout.required", "true")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "files of the working tree")


def changes(folder: Path) -> str:
    """What git would commit in the clone."""
    git(folder, "add", "-A")  # until then `git status` lists every file of another size, whatever the filter leaves
    return git(folder, "diff", "--cached")
