"""The book as one PDF, by the command that `make print` runs."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_all_pages_are_printed_to_one_file_with_an_outline(site, records, tmp_path):
    options = ["--notebooks", site.parent / "notebooks", "--records", records, "--pdf", tmp_path / "book.pdf"]
    command = [sys.executable, "-m", "labkit.site.print", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pdf = pypdf.PdfReader(tmp_path / "book.pdf")
    text = "".join(page.extract_text() for page in pdf.pages)
    assert r"\frac" not in text and r"\prod" not in text  # formulas are typeset
    outline = squeezed("".join(titles(pdf.outline)))
    for page in [*site.glob("labs/*.html"), site / "ledger.html", site / "glossary.html"]:
        title = html.unescape(re.search("<title>(.*?) &#8212;", page.read_text())[1])
        assert squeezed(title) in outline


def titles(outline: list) -> list[str]:
    return [title for entry in outline for title in (titles(entry) if isinstance(entry, list) else [entry.title])]


def squeezed(text: str) -> str:
    """Without spaces: where a title is broken over lines, the outline loses one."""
    return "".join(text.split())
