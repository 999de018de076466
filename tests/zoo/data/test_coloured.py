import numpy as np
import pytest
import scipy.linalg
import torch

from labkit.zoo import fashion_mnist
from labkit.zoo.data.coloured import (
    BACKGROUNDS,
    COLOURS,
    ITEMS,
    LENGTH,
    PROMPTS,
    WORDS,
    byte_pair_merges,
    check_prompt,
    coloured_fashion_mnist,
    prompt,
    prompt_index,
    random_labels,
    render,
    save_tokenizer,
    to_float,
)
from labkit.zoo.models.judges import Judge, Moments, frechet_distance, moments


def test_a_prompt_names_item_colour_and_background():
    assert prompt("ankle boot", "red", "black") == "a red ankle boot on black"
    with pytest.raises(ValueError, match=r"'scarlet' is not among red, green, .*white"):
        prompt("bag", "scarlet", "black")
    with pytest.raises(ValueError, match="'red' is not among black"):
        prompt("bag", "red", "red")


def test_there_is_a_prompt_for_every_combination():
    assert (len(ITEMS), len(COLOURS), len(BACKGROUNDS)) == (10, 8, 4)
    assert len(set(PROMPTS)) == 320
    labels = torch.cartesian_prod(torch.arange(10), torch.arange(8), torch.arange(4))
    assert prompt_index(labels).tolist() == [*range(320)]
    item, colour, background = labels[123].tolist()
    assert PROMPTS[123] == prompt(ITEMS[item], [*COLOURS][colour], [*BACKGROUNDS][background])


def test_items_are_the_classes_of_fashion_mnist():
    classes = fashion_mnist("test", source="embedded").classes
    for item, name in zip(ITEMS, classes, strict=True):
        assert item in name.lower()


def test_no_item_hides_in_its_background():
    for colour in COLOURS.values():
        for background in BACKGROUNDS.values():
            assert np.abs(np.subtract(colour, background)).max() > 100


def test_grey_says_how_much_of_the_colour_lies_over_the_background():
    greys = torch.zeros(3, 28, 28, dtype=torch.uint8)
    greys[1], greys[2] = 255, 51  # all background, all colour, a fifth of it
    labels = torch.tensor([[9, 0, 1]] * 3)
    images = render(greys, labels)
    assert (images.shape, images.dtype) == ((3, 3, 64, 64), torch.uint8)
    red, grey = torch.tensor(COLOURS["red"]), torch.tensor(BACKGROUNDS["grey"])
    for image, expected in zip(images, (grey, red, grey + (red - grey) / 5)):
        assert (image.float() - expected[:, None, None]).abs().max() <= 0.5
    assert to_float(images).max() == 220 / 255


def test_enlarging_keeps_left_and_right_top_and_bottom():
    greys = torch.zeros(1, 28, 28, dtype=torch.uint8)
    greys[0, :14, :14] = 255
    image = render(greys, torch.tensor([[0, 7, 0]]))[0, 0]
    assert image[10, 10] == 255
    assert image[10, 50] == image[50, 10] == image[50, 50] == 0


def test_pictures_are_the_same_for_a_seed():
    one, same, other = (coloured_fashion_mnist("test", 50, seed, "embedded") for seed in (1, 1, 2))
    assert torch.equal(one.images, same.images) and torch.equal(one.labels, same.labels)
    assert not torch.equal(one.labels, other.labels)


def test_labels_tell_what_the_pictures_show():
    images, labels = coloured_fashion_mnist("test", None, 0, "embedded")
    grey = fashion_mnist("test", source="embedded")
    assert len(images) == len(grey.images)
    assert labels[:, 0].bincount().tolist() == grey.labels.bincount().tolist()
    assert labels.amax(0).tolist() == [9, 7, 3] and labels.amin(0).tolist() == [0, 0, 0]
    background = torch.tensor([*BACKGROUNDS.values()])[labels[:, 2]]
    # Fashion-MNIST leaves the upper right corner empty but for a few pictures.
    assert (images[:, :, 0, -1] == background).all(1).float().mean() > 0.95


def test_no_grey_picture_comes_twice():
    images, labels = coloured_fashion_mnist("test", None, 0, "embedded")
    white = (labels[:, 1] == 7) & (labels[:, 2] == 0)
    assert len(images[white].flatten(1).unique(dim=0)) > 0.99 * white.sum()  # Fashion-MNIST has some twice


@pytest.mark.parametrize("n", [0, -1, 5001])
def test_a_number_of_pictures_that_the_split_does_not_have(n):
    with pytest.raises(ValueError, match=f"n is {n}; the test split of embedded has 5,000 pictures"):
        coloured_fashion_mnist("test", n, source="embedded")


def test_random_labels_keep_the_items():
    items = torch.randint(10, (2000,))
    labels = random_labels(items, torch.Generator().manual_seed(0))
    assert torch.equal(labels[:, 0], items)
    assert min(labels[:, 1].bincount()) > 150 and min(labels[:, 2].bincount()) > 400


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_every_known_word_is_one_token(tokenizer):
    tokens = [tokenizer.tokenize(word) for word in WORDS]
    assert tokens == [[f"{word}</w>"] for word in WORDS]


def test_prompts_fill_the_context_and_no_two_are_the_same(tokenizer):
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    ids = tokenizer([*PROMPTS, ""], **options).input_ids
    assert ids.shape == (321, LENGTH)
    assert len(ids.unique(dim=0)) == 321
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    assert ids[-1].tolist() == [start] + [end] * 7
    assert tokenizer(PROMPTS[0].upper(), **options).input_ids[0].tolist() == ids[0].tolist()


def test_a_tokenizer_read_from_its_files_is_the_same(tokenizer):
    from transformers import CLIPTokenizer

    read = CLIPTokenizer.from_pretrained(tokenizer.name_or_path)
    assert read.model_max_length == LENGTH
    assert len(read) == len(tokenizer)
    assert read(list(PROMPTS)).input_ids == tokenizer(list(PROMPTS)).input_ids


def test_an_unknown_word_is_taken_apart(tokenizer):
    assert len(tokenizer.tokenize("scarlet")) > 1


def test_merges_of_a_later_word_leave_an_earlier_one_whole():
    # "green" needs g+r before r+e, which "red" merges first.
    assert byte_pair_merges(["red", "green"]) == [
        ("r", "e"),
        ("re", "d</w>"),
        ("g", "re"),
        ("gre", "e"),
        ("gree", "n</w>"),
    ]
    assert byte_pair_merges(["a", "a"]) == []


def test_a_prompt_that_the_model_can_read_passes():
    for text in (*PROMPTS, "A Red  ankle boot on BLACK", "bag"):
        check_prompt(text)


def test_unknown_words_are_named_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"Unknown in 'a scarlet hat, a scarlet bag': scarlet, hat,\. Known: a, red, "):
        check_prompt("a scarlet hat, a scarlet bag")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt(text):
    with pytest.raises(ValueError, match="the prompt is empty; say what to draw, such as 'a red top on black'"):
        check_prompt(text)


def test_a_prompt_longer_than_the_text_encoder_reads():
    with pytest.raises(ValueError, match="has 7 words; the text encoder reads 6"):
        check_prompt("a red ankle boot on black black")


def test_the_judge_reads_three_labels_and_gives_features():
    torch.manual_seed(0)
    judge, images = Judge().eval(), torch.rand(7, 3, 64, 64)
    logits = judge(images)
    assert [part.shape for part in logits] == [(7, 10), (7, 8), (7, 4)]
    labels, features = judge.read(images, batch=3)
    assert torch.equal(labels, torch.stack([part.argmax(1) for part in logits], dim=1))
    assert torch.allclose(features, judge.features(images), atol=1e-5)
    assert features.shape == (7, Judge.FEATURES)
    assert not features.requires_grad


def test_the_distance_is_that_of_the_formula():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    a = moments(torch.randn(500, 6, generator=generator) @ mixing)
    b = moments(torch.randn(300, 6, generator=generator) + 1)
    root = scipy.linalg.sqrtm(a.covariance.numpy() @ b.covariance.numpy())
    expected = (a.mean - b.mean).square().sum() + (a.covariance + b.covariance).trace() - 2 * np.trace(root).real
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected.item(), rel=1e-9)


def test_distances_known_in_closed_form():
    eye = torch.eye(3, dtype=torch.float64)
    unit, shifted = Moments(torch.zeros(3).double(), eye), Moments(torch.tensor([3.0, 4.0, 0.0]).double(), eye)
    wide = Moments(torch.zeros(3).double(), 4 * eye)
    assert frechet_distance(unit, unit) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(unit, shifted) == pytest.approx(25)
    assert frechet_distance(unit, wide) == pytest.approx(3)  # (2 - 1)² in each dimension


def test_a_set_has_no_distance_from_itself_though_its_covariance_is_singular():
    features = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))  # fewer pictures than features
    assert 0 <= frechet_distance(moments(features), moments(features)) < 1e-5


def test_moments_are_in_double_precision():
    features = torch.tensor([[1e4, 0.0], [1e4 + 1, 2.0], [1e4 + 2, 1.0]])
    mean, covariance = moments(features)
    assert mean.dtype == covariance.dtype == torch.float64
    assert mean.tolist() == [10001, 1]
    assert covariance.flatten().tolist() == pytest.approx([1, 0.5, 0.5, 1])


@pytest.mark.parametrize("shape", [(1, 4), (0, 4), (4,)])
def test_too_few_features(shape):
    with pytest.raises(ValueError, match=r"features are \(N, D\) with N of two or more, got \("):
        moments(torch.zeros(shape))
