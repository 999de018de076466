"""A safetensors file: what is written comes back, and a file is whole or an error."""

import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

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
