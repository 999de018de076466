"""The fast stream holds the textbook's bits, what is coded comes back, and damage is an error."""

import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.techniques.storage import _huffman_stream, huffman
from labkit.techniques.storage._huffman_stream import LANE, decode, encode, read_varint, varint
from labkit.techniques.storage.huffman import code_lengths

DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def gaussian(n: int, levels: int = 32, seed: int = 0) -> np.ndarray:
    """Symbols 0 to levels - 1, as the shared weights of a layer are distributed."""
    normal = np.random.default_rng(seed).normal(levels / 2, levels / 8, n)
    return normal.round().clip(0, levels - 1).astype(np.int64)


def short_lanes(lane: int = 60, block: int = 2):
    """Small streams of many lanes."""
    return mock.patch.multiple(_huffman_stream, LANE=lane, BLOCK=block)


def assert_comes_back(symbols: np.ndarray) -> bytes:
    stream = encode(symbols)
    again = decode(stream)
    assert again.dtype == np.int64
    assert again.shape == (symbols.size,)
    np.testing.assert_array_equal(again, symbols.ravel().astype(np.int64))
    return stream


def fewest_bits(symbols: np.ndarray) -> int:
    """Bits of all symbols in Huffman's code without a limit."""
    counts = np.bincount(symbols)
    return int((code_lengths(counts, longest=40) * counts).sum())


# A stream and back


@st.composite
def integers(draw) -> np.ndarray:
    """Integers of any type, from ranges small and large, few or many of them different."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    low, high = np.iinfo(dtype).min, min(np.iinfo(dtype).max, 2**63 - 1)
    center, reach = draw(st.integers(low, high)), draw(st.sampled_from([0, 1, 3, 40, 300, 2**16, 2**63]))
    near = st.integers(max(low, center - reach), min(high, center + reach))
    different = draw(st.lists(near, min_size=1, max_size=40))
    picks = np.random.default_rng(draw(st.integers(0, 99))).geometric(0.3, draw(st.integers(0, 700)))
    return np.array(different, dtype)[picks % len(different)]


@settings(deadline=None, max_examples=200)
@given(symbols=integers(), lane=st.sampled_from([1, 7, 60, LANE]))
def test_any_integers_come_back(symbols, lane):
    with short_lanes(lane):
        assert_comes_back(symbols)


@settings(deadline=None, max_examples=200)
@given(symbols=integers(), lane=st.sampled_from([1, 7, 60, LANE]))
def test_the_lanes_hold_the_textbook_s_bits_and_give_its_symbols(symbols, lane):
    values, letters, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    lengths, lanes = code_lengths(counts), -(-symbols.size // lane)
    coded = [huffman.encode(letters[i::lanes], lengths) for i in range(lanes)]
    packed = [np.packbits(np.array(list(bits), np.uint8)).tobytes() for bits in coded]  # zeros fill the last byte
    sizes = np.array([len(part) for part in packed[:-1]], "<u2").tobytes()
    again = np.empty(symbols.size, np.int64)
    for i, bits in enumerate(coded):
        again[i::lanes] = huffman.decode(bits, lengths)
    with short_lanes(lane):
        stream = encode(symbols)
        assert stream.endswith(sizes + b"".join(packed))
        assert decode(stream).tolist() == values[again].tolist()


@pytest.mark.parametrize(
    "symbols",
    [
        np.array([], np.int64),
        np.zeros((3, 0), np.uint8),
        np.array(7),
        np.array([-1]),
        np.array([True, False, True]),
        np.array([-(2**63), 2**63 - 1]),
        np.array([2**63 - 1, 2**63 - 3], np.uint64),
        np.arange(-(2**14), 2**14),
        np.arange(2**15) * 2**48 - 2**62,
        np.arange(24).reshape(2, 3, 4).T,
        np.array([-128, 127], np.int8),
        np.array([0, 2**16 - 2]),
        np.array([0, 2**16 - 1]),
    ],
    ids=str,
)
def test_the_ends_of_what_can_be_coded_come_back(symbols):
    assert_comes_back(symbols)


@pytest.mark.parametrize("levels", [1, 2, 3, 5, 8, 15, 16, 40, 255, 256])
@pytest.mark.parametrize("n", [1, 2, 59, 60, 61, 119, 121, 1000])
def test_any_number_of_levels_and_symbols_comes_back(n, levels):
    with short_lanes():
        assert_comes_back(gaussian(n, levels))


def test_the_longest_codes_side_by_side_come_back():
    counts = [1, 1]
    while len(counts) < 15:
        counts.append(counts[-1] + counts[-2])
    assert code_lengths(counts).max() == 14
    rows = np.repeat(np.arange(14), counts[:14])[: 3 * 256].reshape(3, 256).repeat(5, axis=0)  # the same five in a lane
    assert_comes_back(np.append(rows, np.full((LANE - len(rows), 256), 14)))


def test_two_million_symbols_come_back_in_half_a_percent_more_than_the_optimum():
    symbols = gaussian(2_000_000)
    best = fewest_bits(symbols) / 8
    assert best < len(assert_comes_back(symbols)) < 1.005 * best


def test_a_stream_is_what_its_description_says():
    # 4 symbols; 1 range, from 3 (zigzag 6), to 2 more; lengths 1, 0, 1; codes 0 0 0 1
    assert encode(np.array([3, 3, 3, 5])) == bytes([4, 1, 6, 2, 0x10, 0x10, 0b0001_0000])
    # 5 symbols; 2 ranges of one value: -1 (zigzag 1), 70 from there to 69 (zigzag 140: two bytes); a lane of 1 byte,
    # which has symbols 0, 2 and 4, and another
    with short_lanes(lane=3):
        stream = encode(np.array([-1, 69, 69, -1, -1]))
    assert stream == bytes([5, 2, 1, 0, 0x8C, 1, 0, 0x11, 1, 0, 0b0100_0000, 0b1000_0000])


def test_a_small_stream_has_a_small_head():
    symbols = gaussian(1000, 16)
    least = fewest_bits(symbols) / 8
    # Symbols 2, one range 3, lengths 8, and no more than the last byte's rest.
    assert len(encode(symbols)) <= 2 + 3 + 8 + least + 1
    assert encode(np.array([])[:0].astype(int)) == b"\0"


def test_a_lane_costs_two_bytes_and_its_last_byte_s_rest():
    symbols = np.arange(10 * LANE) % 2
    assert len(encode(symbols)) == len(encode(symbols[:LANE])) + 9 * (LANE // 8 + 2) + 1  # one more for the number


def test_a_gap_between_the_values_costs_bytes_and_not_its_width():
    near, far = np.arange(16), np.arange(16) * 10**6
    assert len(encode(far)) < len(encode(near)) + 5 * 16


# What cannot be coded


@pytest.mark.parametrize("symbols", [np.array([1.0]), np.array(["a"]), np.array([2**63], np.uint64), np.array([1j])])
def test_what_is_not_int64_is_an_error_that_names_the_type(symbols):
    with pytest.raises(ValueError, match=f"integers that int64 holds, got {symbols.dtype}"):
        encode(symbols)


@pytest.mark.parametrize("step", [1, 10**6])
def test_too_many_different_symbols_are_an_error_that_says_what_to_do(step):
    with pytest.raises(ValueError, match="32,769 different symbols .* use fewer"):
        encode(np.arange(2**15 + 1) * step)


# Damage


@given(number=st.integers(0, 2**70 - 1), before=st.binary(max_size=3), behind=st.binary(max_size=3))
def test_a_number_is_written_in_seven_bits_a_byte(number, before, behind):
    written = varint(number)
    assert len(written) == max(1, -(-number.bit_length() // 7))
    assert read_varint(before + written + behind, len(before)) == (number, len(before + written))


def test_a_number_has_no_more_than_ten_bytes():
    with pytest.raises(ValueError, match="ends within a number"):
        read_varint(b"\xff" * 10 + b"\0", 0)


def streams() -> dict[str, bytes]:
    with short_lanes():
        return {
            "nothing": encode(np.array([], int)),
            "one symbol": encode(np.array([4])),
            "a lone symbol": encode(np.full(100, -3)),
            "one lane": encode(gaussian(50, 16)),
            "many lanes": encode(gaussian(500, 16)),
            "ranges": encode(gaussian(200, 16) ** 3 - 10**12),
        }


STREAMS = pytest.mark.parametrize("stream", streams().values(), ids=streams())


def assert_error_or_bounded(stream: bytes) -> None:
    try:
        symbols = decode(stream)
    except ValueError as error:
        assert "not a whole Huffman stream" in str(error)
    else:
        assert symbols.dtype == np.int64
        assert symbols.size <= 8 * len(stream)


@STREAMS
def test_a_cut_stream_is_an_error(stream):
    with short_lanes():
        decode(stream)
        for left in range(len(stream)):
            with pytest.raises(ValueError, match="not a whole Huffman stream .*: encode the symbols again"):
                decode(stream[:left])


@STREAMS
@pytest.mark.parametrize("more", [b"\0", b"\1", bytes(100)])
def test_an_extended_stream_is_an_error(stream, more):
    with short_lanes(), pytest.raises(ValueError, match="not a whole Huffman stream"):
        decode(stream + more)


@STREAMS
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_an_altered_stream_is_an_error_or_other_symbols(stream, data):
    altered = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with short_lanes():
        assert_error_or_bounded(bytes(altered))


@settings(deadline=None, max_examples=300)
@given(stream=st.binary(max_size=60))
def test_any_bytes_are_an_error_or_symbols(stream):
    with short_lanes():
        assert_error_or_bounded(stream)


@pytest.mark.parametrize("bits", [0b1000_0000, 0b0100_0000, 0b0001_0000, 0b0000_0001])
def test_a_bit_that_no_code_has_is_an_error(bits):
    stream = encode(np.full(4, 7))
    assert stream[-1] == 0
    with pytest.raises(ValueError, match="its lanes do not end where they should"):
        decode(stream[:-1] + bytes([bits]))


@pytest.mark.parametrize(
    "why, head",
    [
        ("symbols in", varint(2**62) + bytes([1, 0, 0, 0x10])),
        ("symbols in", varint(801) + bytes([1, 0, 0, 0x10])),
        ("symbols in", varint(0) + bytes([1, 0, 0, 0x10])),
        ("ends within a number", b"\xff" * 20 + b"\0"),
        ("too large", varint(9) + bytes([1, 0]) + varint(2**40)),
        ("too large", varint(9) + bytes([1]) + varint(2**64) + bytes([0, 0x10])),
        ("ends within a number", varint(9) + varint(2**50)),
        ("empty", varint(9) + bytes([0])),
        ("not those of a code", varint(9) + bytes([1, 0, 1, 0x12])),
        ("not those of a code", varint(9) + bytes([1, 0, 1, 0xFF])),
        ("not those of a code", varint(9) + bytes([1, 0, 0, 0x20])),
        ("not those of a code", varint(9) + bytes([1, 0, 0, 0x00])),
        ("not those of a code", varint(9) + bytes([1, 0, 2, 0x11, 0x10])),
    ],
)
def test_a_head_that_lies_is_an_error_and_takes_no_memory(why, head):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=why):
            decode(head + bytes(0 if "number" in why else 100))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_stream_of_few_bytes_never_takes_much_memory():
    stream = encode(np.zeros(8 * 100_000, int))  # nothing has more symbols a byte
    tracemalloc.start()
    try:
        assert decode(stream).size == 800_000
        assert tracemalloc.get_traced_memory()[1] < 80 * len(stream) + 2**20
    finally:
        tracemalloc.stop()
