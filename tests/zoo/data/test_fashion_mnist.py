import gzip
import shutil
import subprocess

import pytest
import torch
from torchvision.datasets import FashionMNIST

from labkit.zoo import ImageSet, ZooError, fashion_mnist
from labkit.zoo.data.fashion_mnist import SHA256
from labkit.zoo.data.idx import MEAN, STD
from labkit.zoo.sources.origin import ASSETS

DATASET = FashionMNIST  # for the fixtures hub and no_hub


@pytest.fixture
def no_debian(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def debian(tiny, tmp_path, monkeypatch):
    """A Debian package of the tiny archives, and an `apt-get` that gives it once its lists are fresh.

    Returns the log of the arguments with which `apt-get` was called.
    """
    root, programs, log = tmp_path / "root", tmp_path / "bin", tmp_path / "apt.log"
    data, programs_log = root / "usr/share/datasets/fashion-mnist", f'echo "$@" >> {log}'
    data.mkdir(parents=True)
    programs.mkdir()
    for name, content in tiny.items():
        (data / name).write_bytes(content)
    package = tmp_path / "dataset-fashion-mnist_0.0_all.deb"

    def program(name, *lines):
        (programs / name).write_text("\n".join(["#!/bin/sh", *lines]))
        (programs / name).chmod(0o755)

    if shutil.which("dpkg-deb"):
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN" / "control").write_text(
            "Package: dataset-fashion-mnist\nVersion: 0.0\nArchitecture: all\nMaintainer: nobody\nDescription: tiny\n"
        )
        subprocess.run(["dpkg-deb", "-b", root, package], check=True, capture_output=True)
    else:  # elsewhere than on Debian, a tar archive plays the package
        subprocess.run(["tar", "-cf", package, "-C", root, "."], check=True)
        program("dpkg-deb", 'tar -xf "$2" -C "$3"')
    fresh = tmp_path / "lists_are_fresh"
    program(
        "apt-get",
        programs_log,
        f'case "$*" in *update) touch {fresh};;',
        f'*) test -e {fresh} || {{ echo "E: Unable to locate package" >&2; exit 100; }}; cp {package} .;; esac',
    )
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return log


def check_tiny(data: ImageSet, tiny: dict[str, bytes], source: str):
    pixels = gzip.decompress(tiny["t10k-images-idx3-ubyte.gz"])[16:]
    assert (data.images.dtype, data.images.shape) == (torch.uint8, (20, 28, 28))
    assert data.images.numpy().tobytes() == pixels
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == 2 * list(range(10))
    assert data.origin.source == source
    assert data.origin.sha256 == SHA256["t10k-images-idx3-ubyte.gz"]


def test_from_the_mirror_that_torchvision_names(hub, tiny, cache, contents):
    check_tiny(fashion_mnist("test", source="torchvision"), tiny, "torchvision")
    assert contents(cache) == {f"fashion_mnist/{name}": sha256 for name, sha256 in SHA256.items()}
    assert sorted(path for path, _ in hub.requests) == sorted(hub.files)


def test_a_second_mirror_stands_in_for_a_dead_one(hub, tiny, dead_url, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"{dead_url}/", f"{hub.url}/"])
    check_tiny(fashion_mnist("test", source="torchvision"), tiny, "torchvision")


def test_what_is_in_the_cache_is_read_from_there(hub, tiny):
    fashion_mnist("train", source="torchvision")
    hub.files.clear()
    for source in (None, "torchvision", "debian"):
        check_tiny(fashion_mnist("test", source=source), tiny, "cache")


def test_from_debian_with_private_lists_where_those_of_the_machine_are_empty(debian, tiny, cache, contents):
    check_tiny(fashion_mnist("test", source="debian"), tiny, "debian")
    assert contents(cache) == {f"fashion_mnist/{name}": sha256 for name, sha256 in SHA256.items()}
    first, update, second = debian.read_text().splitlines()
    assert first.endswith("download dataset-fashion-mnist")
    assert "Dir::State::Lists=" not in first
    assert update.endswith("update")
    assert "Dir::State::Lists=" in update
    assert "Dir::State::Lists=" in second


def test_debian_comes_after_the_hub(debian, tiny, no_hub):
    check_tiny(fashion_mnist("test"), tiny, "debian")


def test_other_archives_than_the_official_ones_are_refused(debian, monkeypatch, cache, contents):
    monkeypatch.setitem(SHA256, "train-images-idx3-ubyte.gz", "0" * 64)
    with pytest.raises(ZooError, match="debian: train-images-idx3-ubyte.gz has the wrong SHA-256: expected 0000"):
        fashion_mnist("test", source="debian")
    assert contents(cache) == {}


def test_without_apt_get_the_error_says_so(cache, no_debian):
    with pytest.raises(ZooError, match="debian: apt-get is not on this machine"):
        fashion_mnist("test", source="debian")


def test_a_dead_hub_is_asked_once_in_a_process(hub, no_debian):
    hub.files.clear()
    assert fashion_mnist("train").origin.source == "embedded"
    assert fashion_mnist("test").origin.source == "embedded"
    assert len(hub.requests) == 1


@pytest.mark.parametrize(("split", "n"), [("train", 12_000), ("test", 5_000)])
def test_the_embedded_subset_is_balanced(split, n):
    data = fashion_mnist(split, source="embedded")
    assert (data.images.dtype, data.images.shape) == (torch.uint8, (n, 28, 28))
    assert (data.labels.dtype, data.labels.shape) == (torch.int64, (n,))
    assert data.labels.bincount().tolist() == [n // 10] * 10
    assert len(data.classes) == 10
    assert str(data.origin).startswith(f"Fashion-MNIST {split}, {n:,} pictures (source: embedded; licence: MIT")


def test_the_embedded_subset_looks_like_the_whole():
    pixels = fashion_mnist("train", source="embedded").images / 255
    assert pixels.mean().item() == pytest.approx(MEAN, abs=0.005)
    assert pixels.std().item() == pytest.approx(STD, abs=0.005)


def test_the_embedded_archives_are_small():
    assert sum(path.stat().st_size for path in (ASSETS / "fashion_mnist").glob("*.gz")) <= 8_000_000


def test_unknown_names(cache):
    with pytest.raises(ZooError, match=r"no split 'valid'\. Known: train, test\."):
        fashion_mnist("valid")
    with pytest.raises(ZooError, match=r"no source 'hub'\. Known: torchvision, debian, embedded\."):
        fashion_mnist("test", source="hub")


def test_the_lab_goes_through_with_the_pictures_of_the_mirror(data_sets, go_through, capsys):
    steps = {"retraining_steps": 3, "centroid_steps": 1}
    go_through("02_deep_compression/deep_compression.py", source=None, bits=(2,), **steps)
    assert "\nFashion-MNIST train, 30 pictures (source: torchvision;" in capsys.readouterr().out
