"""How a result is written: whole or not at all, and for those who may read it."""

import os
import stat

import pytest

from labkit import files


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_file_has_what_the_umask_leaves_and_an_old_one_what_it_had(tmp_path, umask):
    path = tmp_path / "folder" / "scores.csv"
    files.write(path, b"1")
    assert mode(path) == 0o666 & ~umask
    for other in (0o600, 0o664, 0o444):
        path.chmod(other)
        files.write(path, b"2")
        assert (mode(path), path.read_bytes()) == (other, b"2")


def test_where_it_fails_the_old_file_stands_and_nothing_else(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_bytes(b"1")
    with pytest.raises(TypeError):
        files.write(path, "no bytes")
    (tmp_path / "a folder").mkdir()
    with pytest.raises(OSError):
        files.write(tmp_path / "a folder", b"2")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a folder", "scores.csv"]
    assert path.read_bytes() == b"1"
