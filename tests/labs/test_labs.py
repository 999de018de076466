"""What every lab has in common, whatever it teaches. The labs themselves are run by `make test`."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
import yaml

from labkit.claims import load_claims
from labkit.scale import SCALES

ROOT = Path(__file__).parents[2]
LABS = sorted((ROOT / "labs").glob("[0-9][0-9]_*"))
KEYS = re.findall(r"^@\w+\{(.+),$", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE)

every_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)


def source(lab: Path) -> Path:
    return lab / f"{lab.name[3:]}.py"


def test_there_are_labs_and_each_has_a_number_of_its_own():
    numbers = [lab.name[:2] for lab in LABS]
    assert numbers and len(numbers) == len(set(numbers))


@every_lab
def test_a_lab_has_its_source_notebook_claims_and_a_reference_run(lab):
    assert source(lab).is_file()
    assert source(lab).with_suffix(".ipynb").is_file()
    assert load_claims(lab / "claims.toml")
    assert {json.loads(path.read_text())["lab"] for path in lab.glob("recorded/*.json")} == {lab.name}


@every_lab
def test_a_lab_is_in_the_book(lab):
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    assert f"labs/{lab.name}" in [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


@every_lab
def test_the_readme_lists_the_lab(lab):
    assert f"labs/{lab.name}/" in (ROOT / "README.md").read_text()


@every_lab
def test_deriving_the_notebook_again_changes_nothing(lab, tmp_path):
    script, notebook = source(lab), source(lab).with_suffix(".ipynb")
    for file in (script, notebook, ROOT / "labs" / "jupytext.toml"):
        shutil.copy(file, tmp_path)
    command = [sys.executable, "-m", "jupytext", "--update", "--to", "notebook", script.name]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / notebook.name).read_bytes() == notebook.read_bytes(), "run `make notebooks`"


@every_lab
def test_git_keeps_the_notebook_without_outputs(lab):
    notebook = source(lab).with_suffix(".ipynb")
    kept = subprocess.run(["git", "show", f":./{notebook.name}"], cwd=lab, capture_output=True)
    text = kept.stdout if kept.returncode == 0 else notebook.read_text()  # a new lab is not added yet
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@every_lab
def test_a_claim_names_a_source_in_the_bibliography(lab):
    assert {claim.source for claim in load_claims(lab / "claims.toml")} <= set(KEYS)


@every_lab
def test_a_citation_is_in_the_bibliography(lab):
    cited = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", source(lab).read_text())
    assert {key.strip() for keys in cited for key in keys.split(",")} <= set(KEYS)


@every_lab
def test_the_same_cells_run_at_every_scale(lab):
    nodes = list(ast.walk(ast.parse(source(lab).read_text())))
    conditions = [node.test for node in nodes if isinstance(node, (ast.If, ast.IfExp, ast.While))]
    constants = {n.value for condition in conditions for n in ast.walk(condition) if isinstance(n, ast.Constant)}
    assert not constants & set(SCALES)


def test_every_key_of_the_bibliography_is_unique_and_used():
    assert KEYS and len(KEYS) == len(set(KEYS))
    used = " ".join(
        path.read_text() for where in ("book/*.md", "labs/*/*.py", "labs/*/*.toml") for path in ROOT.glob(where)
    )
    assert [key for key in KEYS if key not in used] == []


def code_cells(lab: Path) -> list[str]:
    return [cell.source for cell in jupytext.read(source(lab)).cells if cell.cell_type == "code"]


@every_lab
def test_a_labs_subject_begins_at_most_thirty_lines_after_its_title(lab):
    """The set-up cell, and the cell with imports and `lab.start`, in which its settings stand."""
    set_up, start = code_cells(lab)[:2]
    assert "lab.start(" in start
    assert len([line for line in f"{set_up}\n{start}".splitlines() if line.strip()]) <= 30


@every_lab
def test_the_set_up_cell_shows_no_value(lab):
    """That of `runpy.run_path` is all that Python's namespace holds."""
    assert not isinstance(ast.parse(code_cells(lab)[0]).body[-1], ast.Expr)


@every_lab
def test_a_lab_ends_with_its_headline_and_its_sources(lab):
    *_, finish, sources = (cell for cell in code_cells(lab))
    assert re.search(r"lab\.finish\(\n? *headline", finish) and sources == "lab.sources()"


@every_lab
def test_the_code_of_a_lab_fits_the_page(lab):
    command = re.compile(r'clone = "git clone .*"')  # one string, which nothing can break
    lines = [line for cell in code_cells(lab) for line in cell.splitlines() if not command.fullmatch(line)]
    assert [line for line in lines if len(line) > 88] == []


@every_lab
def test_prose_is_one_sentence_a_line_so_that_diffs_show_sentences(lab):
    prose = [line for line in source(lab).read_text().splitlines() if re.match(r"# [A-Z]", line)]
    several = [
        line for line in prose if re.search(r"[a-z)][.?] [A-Z][a-z]+ [a-z]", re.sub(r"\([^)]*\)|`[^`]*`", "", line))
    ]
    assert several == []


@every_lab
def test_no_variable_of_a_lab_hides_what_it_imports(lab):
    nodes = list(ast.walk(ast.parse(source(lab).read_text())))
    imports = [name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for name in node.names]
    imported = {(name.asname or name.name).split(".")[0] for name in imports}
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert imported & (stored | {node.arg for node in nodes if isinstance(node, ast.arg)}) == set()


@every_lab
def test_a_lab_is_one_sitting(lab):
    """At most 500 lines and 35 cells: a second question is a second lab."""
    text = source(lab).read_text()
    assert (len(text.splitlines()) <= 500, len(jupytext.read(source(lab)).cells) <= 35) == (True, True)


@every_lab
def test_the_reader_guesses_three_to_five_times_and_a_folded_answer_says_why(lab):
    text = source(lab).read_text()
    guessed = re.findall(r'lab\.guess\(\s*"(\w+)"', text)
    answered = re.findall(r"^# <details><summary>Why <code>(\w+)</code>\?</summary>$", text, re.MULTILINE)
    assert 3 <= len(guessed) <= 5 and sorted(answered) == sorted(guessed)


@every_lab
def test_the_book_ships_no_guess(lab):
    calls = [node for node in ast.walk(ast.parse(source(lab).read_text())) if isinstance(node, ast.Call)]
    values = [call.args[3] for call in calls if ast.unparse(call.func) == "lab.guess"]
    assert {ast.unparse(value) for value in values} == {"None"}


@every_lab
def test_what_the_reader_is_to_ask_himself_has_a_folded_answer(lab):
    text = source(lab).read_text()
    assert text.count("**Ask yourself:**") == text.count("# <details><summary>Answer</summary>")


def sentences(lab: Path) -> list[str]:
    """The sentences of a lab's text, without formulas, code and keys of citations, each a list of words."""
    prose = [cell.source for cell in jupytext.read(source(lab)).cells if cell.cell_type == "markdown"]
    text = re.sub(r"\$\$.*?\$\$|\{cite\}`[^`]*`", "", "\n".join(prose), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    return [part for line in lines for part in re.split(r"(?<=[.?!:;]) ", re.sub(r"`[^`]*`|\$[^$]*\$", "X", line))]


@every_lab
def test_a_sentence_has_at_most_35_words(lab):
    assert [sentence for sentence in sentences(lab) if len(sentence.split()) > 35] == []
