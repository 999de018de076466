"""A safetensors file: what is written comes back, and a file is whole or an error."""

import json
import random
import resource

import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import containers
from labkit.techniques.quantization.int8 import dynamically_quantized
from labkit.techniques.storage.safetensors import load_weights, save_weights

FORMATS = pytest.mark.parametrize("name", ["weights.safetensors", "weights.safetensors.zst"])
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]

shared = torch.arange(12.0)
TENSORS = {
    "plain": torch.arange(6.0).view(2, 3),
    "a single number": torch.tensor(3),
    "channels-last": torch.arange(48.0).view(2, 2, 3, 4).to(memory_format=torch.channels_last),
    "strided": torch.arange(12.0).view(3, 4).t()[::2],
    "of no size": torch.zeros(0, 3),
    "part of a memory": shared[:5],
    "another part of it": shared[3:],
    "all of it": shared,
    "all of it again": shared,
    "block.0.weight": torch.tensor([1.5, torch.inf, torch.nan]),
    "model.head.bias": torch.tensor([1]),
}


def assert_same(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0, equal_nan=True)


@FORMATS
def test_every_tensor_comes_back(name, tmp_path):
    path = tmp_path / "new" / name
    assert save_weights(TENSORS, path) == path
    assert_same(load_weights(path), TENSORS)


@st.composite
def tensors(draw) -> torch.Tensor:
    shape, seed = draw(st.lists(st.integers(0, 4), max_size=4)), draw(st.integers(0, 99))
    numbers = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(draw(st.sampled_from(DTYPES))).permute(draw(st.permutations(range(len(shape)))))


@settings(deadline=None, max_examples=50)
@given(state=st.dictionaries(st.text(min_size=1, max_size=8), tensors(), max_size=4))
@FORMATS
def test_any_names_shapes_and_types_come_back(name, state, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / name
    assert_same(load_weights(save_weights(state, path)), state)


@FORMATS
def test_a_quantized_network_comes_back(name, tmp_path):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), torch.randn(5, 8)
    quantized, again = dynamically_quantized(model), nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    path = save_weights(quantized.state_dict(), tmp_path / name)
    again.load_state_dict(load_weights(path), assign=True)
    assert type(again[0].weight.data) is type(quantized[0].weight.data)
    with torch.no_grad():
        assert torch.equal(again(x), quantized(x))


def test_zst_makes_zeros_small_and_nothing_else_does(tmp_path):
    zeros, numbers = {"weight": torch.zeros(100, 1000)}, {"weight": torch.randn(100, 1000)}
    plain = [save_weights(s, tmp_path / f"{i}.safetensors").stat().st_size for i, s in enumerate((zeros, numbers))]
    packed = [save_weights(s, tmp_path / f"{i}.zst").stat().st_size for i, s in enumerate((zeros, numbers))]
    assert plain[0] == plain[1] > 400_000
    assert packed[0] < 1000
    assert packed[1] > 0.9 * plain[1]


@FORMATS
def test_the_same_weights_give_the_same_bytes(name, tmp_path):
    assert len({save_weights(TENSORS, tmp_path / name).read_bytes() for _ in range(3)}) == 1


def test_others_may_read_the_file(tmp_path):
    assert save_weights(TENSORS, tmp_path / "weights").stat().st_mode & 0o777 == 0o644


QUANTIZED = dynamically_quantized(nn.Linear(8, 6)).state_dict()


@FORMATS
@pytest.mark.parametrize("left", [0, 1, 7, 0.3, 0.7, -1])
def test_a_cut_file_is_an_error_that_names_it(name, left, tmp_path):
    path = save_weights(QUANTIZED, tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data)) if isinstance(left, float) else left])
    with pytest.raises(ValueError, match=f"{path} is not a whole safetensors file .*: write it again"):
        load_weights(path)


@pytest.mark.parametrize(
    "word, other",
    [
        ("I8", "I7"),
        ("tensor_names", "tensor_nemas"),
        ("_tensor_data_names", "_tensor_deta_names"),
        ("_data", "_date"),
        ("SYMMETRIC", "SYNMETRIC"),
        ("Int8Tensor", "Int9Tensor"),
        ("float32", "flout32"),
        ("[", "("),
    ],
)
def test_an_altered_header_is_an_error_that_names_the_file(word, other, tmp_path):
    path = save_weights(QUANTIZED, tmp_path / "weights")
    data = path.read_bytes()
    assert word.encode() in data
    path.write_bytes(data.replace(word.encode(), other.encode()))
    with pytest.raises(ValueError, match=f"{path} is not a whole safetensors file"):
        load_weights(path)


@settings(deadline=None)
@given(data=st.data())
def test_a_compressed_file_tells_of_altered_tensors(data, tmp_path_factory):
    state = {"weight": torch.arange(200.0)}
    path = save_weights(state, tmp_path_factory.getbasetemp() / "altered.zst")
    written = bytearray(path.read_bytes())
    written[data.draw(st.integers(16, len(written) - 1))] ^= data.draw(st.integers(1, 255))  # the first say the size
    path.write_bytes(written)
    try:
        assert_same(load_weights(path), state)  # some bits mean nothing
    except ValueError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_of_another_program_is_an_error_that_names_it(metadata, tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign", metadata)
    with pytest.raises(ValueError, match="foreign is not a whole safetensors file"):
        load_weights(tmp_path / "foreign")


@FORMATS
def test_a_missing_file_is_missing(name, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path / name)


@FORMATS
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(name, tmp_path):
    path = save_weights(TENSORS, tmp_path / name)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(OSError):
            save_weights({"weight": torch.randn(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- weights that are tied, and what is no state ---


@FORMATS
def test_what_is_tied_is_written_once_and_tied_again(name, tmp_path):
    weight = torch.randn(100, 10)
    path = save_weights({"embedding": weight, "bias": torch.ones(3), "head": weight}, tmp_path / name)
    assert path.stat().st_size < 1.2 * weight.nbytes
    state = load_weights(path)
    assert list(state) == ["embedding", "bias", "head"]
    assert state["head"].data_ptr() == state["embedding"].data_ptr()
    assert torch.equal(state["head"], weight)


def test_what_only_looks_alike_is_not_tied(tmp_path):
    weight = torch.arange(6.0)
    alike = {
        "copy": weight.clone(),
        "view": weight.view(2, 3),
        "start": weight[:3],
        "none": weight[:0],
        "too": weight[:0],
    }
    assert_same(
        load_weights(save_weights({"weight": weight, **alike}, tmp_path / "weights")), {"weight": weight, **alike}
    )


def test_parameters_are_written_as_their_numbers(tmp_path):
    layer = nn.Linear(3, 2)
    assert_same(load_weights(save_weights(dict(layer.named_parameters()), tmp_path / "weights")), layer.state_dict())


@pytest.mark.parametrize("thing", [3, None, "text", torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta")])
def test_what_is_no_tensor_of_numbers_is_an_error_that_names_it(thing, tmp_path):
    with pytest.raises(ValueError, match="'thing' is no tensor of numbers in memory"):
        save_weights({"weight": torch.ones(2), "thing": thing}, tmp_path / "weights")
    assert not list(tmp_path.iterdir())


def test_names_that_could_not_be_told_apart_again_are_refused(tmp_path):
    with pytest.raises(ValueError, match="parts of two tensors have one name"):
        save_weights({**QUANTIZED, "_weight_qdata": torch.ones(2)}, tmp_path / "weights")
    assert not list(tmp_path.iterdir())


# --- attacks ---


@FORMATS
def test_a_damaged_file_is_an_error_or_what_was_written(name, tmp_path):
    path = save_weights({**QUANTIZED, "tied": shared, "again": shared}, tmp_path / name)
    tried, bad = containers.attack_weights(path, random.Random(0), 500)
    assert (tried, bad) == (500, [])


@pytest.mark.parametrize("bit", range(8))
def test_a_name_that_lost_a_bit_is_an_error(bit, tmp_path):
    path = save_weights({"weight": torch.ones(2)}, tmp_path / "weights")
    data = bytearray(path.read_bytes())
    data[data.index(b"model.weight") + 8] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ValueError, match="weights is not a whole safetensors file"):
        load_weights(path)


def packed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(12, write_checksum=True).compress(data)


def header(length: int, **tensors: object) -> bytes:
    text = json.dumps({"__metadata__": {"torchao": "{}"}, **tensors}).encode()
    return (length or len(text)).to_bytes(8, "little") + text


ZEROS = {"dtype": "U8", "shape": [2**28], "data_offsets": [0, 2**28]}


@pytest.mark.parametrize(
    "data",
    [
        packed(bytes(2**28)),
        packed(header(0, weight=ZEROS) + bytes(2**27)),
        packed(header(2**40) + bytes(2**28)),
        packed(header(2**24) + b" " * 2**24 + bytes(2**28)),
        packed(header(0) + b"[" * 10**6),
        packed((10**6).to_bytes(8, "little") + b"[" * 10**6),
        b"\x28\xb5\x2f\xfd\xe0" + (4 * 10**18).to_bytes(8, "little") + bytes(300),
        b"\x28\xb5\x2f\xfd\xa0" + (2**29).to_bytes(4, "little") + bytes(300),
    ],
    ids=["no header", "too few bytes", "long header", "header of spaces", "more", "depth", "4e18 bytes", "one window"],
)
def test_a_bomb_is_an_error_and_takes_no_memory(data, tmp_path):
    (tmp_path / "bomb.zst").write_bytes(data)
    with containers.at_most(2**27), pytest.raises(ValueError, match="bomb.zst is not a whole safetensors file"):
        load_weights(tmp_path / "bomb.zst")
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zst"]


def test_what_unpacks_to_more_than_is_allowed_is_an_error_that_says_how_much(tmp_path):
    path = save_weights({"weight": torch.zeros(1000)}, tmp_path / "zeros.zst")
    with pytest.raises(ValueError, match=r"it unpacks to 4,\d\d\d bytes, and 4,000 are allowed"):
        load_weights(path, largest=4000)
    assert load_weights(path, largest=5000)["weight"].shape == (1000,)
