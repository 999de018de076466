"""Make a new lab from the template: written and run beside the others, and only then put in its place."""

from __future__ import annotations

import importlib.util
import keyword
import re
import tempfile
from pathlib import Path

from labkit import files, runs
from labkit.authoring import repository, run

TEMPLATE = Path(__file__).parent / "template"
QUESTION = "Store the weights in 16 bits: half the bytes, and what is lost?"  # that of the template
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
IN_TOC = r"^( *)- file: labs/.*(?:\n\1 +.*)*"  # with the lines below that are indented more deeply: its sections
IN_README = r"^()\|.*\]\(labs/\d\d_\w+/\).*"
NEXT = """
Made labs/{lab}/, ran it at scale quick, and added it to book/_toc.yml and README.md. Next:
  1. edit labs/{lab}/{name}.py and claims.toml; what begins with "Author:" says what to replace
  2. make notebooks, and git add labs/{lab}
  3. labkit run {number} --scale standard, until it says what you want to say
  4. labkit run {number} --scale quick --keep, and again with standard: the runs that the lab compares itself with
  5. bring its row in README.md up to date: title, question, and time and memory of the run at standard
book/contribute.md says what a lab must be."""


class NewLabError(Exception):
    """The lab cannot be made; the message says why."""


def new(root: Path, name: str, question: str = QUESTION) -> int:
    """Make the folder labs/NN_name with a lab that runs, NN being the next number, and add it to book and README.

    Returns 0 when it is made, otherwise the exit code of the lab's first run, and leaves nothing. Raises NewLabError
    for a name or question that no lab can have, or where book/_toc.yml or README.md lists no lab after which to add
    this one.
    """
    if "|" in question:
        raise NewLabError("a question cannot have a |, which ends a cell of the table in README.md")
    lab = next_folder(root, name)
    add_to_lists(root, lab, "")  # if it fails, then before the run
    source = repository.read(root)
    title, question = name.replace("_", " ").capitalize(), " ".join(question.split())
    with tempfile.TemporaryDirectory(prefix=".new_", dir=root) as scratch:
        folder = Path(scratch, "labs", lab)
        for neighbour in ("labs/set_up.py", "labs/jupytext.toml", "book/references.bib"):  # found from where it lies
            files.write(Path(scratch, neighbour), (root / neighbour).read_bytes())
        fill_template(
            folder,
            {
                "lab": lab,
                "number": lab[:2],
                "title": title,
                "question": question,
                "badge": repository.badge(source, lab),
                "setup_cell": repository.setup_cell(source, lab).rstrip(),
            },
        )
        repository.derive(folder / f"{name}.py")
        if code := run.keep_labs([folder], "quick", Path(scratch, "build")):
            return code
        ran, t4 = runs.recorded_runs(folder)["quick"], runs.t4_estimate(folder)
        row = readme_row(lab, title, question, ran, t4, source)
        put_in_place(folder, root / "labs" / lab, add_to_lists(root, lab, row))
    print(NEXT.format(lab=lab, name=name, number=lab[:2]))
    return 0


def next_folder(root: Path, name: str) -> str:
    """NN_name for the number after the last. Raises NewLabError for a name that is taken or that no lab can have."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise NewLabError(f"{name!r} is no name for a lab: write it in lower case, as in sixteen_bits")
    labs = sorted(path.name for path in (root / "labs").glob("[0-9][0-9]_*"))
    if taken := [lab for lab in labs if lab[3:] == name]:
        raise NewLabError(f"there is a lab of this name: labs/{taken[0]}")
    if importlib.util.find_spec(name):
        raise NewLabError(f"Python has a module {name}, which {name}.py would hide from the lab: choose another name")
    number = int(labs[-1][:2]) + 1 if labs else 1
    if number > 99:
        raise NewLabError("the numbers of labs end at 99")
    return f"{number:02}_{name}"


def fill_template(folder: Path, values: dict[str, str]) -> None:
    """Write the lab's source and claims, with the placeholders @key@ of the template replaced."""
    for template, target in (("lab.py.txt", f"{folder.name[3:]}.py"), ("claims.toml", "claims.toml")):
        text = (TEMPLATE / template).read_text(encoding="utf-8")
        # In one pass: a value may hold what looks like a placeholder.
        text = re.sub(r"@(\w+)@", lambda found: values[found[1]], text)
        files.write(folder / target, text.encode())


def readme_row(
    lab: str, title: str, question: str, ran: runs.RecordedRun, t4: str, source: repository.Repository | None
) -> str:
    """The lab's row of the table in README.md."""
    links = repository.readme_link(source, lab, title)
    return f"| {lab[:2]} | {links} | {question} | {ran.time} | {ran.memory} | {t4} |"


def add_to_lists(root: Path, lab: str, row: str) -> dict[Path, str]:
    """The texts of book/_toc.yml and README.md with the lab after the last; nothing is written."""
    places = {
        root / "book" / "_toc.yml": (IN_TOC, f"- file: labs/{lab}"),
        root / "README.md": (IN_README, row),
    }
    return {path: insert_after_last(path, pattern, line) for path, (pattern, line) in places.items()}


def insert_after_last(path: Path, pattern: str, line: str) -> str:
    """The file's text with a line after the last match of `pattern`, indented by what its first group holds.

    The file is not read as YAML or Markdown: its comments and its order stay. Raises NewLabError without a match.
    """
    text = path.read_text(encoding="utf-8")
    if not (labs := list(re.finditer(pattern, text, re.MULTILINE))):
        raise NewLabError(f"{path} lists no lab after which to add this one")
    last = labs[-1]
    return f"{text[: last.end()]}\n{last[1]}{line}{text[last.end() :]}"


def put_in_place(folder: Path, target: Path, texts: dict[Path, str]) -> None:
    """Move the folder and write the texts: all of it, or nothing."""
    before = {path: path.read_bytes() for path in texts}
    folder.rename(target)
    try:
        for path, text in texts.items():
            files.write(path, text.encode())
    except BaseException:
        for path, data in before.items():
            files.write(path, data)
        target.rename(folder)
        raise
