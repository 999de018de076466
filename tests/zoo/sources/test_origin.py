import shutil

import pytest

from labkit.zoo import Origin, ZooError
from labkit.zoo.sources.origin import ASSETS, embedded, from_first


def refuse(reason, calls):
    def source():
        calls.append(reason)
        raise ZooError(reason)

    return source


def test_an_origin_is_one_line():
    line = str(Origin("a model", "package", "MIT", "0123456789abcdef"))
    assert line == "a model (source: package; licence: MIT; SHA-256: 0123456789ab…)"


def test_the_first_source_that_delivers_is_taken(cache):
    assert from_first("x", {"a": refuse("down", []), "b": lambda: 1, "c": lambda: 2}) == ("b", 1)


def test_a_source_wanted_by_name_is_the_only_one_asked(cache):
    assert from_first("x", {"a": lambda: 1, "b": lambda: 2}, "b") == ("b", 2)
    with pytest.raises(ZooError, match="(?s)a: down"):
        from_first("x", {"a": refuse("down", []), "b": lambda: 2}, "a")


def test_an_unknown_source_is_answered_with_the_known_ones(cache):
    with pytest.raises(ZooError, match=r"x has no source 'hub'\. Known: a, b\."):
        from_first("x", {"a": lambda: 1, "b": lambda: 2}, "hub")


def test_the_error_says_what_every_source_answered_each_time(cache):
    sources = {"a": refuse("not reachable", []), "b": refuse("not installed", [])}
    for _ in range(2):
        with pytest.raises(ZooError, match="(?s)x could not be had.*a: not reachable.*b: not installed"):
            from_first("x", sources)


def test_a_failed_source_is_asked_again_only_by_name(cache):
    calls = []
    sources = {"a": refuse("down", calls), "b": lambda: 2}
    from_first("x", sources)
    from_first("x", sources)
    assert calls == ["down"]
    with pytest.raises(ZooError):
        from_first("x", sources, "a")
    assert calls == ["down", "down"]


def test_every_asset_in_the_list_is_intact():
    for line in (ASSETS / "sha256sums").read_text().splitlines():
        assert embedded(line.split()[1]).is_file()


def test_a_damaged_or_missing_asset_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.zoo.sources.origin.ASSETS", tmp_path)
    shutil.copy(ASSETS / "sha256sums", tmp_path)
    (tmp_path / "fashion_mnist").mkdir()
    (tmp_path / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"something else")
    for name in ("t10k-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte.gz", "unknown"):
        with pytest.raises(ZooError, match=f"{name} is missing or damaged. Install labkit again"):
            embedded(f"fashion_mnist/{name}")


def test_assets_stay_small():
    assert sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()) < 40e6
