"""A Deep Compression file: the same bits come back, the smallest form is taken, and damage is told."""

import copy
import itertools
import resource
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from labkit.techniques.pruning.magnitude import apply_masks_, global_masks
from labkit.techniques.quantization.codebook import share_
from labkit.techniques.quantization.int8 import dynamically_quantized
from labkit.techniques.storage import _deep_compression_file, _huffman_stream, deep_compression
from labkit.techniques.storage._deep_compression_file import (
    BY_COLUMNS,
    DTYPES,
    HEADER,
    HUFFMAN_INDEX,
    HUFFMAN_WEIGHTS,
    INDEX_BITS,
    MAGIC,
    VERSION,
    Layer,
    pack_bits,
    unpack_bits,
)
from labkit.techniques.storage.deep_compression import (
    HEADER_BYTES,
    absolute_index,
    bytes_by_part,
    contents,
    file_bytes,
    load_,
    relative_index,
    save,
)


def holder(tensors: dict[str, torch.Tensor]) -> nn.Module:
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return module


def emptied(model: nn.Module) -> nn.Module:
    """The same architecture with other numbers."""
    other = copy.deepcopy(model)
    for tensor in other.state_dict().values():
        bytes_of(tensor)  # a tensor that numbers can be compared of
        tensor.copy_(torch.ones_like(tensor))
    return other


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_same_bits(model: nn.Module, expected: nn.Module) -> None:
    state, wanted = model.state_dict(), expected.state_dict()
    assert list(state) == list(wanted)
    for name, tensor in wanted.items():
        assert (state[name].shape, state[name].dtype) == (tensor.shape, tensor.dtype)
        assert bytes_of(state[name]) == bytes_of(tensor), name


def network(seed: int = 0, sparsity: float = 0.9, levels: int = 16) -> nn.Sequential:
    """A small network, pruned and with shared weights."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.Linear(32, 5)]
    model = nn.Sequential(*layers)
    masks = global_masks(model, sparsity)
    share_(apply_masks_(model, masks), dict.fromkeys(masks, (levels - 1).bit_length()))
    return model.eval()


# --- what is written comes back ---


@st.composite
def tensors(draw) -> torch.Tensor:
    """Any bit patterns of any type and shape: few values or many, few zeros or many."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    count, generator = int(np.prod(shape)), np.random.default_rng(draw(st.integers(0, 999)))
    high = 2 if dtype is torch.bool else 256
    values = generator.integers(0, high, (draw(st.sampled_from([1, 2, 5, 40, 4000])), dtype.itemsize), np.uint8)
    chosen = values[generator.integers(0, len(values), count)]
    chosen[generator.random(count) < draw(st.sampled_from([0, 0.1, 0.5, 0.9, 0.99, 1]))] = 0
    tensor = torch.from_numpy(chosen.ravel()).view(dtype).reshape(shape)
    return tensor.permute(draw(st.permutations(range(len(shape)))))


names = st.text(min_size=1, max_size=8).filter(lambda n: "." not in n and not hasattr(nn.Module(), n))
widths = st.none() | st.sampled_from(INDEX_BITS)


@settings(deadline=None, max_examples=150)
@given(state=st.dictionaries(names, tensors(), max_size=3), index_bits=widths, huffman=st.booleans())
def test_the_bits_of_any_tensors_come_back(state, index_bits, huffman, tmp_path_factory):
    model, path = holder(state), tmp_path_factory.getbasetemp() / "any"
    assert save(model, path, index_bits, huffman) == path
    other = emptied(model)
    assert load_(path, other) is other
    assert_same_bits(other, model)
    assert sum(entry.bytes for entry in contents(path)) + HEADER_BYTES == path.stat().st_size


SPECIAL = {
    "zero and its negative": torch.tensor([0.0, -0.0] * 40),
    "no numbers": torch.tensor([torch.nan, -torch.nan, torch.inf, -torch.inf] * 9 + [0.0] * 99),
    "other nan": torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32).view(torch.float32),
    "single": torch.tensor(3),
    "none": torch.zeros(0, 3),
    "all zero": torch.zeros(50, 50),
    "all one": torch.ones(50, 50),
    "channels-last": torch.arange(48.0).view(2, 2, 3, 4).to(memory_format=torch.channels_last),
    "strided": torch.arange(12.0).view(3, 4).t()[::2],
    "more values than Huffman codes": torch.arange(40_000, dtype=torch.int32).repeat(2),
    "truth": torch.tensor([True, False, True]),
}


@pytest.mark.parametrize("tensor", SPECIAL.values(), ids=SPECIAL)
def test_special_tensors_come_back(tensor, tmp_path):
    model = holder({"tensor": tensor})
    assert_same_bits(load_(save(model, tmp_path / "special"), emptied(model)), model)


@pytest.mark.parametrize("huffman", [True, False])
def test_a_pruned_network_with_shared_weights_gives_the_same_outputs(huffman, tmp_path):
    model, x = network(), torch.randn(7, 1, 8, 8)
    other = load_(save(model, tmp_path / "new" / "folder", huffman=huffman), network(seed=1))
    assert_same_bits(other, model)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


def test_parameters_stay_the_parameters_they_were(tmp_path):
    model = network()
    before = {name: (id(p), p.requires_grad) for name, p in model.named_parameters()}
    load_(save(network(1), tmp_path / "file"), model)
    assert {name: (id(p), p.requires_grad) for name, p in model.named_parameters()} == before


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    return model


def test_tied_weights_come_back_and_stay_tied(tmp_path):
    model, other = tied(), tied()
    assert_same_bits(load_(save(model, tmp_path / "file"), other), model)
    assert other[1].weight is other[0].weight


def test_different_weights_do_not_fit_where_the_model_ties_them(tmp_path):
    save(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), tmp_path / "file")
    model = tied()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match="'0.weight' and '1.weight' differ, and are one tensor in the model"):
        load_(tmp_path / "file", model)
    assert_same_bits(model, before)


def test_the_same_model_gives_the_same_bytes(tmp_path):
    assert len({save(network(), tmp_path / "file").read_bytes() for _ in range(3)}) == 1


# --- the relative index ---


def test_the_index_of_the_paper_has_its_filler():
    """Figure 2 of Han et al. 2016: weights at 1, 4 and 15, three bits, a filler at 12."""
    index, weights = relative_index(np.array([1, 4, 15]), 3)
    assert index.tolist() == [1, 2, 7, 2]  # distances 2, 3, 8 and 3, of which 1 to 8 can be written
    assert weights.tolist() == [0, 1, 3]
    assert absolute_index(index).tolist() == [1, 4, 12, 15]


def test_the_file_of_the_paper_holds_a_zero_for_the_filler(tmp_path):
    weight = torch.zeros(16)
    weight[[1, 4, 15]] = torch.tensor([3.4, 0.9, 1.7])
    forms = deep_compression._forms("weight", weight, [3], use_huffman=False)
    [(layer, data)] = [form for form in forms if form[0].index_bits and not form[0].levels][:1]
    decoded = layer.decode(data)
    torch.testing.assert_close(torch.from_numpy(decoded.values.view("<f4").copy()), torch.tensor([3.4, 0.9, 0, 1.7]))
    assert decoded.index.tolist() == [1, 2, 7, 2]
    assert (layer.stored, layer.index) == (4, 2)  # four times three bits are two bytes


def fillers(positions: list[int], bits: int) -> int:
    """Counted weight by weight, as the paper tells it."""
    count, last = 0, -1
    for position in positions:
        while position - last > 2**bits:
            count, last = count + 1, last + 2**bits
        last = position
    return count


@given(st.sets(st.integers(0, 3000)).map(sorted), st.integers(1, 12))
def test_a_relative_index_gives_the_positions_again(positions, bits):
    index, weights = relative_index(np.array(positions, np.int64), bits)
    assert len(index) == len(positions) + fillers(positions, bits)
    assert absolute_index(index)[weights].tolist() == positions
    assert all(0 <= index) and all(index < 2**bits)


@pytest.mark.parametrize("huffman", [True, False])
def test_every_width_gives_the_same_tensors_and_the_best_is_taken(huffman, tmp_path):
    model = network(sparsity=0.97)
    best = save(model, tmp_path / "best", huffman=huffman).stat().st_size
    for bits in range(1, 9):
        path = save(model, tmp_path / f"{bits}", bits, huffman)
        assert_same_bits(load_(path, network(1)), model)
        weight = model.state_dict()["4.weight"].flatten()
        [entry] = [entry for entry in contents(path) if entry.name == "4.weight"]
        if entry.index_bits:
            by_rows = weight.view(32, 288).flatten().nonzero().flatten().tolist()
            by_columns = weight.view(32, 288).t().flatten().nonzero().flatten().tolist()
            assert entry.index_bits == bits
            assert entry.stored - entry.kept in (fillers(by_rows, bits), fillers(by_columns, bits))
        assert best <= path.stat().st_size


@pytest.mark.parametrize("bits", [0, -1, 17])
def test_a_width_that_is_none_is_an_error(bits, tmp_path):
    with pytest.raises(ValueError, match=f"index_bits is 1 to 16 or None, got {bits}"):
        save(network(), tmp_path / "file", index_bits=bits)
    assert list(tmp_path.iterdir()) == []


# --- symbols of fixed width ---


@given(st.integers(1, 32), st.lists(st.integers(0), max_size=40))
def test_packed_symbols_come_back_and_take_their_bits(width, symbols):
    symbols = np.array([s % 2**width for s in symbols], np.int64)
    stream = pack_bits(symbols, width)
    assert len(stream) == -(-len(symbols) * width // 8)
    assert unpack_bits(stream, width, len(symbols)).tolist() == symbols.tolist()


def test_packed_symbols_lie_lowest_bit_first():
    assert pack_bits(np.array([1, 2, 3, 0]), 2) == bytes([0b00_11_10_01])


# --- the smallest form ---


def entry_of(tensor: torch.Tensor, path, **options) -> deep_compression.Entry:
    [entry] = contents(save(holder({"tensor": tensor}), path, **options))
    return entry


def test_each_tensor_gets_the_form_that_suits_it(tmp_path):
    torch.manual_seed(0)
    kept = torch.rand(100, 100) < 0.05
    few = torch.randint(1, 9, (100, 100)) / 8
    many = torch.randn(100, 100)
    form = {
        name: (bool(entry.levels), bool(entry.index_bits))
        for name, tensor in {
            "few": few,
            "few kept": few.where(kept, 0),
            "many": many,
            "many kept": many.where(kept, 0),
        }.items()
        for entry in [entry_of(tensor, tmp_path / name)]
    }
    assert form == {
        "few": (True, False),
        "few kept": (True, True),
        "many": (False, False),
        "many kept": (False, True),
    }


@pytest.mark.parametrize("huffman", [True, False])
def test_the_form_taken_is_the_smallest_of_all(huffman, tmp_path):
    for name, tensor in network().state_dict().items():
        forms = [
            len(layer.row()) + len(data) for layer, data in deep_compression._forms(name, tensor, range(1, 13), huffman)
        ]
        [entry] = contents(save(holder({name.replace(".", "_"): tensor}), tmp_path / "file", huffman=huffman))
        assert entry.bytes <= min(forms)


def test_a_matrix_is_walked_by_columns_where_that_is_smaller(tmp_path):
    by_rows = torch.zeros(64, 64)
    by_rows[::16] = 0.5  # full rows: within a row each weight follows the one before
    entries = [entry_of(t, tmp_path / "file", huffman=False) for t in (by_rows, by_rows.t())]
    assert entries[0].bytes == entries[1].bytes < entry_of(by_rows.roll(1), tmp_path / "file", huffman=False).bytes + 9
    model = holder({"tensor": by_rows.t().contiguous()})
    path = save(model, tmp_path / "columns", index_bits=1, huffman=False)
    [(layer, _)] = _deep_compression_file.read(path).values()
    assert layer.flags & BY_COLUMNS
    assert_same_bits(load_(path, emptied(model)), model)


def test_zeros_take_no_more_than_their_row(tmp_path):
    entry = entry_of(torch.zeros(1000, 1000), tmp_path / "zeros")
    assert (entry.kept, entry.stored) == (0, 0)
    assert entry.parts["weights"] == entry.parts["index"] == entry.parts["codebook"] == 0
    assert entry.bytes < 30


def test_a_negative_zero_is_kept(tmp_path):
    assert entry_of(torch.tensor([0.0] * 99 + [-0.0]), tmp_path / "file").kept == 1


def test_values_lie_in_the_codebook_in_their_order(tmp_path):
    values = torch.tensor([-0.5, -0.25, 0.125, 0.5])
    entry = entry_of(values.repeat(50), tmp_path / "file")
    assert entry.streams["weights"].tolist() == [0, 1, 2, 3] * 50


@settings(deadline=None, max_examples=50)
@given(state=st.dictionaries(names, tensors(), max_size=3))
def test_huffman_coding_never_makes_a_file_larger(state, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "either"
    sizes = [save(holder(state), path, huffman=huffman).stat().st_size for huffman in (True, False)]
    assert sizes[0] <= sizes[1]


# --- what is in the file ---


def test_the_numbers_of_an_entry_are_those_of_the_layer(tmp_path):
    model = network()
    path = save(model, tmp_path / "file")
    entries = {entry.name: entry for entry in contents(path)}
    assert list(entries) == list(model.state_dict())
    assert sum(entry.bytes for entry in entries.values()) + HEADER_BYTES == path.stat().st_size
    for name, tensor in model.state_dict().items():
        entry = entries[name]
        assert (entry.shape, entry.dtype) == (tuple(tensor.shape), tensor.dtype)
        assert entry.kept == tensor.count_nonzero()
        assert entry.dense_bytes == tensor.nbytes
        assert set(entry.parts) == {"weights", "index", "codebook", "overhead"}
        assert entry.parts["codebook"] == entry.levels * tensor.itemsize
        assert len(entry.streams["weights"]) == entry.stored
        assert len(entry.streams["index"]) == (entry.stored if entry.index_bits else 0)


def test_bits_and_rates_are_counted_per_stored_entry(tmp_path):
    torch.manual_seed(0)
    weight = torch.randint(1, 7, (200, 200)).mul(torch.rand(200, 200) < 0.1).float()
    fixed, coded = (entry_of(weight, tmp_path / "file", index_bits=4, huffman=huffman) for huffman in (False, True))
    for entry in (fixed, coded):
        assert (entry.levels, entry.weight_bits, entry.index_bits) == (7, 3, 4)  # six values and the fillers' zero
        assert entry.coded_weight_bits == 8 * entry.parts["weights"] / entry.stored
        assert entry.coded_index_bits == 8 * entry.parts["index"] / entry.stored
        assert entry.rate == 160_000 / entry.bytes
        assert entry.fixed_rate == 160_000 / fixed.bytes
    assert fixed.parts["weights"] == -(-fixed.stored * 3 // 8)
    assert fixed.parts["index"] == -(-fixed.stored * 4 // 8)
    assert fixed.bytes == fixed.fixed_bytes == coded.fixed_bytes
    assert coded.rate > coded.fixed_rate


def test_an_entry_of_nothing_has_bits_and_rates_too(tmp_path):
    entry = entry_of(torch.zeros(0), tmp_path / "file")
    assert (entry.coded_weight_bits, entry.coded_index_bits, entry.rate) == (0, 0, 0)


def test_a_row_is_what_its_description_says():
    form = {"flags": 5, "index_bits": 4, "stored": 7, "levels": 2, "weights": 1, "index": 3}
    layer = Layer("ab", (3, 200), torch.float16, **form, crc=0x01020304)
    numbers = [1, 5, 4, 7, 2, 1, 3, 2, 3, 0xC8, 1]  # float16 is type 1; two dimensions, and 200 takes two bytes
    assert layer.row() == b"\2ab" + bytes(numbers) + b"\4\3\2\1"
    assert Layer.from_row(b"before" + layer.row(), 6) == (layer, 6 + 18)


def test_a_row_of_the_table_takes_a_few_tens_of_bytes(tmp_path):
    for entry in contents(save(network(), tmp_path / "file")):
        assert entry.parts["overhead"] <= len(entry.name) + 22


# --- damage ---


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return holder({"first": torch.randint(0, 3, (20, 20)).mul(torch.rand(20, 20) < 0.2) / 2, "second": torch.randn(9)})


def failing(path, model: nn.Module) -> str:
    """The error of a file that must not be loaded; the model stays, and `contents` fails likewise."""
    before = copy.deepcopy(model)
    with pytest.raises(ValueError) as failure:
        load_(path, model)
    assert_same_bits(model, before)
    with pytest.raises(ValueError):
        contents(path)
    return str(failure.value)


def parts_begin(path) -> dict[str, int]:
    """Where the parts of each layer begin, and at `None` where they end."""
    entries = contents(path)
    sizes = [entry.bytes - entry.parts["overhead"] for entry in entries]
    first = path.stat().st_size - sum(sizes)
    return dict(zip([*(entry.name for entry in entries), None], itertools.accumulate(sizes, initial=first)))


def test_every_cut_is_an_error_that_names_the_first_layer_that_is_not_whole(small, tmp_path):
    path = save(small, tmp_path / "file")
    data, begin, other = path.read_bytes(), parts_begin(path), emptied(small)
    for left in range(len(data)):
        path.write_bytes(data[:left])
        error = failing(path, other)
        if left < HEADER_BYTES:
            assert "is not a Deep Compression file" in error
        elif left < begin["first"]:
            assert "its table is cut or altered" in error
        else:
            name = "first" if left < begin["second"] else "second"
            assert f"'{name}' is cut" in error


def test_every_altered_byte_is_an_error_that_names_the_layer(small, tmp_path):
    path = save(small, tmp_path / "file")
    data, begin, other = path.read_bytes(), parts_begin(path), emptied(small)
    for at, flip in itertools.product(range(len(data)), (1, 0x80, 0xFF)):
        altered = bytearray(data)
        altered[at] ^= flip
        path.write_bytes(altered)
        error = failing(path, other)
        if at >= begin["first"]:
            name = "first" if at < begin["second"] else "second"
            assert f"'{name}' is altered" in error
        elif at > len(MAGIC):
            assert "its table is cut or altered" in error


def test_bytes_too_many_are_an_error(small, tmp_path):
    path = save(small, tmp_path / "file")
    path.write_bytes(path.read_bytes() + b"123")
    assert "3 bytes too many" in failing(path, emptied(small))


@pytest.mark.parametrize("data", [b"", MAGIC, b"PK\3\4" + bytes(99), bytes(99), b"\x80\x02}q\x00."])
def test_a_file_of_another_program_is_an_error(data, small, tmp_path):
    (tmp_path / "file").write_bytes(data)
    assert "is not a Deep Compression file" in failing(tmp_path / "file", small)


def test_another_version_is_an_error_that_says_which(small, tmp_path):
    path = save(small, tmp_path / "file")
    data = bytearray(path.read_bytes())
    data[len(MAGIC)] = VERSION + 1
    path.write_bytes(data)
    assert f"has version {VERSION + 1}, this reads {VERSION}" in failing(path, small)


def test_a_missing_file_is_missing(small, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_(tmp_path / "file", small)


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(small, tmp_path):
    path = save(small, tmp_path / "file")
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as if the disk were full
    try:
        with pytest.raises(OSError):
            save(holder({"weight": torch.randn(10_000)}), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- files with right checksums that `save` did not write ---


def crafted(path, *layers: tuple[Layer, bytes]):
    table = b"".join(replace(layer, crc=zlib.crc32(data)).row() for layer, data in layers)
    header = HEADER.pack(MAGIC, VERSION, len(table), zlib.crc32(table))
    path.write_bytes(header + table + b"".join(data for _, data in layers))
    return path


def peak(function, *arguments) -> int:
    """Bytes that a call takes at most."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


DENSE = Layer("weight", (4,), torch.float32, 0, 0, stored=4, levels=0, weights=16, index=0), bytes(16)
CODES = Layer("weight", (4,), torch.float32, 0, 0, stored=4, levels=2, weights=1, index=0), bytes(8) + b"\5"
SPARSE = Layer("weight", (4,), torch.float32, 0, 2, stored=1, levels=0, weights=4, index=1), bytes(4) + b"\3"
HUGE = 10**10


def test_a_crafted_file_is_read_where_nothing_is_wrong(tmp_path):
    for layer, data in (DENSE, CODES, SPARSE):
        load_(crafted(tmp_path / "file", (layer, data)), holder({"weight": torch.ones(4)}))


@pytest.mark.parametrize(
    "form, changes",
    [
        (DENSE, {"shape": (HUGE,)}),
        (DENSE, {"shape": (HUGE,), "stored": HUGE}),
        (DENSE, {"shape": (HUGE,), "stored": HUGE, "weights": 4 * HUGE}),
        (DENSE, {"shape": (5,)}),
        (DENSE, {"shape": (3,)}),
        (DENSE, {"shape": (1,) * 65}),
        (DENSE, {"stored": 3}),
        (DENSE, {"index": 1}),
        (DENSE, {"flags": HUFFMAN_INDEX}),
        (DENSE, {"levels": HUGE}),
        (CODES, {"shape": (HUGE,), "stored": HUGE}),
        (CODES, {"shape": (HUGE,), "stored": HUGE, "weights": HUGE}),
        (CODES, {"shape": (9,), "stored": 9}),
        (CODES, {"levels": HUGE}),
        (CODES, {"levels": 2, "weights": 0}),
        (CODES, {"levels": 1, "weights": 5}),
        (CODES, {"flags": HUFFMAN_WEIGHTS}),
        (SPARSE, {"stored": HUGE}),
        (SPARSE, {"stored": HUGE, "shape": (HUGE,)}),
        (SPARSE, {"stored": 9, "shape": (HUGE,)}),
        (SPARSE, {"stored": 0}),
        (SPARSE, {"shape": (3,)}),
        (SPARSE, {"index_bits": 0}),
        (SPARSE, {"index_bits": 17}),
        (SPARSE, {"index_bits": 2**40}),
        (SPARSE, {"flags": HUFFMAN_INDEX}),
    ],
)
def test_numbers_that_do_not_fit_are_an_error_and_take_no_memory(form, changes, tmp_path):
    layer = replace(form[0], **changes)
    path, errors = crafted(tmp_path / "file", (layer, form[1])), []

    def read(function, *arguments):
        with pytest.raises(ValueError) as failure:
            function(path, *arguments)
        errors.append(str(failure.value))

    model = nn.Module()
    model.register_buffer("weight", torch.empty(1, dtype=layer.dtype).expand(layer.shape))  # no memory either
    assert peak(read, contents) < 200_000
    assert peak(read, load_, model) < 200_000
    assert all(f"{path}: " in error and "'weight'" in error for error in errors)


@pytest.mark.parametrize(
    "symbols, message",
    [
        ([0, 1, 0], "4 symbols were expected, 3 are there"),
        ([0, 1, 2, 0], "not one of 2"),
        ([0, -1, 0, 0], "not one of 2"),
    ],
)
def test_a_huffman_stream_of_other_symbols_is_an_error(symbols, message, tmp_path):
    stream = _huffman_stream.encode(np.array(symbols))
    coded = replace(CODES[0], flags=HUFFMAN_WEIGHTS, weights=len(stream))
    path = crafted(tmp_path / "file", (coded, bytes(8) + stream))
    assert message in failing(path, holder({"weight": torch.ones(4)}))


def test_a_shape_takes_no_memory_before_it_is_compared_to_the_model(tmp_path):
    """A layer of zeros may be of any size: nothing in the file limits it."""
    layer = Layer("weight", (HUGE,), torch.float32, 0, 2, stored=0, levels=0, weights=0, index=0)
    path = crafted(tmp_path / "file", (layer, b""))

    def read():
        [entry] = contents(path)
        assert entry.dense_bytes == 4 * HUGE
        with pytest.raises(ValueError, match=r"'weight' is \(10000000000,\), .* in the file and \(4,\)"):
            load_(path, holder({"weight": torch.ones(4)}))

    assert peak(read) < 200_000


def test_more_weights_than_pytorch_can_count_are_an_error(tmp_path):
    path = crafted(tmp_path / "file", (replace(SPARSE[0], shape=(2**32, 2**32)), SPARSE[1]))
    assert "'weight' has more weights than PyTorch can count" in failing(path, holder({"weight": torch.ones(4)}))


def test_a_layer_that_is_there_twice_is_an_error(tmp_path):
    path = crafted(tmp_path / "file", DENSE, DENSE)
    assert "names a layer twice" in failing(path, holder({"weight": torch.ones(4)}))


def test_a_type_that_is_none_is_an_error(tmp_path):
    path = crafted(tmp_path / "file", DENSE)
    table = bytearray(path.read_bytes()[HEADER_BYTES:-16])
    table[1 + len("weight")] = len(DTYPES)
    path.write_bytes(HEADER.pack(MAGIC, VERSION, len(table), zlib.crc32(table)) + table + bytes(16))
    assert "'weight' has a type or shape" in failing(path, holder({"weight": torch.ones(4)}))


def read_or_refused(path, model: nn.Module, message: str = "") -> None:
    for function in (lambda: contents(path), lambda: load_(path, model)):
        try:
            function()
        except ValueError as error:
            assert message in str(error)


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_whatever_the_table_says_the_file_is_read_or_an_error(data, small, tmp_path_factory):
    """Altered at random, but with right checksums: as a file that means harm would be."""
    path = save(small, tmp_path_factory.getbasetemp() / "harm")
    written = path.read_bytes()
    size = HEADER.unpack_from(written)[2]
    table = bytearray(written[HEADER_BYTES : HEADER_BYTES + size])
    for _ in range(data.draw(st.integers(1, 3))):
        table[data.draw(st.integers(0, size - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del table[data.draw(st.integers(0, size)) :]
    header = HEADER.pack(MAGIC, VERSION, len(table), zlib.crc32(table))
    path.write_bytes(header + table + written[HEADER_BYTES + size :])
    read_or_refused(path, emptied(small), str(path))


def every_form() -> list[tuple[Layer, bytes]]:
    torch.manual_seed(0)
    weight = torch.randn(30, 20).round().where(torch.rand(30, 20) < 0.3, 0)
    either = [deep_compression._forms("weight", weight, [2, 4], huffman) for huffman in (True, False)]
    return list(itertools.chain(*either))


FORMS = every_form()


def test_there_are_layers_of_every_form():
    assert {layer.flags for layer, _ in FORMS} == set(range(8))
    assert {(layer.levels > 0, layer.index_bits) for layer, _ in FORMS} == set(
        itertools.product((False, True), (0, 2, 4))
    )


@settings(deadline=None, max_examples=300)
@given(form=st.sampled_from(FORMS), data=st.data())
def test_whatever_the_parts_hold_the_file_is_read_or_an_error(form, data, tmp_path_factory):
    layer, part = form[0], bytearray(form[1])
    for _ in range(data.draw(st.integers(1, 3))):
        part[data.draw(st.integers(0, len(part) - 1))] = data.draw(st.integers(0, 255))
    path = crafted(tmp_path_factory.getbasetemp() / "harm", (layer, bytes(part)))
    read_or_refused(path, holder({"weight": torch.zeros(30, 20)}), "'weight' is no layer")


# --- another model ---


@pytest.mark.parametrize(
    "other, message",
    [
        ({"weight": torch.ones(2)}, "the file has 'bias', the model does not"),
        (
            {"weight": torch.ones(2), "bias": torch.ones(3), "more": torch.ones(1)},
            "the model has 'more', the file does",
        ),
        (
            {"weight": torch.ones(2), "bias": torch.ones(4)},
            r"'bias' is \(3,\), .* in the file and \(4,\), .* the model",
        ),
        ({"weight": torch.ones(2), "bias": torch.ones(3, 1)}, r"'bias' is \(3,\), .* in the file and \(3, 1\)"),
        ({"weight": torch.ones(2), "bias": torch.ones(3).half()}, "torch.float32 in the file and .* torch.float16"),
    ],
)
def test_a_file_of_another_architecture_is_an_error_that_names_the_layer(other, message, tmp_path):
    path = save(holder({"weight": torch.zeros(2), "bias": torch.zeros(3)}), tmp_path / "file")
    model = holder(other)
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        load_(path, model)
    assert_same_bits(model, before)


class WithState(nn.Module):
    def get_extra_state(self):
        return {"any": "object"}


@pytest.mark.parametrize(
    "model",
    [
        holder({"weight": torch.ones(2, dtype=torch.complex64)}),
        holder({"weight": torch.ones(2, device="meta")}),
        holder({"weight": torch.eye(2).to_sparse()}),
        dynamically_quantized(nn.Linear(8, 6)),
        nn.LazyLinear(3),
        WithState(),
    ],
    ids=["complex", "meta", "sparse", "quantized", "lazy", "extra state"],
)
def test_a_model_of_other_things_than_plain_tensors_is_an_error(model, small, tmp_path):
    with pytest.raises(ValueError, match="is not a plain tensor of numbers in memory"):
        save(model, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is not a plain tensor of numbers in memory"):
        load_(save(small, tmp_path / "file"), model)


def test_bytes_by_part_add_up_to_the_file(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 5))
    apply_masks_(model, global_masks(model, 0.8))
    share_(model, {"0.weight": 3, "1.weight": 2})
    path = save(model, tmp_path / "model.dc")
    parts = bytes_by_part(path)
    assert list(parts) == ["weights", "index", "codebook", "overhead"]
    assert sum(parts.values()) == path.stat().st_size == file_bytes(model)
    assert parts["overhead"] > HEADER_BYTES and parts["index"] > 0
