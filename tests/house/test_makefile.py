import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TEXTS = """README.md CONTRIBUTING.md CHANGELOG.md book/index.md book/contribute.md labkit/site/__main__.py .ci/run
    .pre-commit-config.yaml .github/dependabot.yml""".split()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_plain_make_lists_every_target_with_a_word_about_it():
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^make (\w+) +\S", listed, re.MULTILINE)) == TARGETS


def test_no_target_is_mistaken_for_a_file():
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()) == TARGETS


def test_every_target_that_a_text_names_is_there():
    for name in TEXTS:
        assert set(re.findall(r"(?:`|^)make (\w+)", (ROOT / name).read_text(), re.MULTILINE)) <= TARGETS, name
