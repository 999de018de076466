"""The examples in labkit's docstrings say what really comes out."""

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

import labkit

ROOT = Path(labkit.__file__).parent
DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef
FILES = sorted(path for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(path, monkeypatch):
    monkeypatch.setenv("LABKIT_SCALE", "quick")
    module = import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"))
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    # Read from the source: doctest's own search passes over functions under `torch.no_grad()`.
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = isinstance(node, DOCUMENTED) and ast.get_docstring(node)
        if text:
            name = getattr(node, "name", module.__name__)
            runner.run(parser.get_doctest(text, dict(vars(module)), name, str(path), None))
    assert runner.tries > 0
    assert runner.failures == 0
