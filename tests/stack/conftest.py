"""A toy task, and a runner of it that keeps its rows in a folder."""

import os

import pytest

import toy
from labkit.stack import Rows, Runner


@pytest.fixture
def unsynced(monkeypatch):
    """Files that are not forced to the disk, which is most of the time that a trial takes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def task():
    return toy.Toy()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "rows"


@pytest.fixture
def runner(task, folder):
    return Runner(task, Rows(folder))
