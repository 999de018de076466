"""`labkit new`: in a made-up project with a tiny template, then for real in a copy of this one."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from labkit import files, runs
from labkit.__main__ import main
from labkit.authoring import new, repository, run
from labkit.record import Record
from rehearsals.colab import kept_files
from small_labs import RUN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOC = """\
# the order of the book
parts:
  - caption: Labs # in the order of their numbers
    chapters:
      - file: labs/01_first
      - file: labs/04_fourth # the last
        sections:
          - file: fourth_at_length
  - caption: Results
    chapters:
      - file: ledger
"""
README = """\
| | Lab | Question | Time | Memory | A T4 |
| --- | --- | --- | --- | --- | --- |
| 01 | [First](labs/01_first/) | Is it? | 1 min | 1 GB | 2 to 3 min |
| 04 | [Fourth](labs/04_fourth/) | Are they? | 1 min | 1 GB | 2 to 3 min |

Lab 01 is in [its folder](labs/01_first/).
"""
TINY = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab @number@ · @title@
#
# @badge@
#
# **@question@**

# %%
@setup_cell@

# %%
import json, os
from pathlib import Path

Path(os.environ["LABKIT_RECORDS"]).mkdir()
record = RUN | {"lab": "@lab@", "scale": os.environ["LABKIT_SCALE"]}
Path(os.environ["LABKIT_RECORDS"], "@lab@.json").write_text(json.dumps(record))
""".replace("RUN", repr(RUN.as_dict()))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with the labs 01 and 04, which is the working directory, and a template that runs in no time."""
    root, template = tmp_path / "project", tmp_path / "template"
    for folder in ("labs/01_first", "labs/04_fourth", "book"):
        (root / folder).mkdir(parents=True)
    (root / "book/_toc.yml").write_text(TOC)
    (root / "book/references.bib").touch()
    (root / "labs/set_up.py").touch()
    (root / "labs/jupytext.toml").touch()
    (root / "README.md").write_text(README)
    (root / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    template.mkdir()
    (template / "lab.py.txt").write_text(TINY)
    (template / "claims.toml").write_text("# How Lab @number@ checks it.\n")
    monkeypatch.setattr(new, "TEMPLATE", template)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def quickly(monkeypatch):
    """Neither jupytext nor a kernel is started: every lab is done in three minutes and 2 GB."""

    def ran(labs: list[Path], scale: str, build: Path) -> int:
        record = runs.RecordedRun(Record(labs[0].name, scale, 0), {}, "labkit run")
        record.took(180, 2_000_000_000, "2026-11-27").write(labs[0] / "recorded" / f"{scale}.json")
        return 0

    monkeypatch.setattr(repository, "derive", lambda script: None)
    monkeypatch.setattr(run, "keep_labs", ran)


def contents(root: Path) -> dict[Path, bytes | None]:
    """Every file of the project with its bytes, and every folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def added(before: str, after: str) -> list[str]:
    """The lines that were added; every other line is as it was."""
    lines = after.splitlines(keepends=True)
    kept = before.splitlines(keepends=True)
    extra = [line for line in lines if line not in kept]
    assert [line for line in lines if line in kept] == kept
    return extra


def test_a_lab_gets_the_number_after_the_last_and_its_files(project, capsys):
    with contextlib.chdir("labs/01_first"):
        assert main(["new", "two_words", "--question", "What   is\nlost?"]) == 0
    lab = project / "labs/05_two_words"
    assert {str(path.relative_to(lab)) for path in lab.rglob("*") if path.is_file()} == {
        "two_words.py",
        "two_words.ipynb",
        "claims.toml",
        "recorded/quick.json",
    }
    source = (lab / "two_words.py").read_text()
    assert "# # Lab 05 · Two words\n" in source
    assert "# **What is lost?**\n" in source
    assert f"# {repository.badge(None, lab.name)}\n" in source and repository.setup_cell(None, lab.name) in source
    assert "Lab 05 checks" in (lab / "claims.toml").read_text()
    assert "Lab 05 · Two words" in json.loads((lab / "two_words.ipynb").read_text())["cells"][0]["source"][0]
    recorded = json.loads((lab / "recorded/quick.json").read_text())
    assert (recorded["lab"], recorded["scale"]) == ("05_two_words", "quick") and recorded["run"]["seconds"] > 0
    assert sorted(path.name for path in (project / "labs").iterdir()) == [
        "01_first",
        "04_fourth",
        "05_two_words",
        "jupytext.toml",
        "set_up.py",
    ]
    assert "labkit run 05 --scale standard" in capsys.readouterr().out


def test_the_lab_stands_in_the_book_and_the_readme_after_the_last_and_all_else_stays(project, quickly):
    assert main(["new", "two_words", "--question", "a or b?"]) == 0
    toc = (project / "book/_toc.yml").read_text()
    assert added(TOC, toc) == ["      - file: labs/05_two_words\n"]
    chapters = yaml.safe_load(toc)["parts"][0]["chapters"]
    assert chapters[1:] == [
        {"file": "labs/04_fourth", "sections": [{"file": "fourth_at_length"}]},
        {"file": "labs/05_two_words"},
    ]
    readme = (project / "README.md").read_text()
    (row,) = added(README, readme)
    assert row == "| 05 | [Two words](labs/05_two_words/) | a or b? | 3.0 min | 2.0 GB | — |\n"
    assert readme.splitlines().index(row.strip()) == README.splitlines().index("") == 4


def test_where_a_repository_is_set_the_lab_and_its_row_lead_to_it(project, quickly):
    with open("pyproject.toml", "a") as settings:
        settings.write('[project.urls]\nRepository = "https://github.com/us/ours"\n')
    assert main(["new", "two_words"]) == 0
    ours, lab = repository.Repository("us/ours", "v1.2.0"), "05_two_words"
    source = (project / "labs" / lab / "two_words.py").read_text()
    assert f"# {repository.badge(ours, lab)}\n" in source and repository.setup_cell(ours, lab) in source
    assert f"| 05 | [Two words](labs/{lab}/) ([Colab]({ours.colab(lab)})) | " in (project / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("TwoWords", "lower case"),
        ("two-words", "lower case"),
        ("2_words", "lower case"),
        ("two words", "lower case"),
        ("_two", "lower case"),
        ("two__words", "lower case"),
        ("../two", "lower case"),
        ("", "lower case"),
        ("größe", "lower case"),
        ("lambda", "lower case"),
        ("first", "labs/01_first"),
        ("torch", "a module torch"),
    ],
)
def test_a_name_that_no_lab_can_have_is_refused_in_one_line(project, capsys, name, why):
    before = contents(project)
    assert main(["new", name]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("labkit new: ") and printed.err.count("\n") == 1
    assert why in printed.err
    assert contents(project) == before


def test_a_question_that_would_break_the_table_of_the_readme_is_refused(project, capsys):
    before = contents(project)
    assert main(["new", "two_words", "--question", "a | b?"]) == 2
    assert "README.md" in capsys.readouterr().err
    assert contents(project) == before


def test_numbers_have_two_digits(project, capsys):
    (project / "labs/99_last").mkdir()
    assert main(["new", "two_words"]) == 2
    assert "end at 99" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["book/_toc.yml", "README.md"])
def test_a_book_or_readme_without_labs_is_refused_before_anything_is_run(project, monkeypatch, capsys, file):
    (project / file).write_text("nothing here\n")
    monkeypatch.setattr(repository, "derive", lambda script: pytest.fail("the lab was written"))
    before = contents(project)
    assert main(["new", "two_words"]) == 2
    assert f"{file} lists no lab" in capsys.readouterr().err
    assert contents(project) == before


def test_a_lab_that_fails_leaves_nothing_and_shows_its_error(project, capsys):
    with open(new.TEMPLATE / "lab.py.txt", "a") as template:
        template.write("\n# %%\n1 / 0\n")
    before = contents(project)
    assert main(["new", "two_words"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert contents(project) == before


def test_ctrl_c_leaves_nothing_whether_the_lab_runs_or_not(project, quickly, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = contents(project)
    monkeypatch.setattr(run, "keep_labs", lambda *_, **__: 130)  # as `keep_labs` says it
    assert main(["new", "two_words"]) == 130
    monkeypatch.setattr(run, "keep_labs", interrupt)
    assert main(["new", "two_words"]) == 130
    assert contents(project) == before


def test_a_list_that_cannot_be_written_leaves_nothing(project, tmp_path, monkeypatch):
    def write_or_fail(path: Path, data: bytes) -> None:
        if path.name == "README.md" and b"new row" in data:
            raise OSError("disk full")
        write(path, data)

    write, lab = files.write, tmp_path / "05_two_words"
    monkeypatch.setattr(files, "write", write_or_fail)
    lab.mkdir()
    before = contents(project)
    texts = {project / "book/_toc.yml": "new line", project / "README.md": "new row"}
    with pytest.raises(OSError, match="disk full"):
        new.put_in_place(lab, project / "labs/05_two_words", texts)
    assert contents(project) == before and lab.is_dir()


# The template itself, in a copy of this project.


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the project in which `labkit new` has made a lab."""
    copy, assets = tmp_path_factory.mktemp("copy"), "labkit/zoo/assets"
    for name in kept_files():
        if (ROOT / name).is_file() and not name.startswith(assets):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / assets).symlink_to(ROOT / assets)
    call(copy, "-m", "labkit", "new", "made_by_the_test", "--question", "Does the template pass?")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=copy, check=True)
    return copy


def call(project: Path, *arguments: str) -> str:
    """Run Python in the project, with the project's own labkit; what it printed."""
    environment = os.environ | {"PYTHONPATH": str(project), "LABKIT_SCALE": "quick"}
    environment["LABKIT_RECORDS"] = str(project / "build/records")
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(project: Path) -> Path:
    (lab,) = project.glob("labs/[0-9][0-9]_made_by_the_test")
    return lab


def test_the_lab_made_from_the_template_passes_what_is_asked_of_every_lab(copied):
    asked = (ROOT / "tests/labs/test_labs.py").read_text().count("@every_lab\n")
    printed = call(copied, "-m", "pytest", "-q", "tests/labs", "-k", "made_by_the_test or settings_in_the_header")
    assert int(re.search(r"(\d+) passed", printed)[1]) > asked  # one more: its header is that of the others


def test_the_readme_is_up_to_date_with_the_lab_made_from_the_template(copied):
    assert " passed" in call(copied, "-m", "pytest", "-q", "tests/site/test_figures.py")


def test_the_lab_made_from_the_template_runs_and_has_its_page(copied):
    call(copied, "-m", "labkit", "run", "made_by_the_test")
    call(copied, "-m", "labkit.site")
    assert (copied / "build" / "site" / "labs" / f"{made(copied).name}.html").is_file()


def test_the_template_is_in_the_style_of_the_labs(copied):
    source = made(copied) / "made_by_the_test.py"
    call(copied, "-m", "ruff", "check", str(source))
    call(copied, "-m", "ruff", "format", "--check", "--line-length", "88", str(source))
    headings = re.findall(r"^# (?:## |\*\*)(.+)$", source.read_text(), re.MULTILINE)
    assert any(heading.endswith("The ledger") for heading in headings)
    assert headings[-1].startswith("Sources")


def test_every_claim_of_the_template_has_its_figure_when_it_is_made_and_no_verdict(copied):
    record = json.loads((made(copied) / "recorded/quick.json").read_text())
    assert record["verdicts"] and all(row["measured"] for row in record["verdicts"])
    assert {row["verdict"] for row in record["verdicts"]} == {"not measured at this scale"}
