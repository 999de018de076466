"""Execute every lab's notebook as Colab does: opened alone, where the helper package is missing.

    python tests/rehearsals/colab.py FOLDER

FOLDER is made anew and gets labs/NN_name/name.ipynb, executed by nbmake, beside what stands in for the rest of Colab:
`python`, an environment with this one's packages but `labkit`; and `repository`, the working tree as one commit,
published at a made-up address, in place of which git fetches it. The package index is not asked.
"""

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

from labkit.authoring import repository

ROOT = Path(__file__).parents[2]
ADDRESS = "no--body/efficiency-stack"  # GitHub gives nobody a name with two hyphens


def make_environment(folder: Path) -> Path:
    """An environment with the packages of this one, but without those that are installed from a source tree.

    Returns its interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    where = subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True)
    # Lines of a .pth are read only in an environment's own folder: what ours says of a source tree is not seen.
    (Path(where.strip()) / "packages.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    subprocess.run([python, "-m", "ipykernel", "install", "--sys-prefix"], check=True, capture_output=True)
    return python


def make_repository(folder: Path) -> repository.Repository:
    """One commit of all files that git keeps, or would keep, as they are now, but published at ADDRESS with its tag."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    repository.change(folder, ADDRESS)
    setting = repository.read(folder)
    author = ["-c", "user.name=a rehearsal", "-c", "user.email=rehearsal@localhost"]
    commit, tag = [*author, "commit", "-q", "-m", "The working tree"], ["tag", setting.revision]
    for command in (["init", "-q"], ["add", "-A"], commit, tag):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return setting


def surroundings(folder: Path, setting: repository.Repository) -> dict[str, str]:
    """The variables under which git finds the stand-in for the repository, and pip installs without an index."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": setting.address,
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as the option: pip reads 0 here as "no isolation"
    }


def main(folder: Path) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    python = make_environment(folder / "python")
    setting = make_repository(folder / "repository")
    for notebook in sorted(folder.glob("repository/labs/[0-9][0-9]_*/*.ipynb")):
        alone = folder / "labs" / notebook.parent.name
        alone.mkdir(parents=True)
        shutil.copy(notebook, alone)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which leads to ours
    missing = subprocess.run([python, "-c", "import labkit"], cwd=folder, env=environment, capture_output=True)
    if missing.returncode == 0:
        sys.exit("the environment without labkit has it all the same: the rehearsal would prove nothing")
    command = [
        python,
        "-m",
        "pytest",
        "--nbmake",
        "--overwrite",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
        *sorted(folder.glob("labs/*/*.ipynb")),
    ]
    environment |= surroundings(folder / "repository", setting)
    return subprocess.run(command, cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
