"""Execute every lab's notebook as Colab does: opened alone, where the helper package is missing.

    python tests/rehearsals/colab.py FOLDER [own | colab | newest] [NN ...]

FOLDER is made anew and gets labs/NN_name/name.ipynb, executed by nbmake, and records/. Beside them lies what stands in
for the rest of Colab: `repository`, the working tree as one commit, published at a made-up address,
in place of which git fetches it; and the environments that the kernels run in:

own: the packages of the environment that runs this script, without labkit. The package index is not asked. As in
    "colab", each lab has a layer of its own above them, which its set-up cell may change.
colab: Colab's versions, as colab.txt lists them, on Colab's Python. They are installed once, in .colab; the set-up
    cells install what is missing, from the index and with an empty cache, as on a machine of Colab's. What they changed
    is printed. They may change no package that Colab has, but for those in MAY_MOVE. Verdicts that differ from those of
    `make pages` are shown, and not judged: those on times differ from run to run.
newest: pip installs the project from the repository into an empty environment: the newest version of everything.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from labkit import runs
from labkit.authoring import repository, run
from labkit.claims import load_claims

ROOT = Path(__file__).parents[2]
VERSIONS = Path(__file__).with_name("colab.txt")
OWN_RECORDS = ROOT / "build" / "test" / "records"  # of `make pages`
PYTHON = "3.13"  # Colab's
MAY_MOVE = {"torchao"}  # Colab's is too old for INT8 convolutions, and google-colab does not need it
ADDRESS = "no--body/efficiency-stack"  # GitHub gives nobody a name with two hyphens


def layer(folder: Path, base: Path, packages: list[str]) -> Path:
    """An environment above the packages in some folders: what pip installs in it hides what lies there.

    Args:
        folder: is made.
        base: the interpreter to make it with.
        packages: folders of packages, which stay as they are.

    Returns:
        Its interpreter, with a kernel.
    """
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    # Lines of a .pth are read only in an environment's own folder: what theirs say of a source tree is not seen.
    (packages_of(python) / "packages.pth").write_text("\n".join(packages) + "\n")
    subprocess.run([python, "-m", "ipykernel", "install", "--sys-prefix"], check=True, capture_output=True)
    return python


def packages_of(python: Path) -> Path:
    """The folder that an environment's packages lie in."""
    command = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    return Path(subprocess.check_output(command, text=True).strip())


def colabs_python() -> str:
    """An interpreter of Colab's version or, said loudly, this one."""
    for python in ("python" + PYTHON, *map(str, Path.home().glob(f".pyenv/versions/{PYTHON}.*/bin/python"))):
        try:
            subprocess.run([python, "--version"], check=True, capture_output=True)
            return python
        except (OSError, subprocess.CalledProcessError):  # none, or a shim without one behind it
            pass
    print(f"NO PYTHON {PYTHON}, WHICH IS COLAB'S: THIS REHEARSAL RUNS IN PYTHON {sys.version.split()[0]}", flush=True)
    return sys.executable


def colabs_environment(folder: Path) -> Path:
    """The environment that holds Colab's versions, made if it is not there, or of another list; its interpreter."""
    python, made, base = folder / "bin" / "python", folder / "made-of.txt", colabs_python()
    recipe = f"Python {python_version(base)}\n{VERSIONS.read_text()}"
    if not made.is_file() or made.read_text() != recipe:
        print("Making the environment with Colab's versions: once, in about four minutes and 6 GB", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([base, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", VERSIONS], check=True)
        made.write_text(recipe)
    return python


def kept_files(*paths: str) -> list[str]:
    """The files below these paths, of all the tree for none, that git would keep; also of a tree without .git."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
        listed = [
            "git",
            f"--git-dir={folder}",
            f"--work-tree={ROOT}",
            "ls-files",
            "-z",
            "--others",
            "--exclude-standard",
        ]
        names = subprocess.check_output([*listed, *paths], cwd=ROOT, text=True).split("\0")
    return [name for name in names if (ROOT / name).is_file()]


def make_repository(folder: Path) -> repository.Repository:
    """One commit of all files that git keeps, or would keep, as they are now, but published at ADDRESS with its tag."""
    for name in kept_files():
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
    """The variables under which git finds the stand-in for the repository."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": setting.address,
    }


def installed(packages: Path) -> dict[str, str]:
    """Names and versions of the packages in a folder."""
    there = metadata.distributions(path=[str(packages)])
    return {canonicalize_name(d.metadata["Name"]): d.version for d in there}


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The packages that have another version after than before, with both."""
    return {name: (before[name], version) for name, version in after.items() if before.get(name, version) != version}


def faults(moves: Mapping[str, tuple[str, str]]) -> list[str]:
    """What a set-up cell must not have done to Colab's packages, in words."""
    return [
        f"{name} {old} was replaced by {new}"
        for name, (old, new) in moves.items()
        if name not in MAY_MOVE or Version(new) < Version(old)
    ]


def seconds_of_first_cell(notebook: Path) -> float:
    """How long the first code cell of an executed notebook took."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    times = next(cell for cell in cells if cell["cell_type"] == "code")["metadata"]["execution"]
    start, end = (datetime.fromisoformat(times[key]) for key in ("iopub.execute_input", "shell.execute_reply"))
    return (end - start).total_seconds()


def other_verdicts(lab: str, record: Path) -> list[str]:
    """The claims on which this run and another at its scale differ, in words.

    The other is that of `make pages` on this machine, where there is one, else the recorded one. The ledger of a
    rehearsal judges nothing; here the claims are judged all the same, to set one beside the other.
    """
    run, own = runs.load(record), OWN_RECORDS / record.name
    other = runs.load(own) if own.is_file() else runs.recorded_runs(ROOT / "labs" / lab)[run.scale]
    found, elsewhere = run.record.findings, other.record.findings
    return [
        f"{claim.id}: {verdict} ({', '.join(str(found.get(key)) for key in claim.promises)}), elsewhere {old} "
        f"({', '.join(str(elsewhere.get(key)) for key in claim.promises)})"
        for claim in load_claims(ROOT / "labs" / lab / "claims.toml")
        if (verdict := claim.verdict(found)) != (old := claim.verdict(elsewhere))
    ]


def execute(notebook: Path, python: Path, environment: Mapping[str, str]) -> bool:
    """Execute a notebook in its folder, by a kernel of another environment; whether it ran through."""
    kernels = {"JUPYTER_PATH": str(python.parents[1] / "share" / "jupyter")}
    command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", notebook.parents[2], notebook]
    return subprocess.run(command, cwd=notebook.parents[2], env={**environment, **kernels}).returncode == 0


def main(folder: Path, kind: str = "own", *labs: str) -> int:
    """Execute the labs; 1 if one fails or does to Colab's packages what it must not."""
    known = [path.name for path in sorted(ROOT.glob("labs/[0-9][0-9]_*"))]
    if kind not in ("own", "colab", "newest") or not all(any(lab.startswith(name) for lab in known) for name in labs):
        sys.exit(f"{__doc__}\nThe labs are {', '.join(known)}")
    shutil.rmtree(folder, ignore_errors=True)
    setting = make_repository(folder / "repository")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # which leads to ours
    environment |= surroundings(folder / "repository", setting)
    environment |= {"LABKIT_SCALE": "quick", "LABKIT_RECORDS": str(folder / "records")}
    if kind == "newest":
        subprocess.run([sys.executable, "-m", "venv", folder / "python"], check=True)
        newest = folder / "python" / "bin" / "python"
        project = f"efficiency-stack[labs] @ {(folder / 'repository').as_uri()}"
        subprocess.run([newest, "-m", "pip", "install", "--quiet", project, "ipykernel"], check=True)
        subprocess.run([newest, "-m", "ipykernel", "install", "--sys-prefix"], check=True, capture_output=True)
    elif kind == "colab":
        base = colabs_environment(ROOT / ".colab")
        below = [str(packages_of(base))]
        before = installed(packages_of(base))
        environment |= {"PIP_NO_CACHE_DIR": "1", "COLAB_RELEASE_TAG": "a rehearsal"}
    else:
        base, below = Path(sys.executable), site.getsitepackages()
        # 0 is read as "no isolation": the package is built by what is there.
        environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        environment = run.compiled_kernels() | environment
    wrong = []
    for notebook in sorted(folder.glob("repository/labs/[0-9][0-9]_*/*.ipynb")):
        lab = notebook.parent.name
        if labs and not lab.startswith(labs):
            continue
        alone = folder / "labs" / lab / notebook.name
        alone.parent.mkdir(parents=True)
        shutil.copy(notebook, alone)
        if kind == "newest":
            python = newest
        else:
            python = layer(folder / "layers" / lab, base, below)
            missing = subprocess.run([python, "-c", "import labkit"], cwd=folder, env=environment, capture_output=True)
            if missing.returncode == 0:
                sys.exit("the environment without labkit has it all the same: the rehearsal would prove nothing")
        print(f"{lab}, in Python {python_version(python)}", flush=True)
        if not execute(alone, python, environment):
            wrong.append(f"{lab} stopped")
        elif kind == "colab":
            after = installed(packages_of(python))
            moves = moved(before, after)
            print(f"set up in {seconds_of_first_cell(alone):.0f} s. Installed:", *sorted(after.keys() - before))
            print("replaced:", *(f"{name} {old} by {new}" for name, (old, new) in moves.items()))
            print(*other_verdicts(lab, folder / "records" / f"{lab}.json"), sep="\n", flush=True)
            wrong += [f"{lab}: {fault}" for fault in faults(moves)]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def python_version(python: Path | str) -> str:
    """The version of an interpreter."""
    return subprocess.check_output([python, "-c", "import platform; print(platform.python_version())"], text=True)[:-1]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), *sys.argv[2:]))
