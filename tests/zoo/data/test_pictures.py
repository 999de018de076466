import pytest
import torch

from labkit.zoo import ZooError, crops, natural_pictures
from labkit.zoo.data.pictures import PICTURES


@pytest.fixture(scope="module")
def pictures():
    return natural_pictures()


def test_at_least_eight_rgb_photographs_with_a_licence(pictures):
    assert len({picture.name for picture in pictures}) >= 8
    for picture in pictures:
        assert picture.image.mode == "RGB"
        assert min(picture.image.size) >= 256
        assert picture.origin.licence.startswith(("CC", "public domain"))
        assert len(picture.origin.sha256) == 64


@pytest.mark.parametrize(
    ("package", "file", "message"),
    [("skimage", "data/none.png", "The installed skimage has no data/none.png"), ("nil", "x", "nil is not installed")],
)
def test_a_picture_that_is_not_there_is_named(monkeypatch, package, file, message):
    monkeypatch.setattr("labkit.zoo.data.pictures.PICTURES", [*PICTURES, (package, file, "CC0")])
    with pytest.raises(ZooError, match=message):
        natural_pictures()


def test_crops_are_the_same_for_the_same_seed(pictures):
    views = [crops(pictures, 20, size=64, seed=seed) for seed in (0, 0, 1)]
    data = [[view.tobytes() for view in each] for each in views]
    assert data[0] == data[1]
    assert data[0] != data[2]
    assert len(set(data[0])) == 20
    assert {(view.mode, view.size) for view in views[0]} == {("RGB", (64, 64))}


def test_crops_leave_the_random_state_alone(pictures):
    before = torch.get_rng_state()
    crops(pictures, 1)
    assert torch.equal(torch.get_rng_state(), before)
