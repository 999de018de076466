"""What a record says of where it was made."""

import shutil
import subprocess
from pathlib import Path

import pytest

from clones import git
from labkit import environment


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A tree that labkit is taken to lie in, below a repository of something else."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "something else")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").touch()
    monkeypatch.setattr(environment, "TREE", tmp_path / "tree")
    return tmp_path / "tree"


def commit(tree: Path) -> str:
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "the tree")
    return git(tree, "rev-parse", "--short=12", "HEAD").strip()


def test_the_commit_is_that_of_the_tree_with_a_sign_where_files_were_changed(tree):
    ours = commit(tree)
    assert environment._commit() == ours
    (tree / "file").write_text("changed")
    assert environment._commit() == ours + "+"


def test_a_tree_without_git_has_no_commit_whatever_lies_around_it(tree):
    assert environment._commit() is None


def test_in_a_hook_of_another_repository_the_commit_is_the_trees(tree, monkeypatch):
    ours = commit(tree)
    monkeypatch.setenv("GIT_DIR", str(tree.parent / ".git"))
    assert environment._commit() == ours


def test_a_tree_of_another_user_has_its_commit(tree, monkeypatch):
    ours = commit(tree)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch
    with pytest.raises(subprocess.CalledProcessError):
        git(tree, "status")
    assert environment._commit() == ours


def test_without_git_there_is_none(tree, monkeypatch):
    commit(tree)
    monkeypatch.setenv("PATH", str(tree))
    assert shutil.which("git") is None and environment._commit() is None
