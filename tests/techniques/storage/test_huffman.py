"""Huffman coding as textbooks have it: what is coded comes back, and no prefix code is shorter."""

import heapq
import itertools

import numpy as np
import pytest
from dahuffman import HuffmanCodec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.techniques.storage.huffman import (
    LONGEST,
    canonical_codes,
    code_lengths,
    codewords,
    decode,
    encode,
    entropy,
)

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


# The code


def huffman_bits(counts: list[int]) -> int:
    """Bits of all symbols in Huffman's own construction: the sum of all nodes within the tree."""
    heap, bits = [c for c in counts if c], 0
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        bits += both
        heapq.heappush(heap, both)
    return bits


def optimal_bits(counts: np.ndarray) -> int:
    return huffman_bits(np.asarray(counts).tolist())


@settings(deadline=None)
@given(counts=COUNTS)
def test_no_code_is_shorter_than_huffman_s(counts):
    assert (code_lengths(counts, longest=40) * counts).sum() == optimal_bits(counts)


@settings(deadline=None)
@given(counts=st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(any), longest=st.integers(1, 4))
@example(counts=[1, 1, 2, 4, 8], longest=3)
@example(counts=[1, 1, 1, 100], longest=2)
def test_a_limited_code_is_the_best_of_all_that_keep_the_limit(counts, longest):
    used = [c for c in counts if c]
    if len(used) > 2**longest:
        with pytest.raises(ValueError, match=f"{len(used)} different symbols need codes of more than {longest} bits"):
            code_lengths(counts, longest)
        return
    lengths = code_lengths(counts, longest)
    assert lengths.max() <= longest
    best = min(
        sum(c * n for c, n in zip(used, tried))
        for tried in itertools.product(range(1, longest + 1), repeat=len(used))
        if sum(2.0**-n for n in tried) <= 1
    )
    assert (lengths * counts).sum() == best


def test_fibonacci_counts_need_the_limit():
    counts = [1, 1]
    while len(counts) < 30:
        counts.append(counts[-1] + counts[-2])
    assert code_lengths(counts, longest=29).max() == 29
    limited = code_lengths(counts)
    assert limited.max() == LONGEST
    assert optimal_bits(counts) < (limited * counts).sum() < 1.001 * optimal_bits(counts)


@settings(deadline=None)
@given(counts=COUNTS, longest=st.integers(6, 20))
def test_every_stream_of_bits_is_read_in_one_way_only(counts, longest):
    lengths = code_lengths(counts, longest)
    np.testing.assert_array_equal(lengths > 0, np.array(counts) > 0)
    used = np.flatnonzero(lengths)
    codes = canonical_codes(lengths)
    words = [format(codes[i], f"0{lengths[i]}b") for i in used]
    assert all(len(word) == lengths[i] for word, i in zip(words, used))
    assert not any(b.startswith(a) for a, b in itertools.permutations(words, 2))
    assert sum(2.0**-n for n in lengths[used]) == (1 if len(used) > 1 else 0.5)  # Kraft: no word is left over
    # Canonical: sorted as binary fractions, they are sorted by length, then by symbol.
    assert [i for _, i in sorted(zip(words, used))] == sorted(used, key=lambda i: (lengths[i], i))


def test_canonical_codes_are_those_of_deflate():
    # The example of RFC 1951, 3.2.2: A to H with lengths 3, 3, 3, 3, 3, 2, 4, 4
    codes = canonical_codes(np.array([3, 3, 3, 3, 3, 2, 4, 4]))
    assert codes.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


def test_a_lone_symbol_has_one_bit_and_none_has_none():
    assert code_lengths(np.array([0, 9, 0])).tolist() == [0, 1, 0]
    assert code_lengths(np.array([0, 0])).tolist() == [0, 0]
    assert code_lengths(np.array([], int)).tolist() == []
    assert canonical_codes(np.array([], int)).tolist() == []


@settings(deadline=None)
@given(counts=COUNTS)
def test_bits_are_those_of_dahuffman(counts):
    codec = HuffmanCodec.from_frequencies({i: c for i, c in enumerate(counts) if c})
    table = codec.get_code_table()  # with a symbol of its own for the end, which occurs once
    theirs = sum(table[i][0] * c for i, c in enumerate([*counts]) if c)
    end = next(bits for symbol, (bits, _) in table.items() if not isinstance(symbol, int))
    assert (code_lengths([*counts, 1], longest=40) * [*counts, 1]).sum() == theirs + end


@settings(deadline=None)
@given(counts=COUNTS.filter(lambda counts: sum(map(bool, counts)) > 1))
def test_bits_lie_less_than_one_above_the_entropy(counts):
    symbols = np.repeat(np.arange(len(counts)), counts)
    bits = (code_lengths(counts) * counts).sum() / sum(counts)
    assert entropy(symbols) <= bits + 1e-9
    assert bits < entropy(symbols) + 1


def test_entropy_of_what_one_knows():
    assert entropy(np.array([], int)) == 0
    assert entropy(np.full(9, 5)) == 0
    assert entropy(np.array([[0, 1], [2, 3]])) == 2
    assert entropy(np.array([-1, -1, 7, 8])) == 1.5


# Bits and back


@settings(deadline=None)
@given(counts=COUNTS.map(np.array), seed=st.integers(0, 99))
def test_symbols_come_back_from_the_fewest_bits(counts, seed):
    symbols = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    lengths = code_lengths(counts, longest=40)
    bits = encode(symbols, lengths)
    assert len(bits) == optimal_bits(counts)
    assert decode(bits, lengths).tolist() == symbols.tolist()


def test_codes_stand_behind_each_other():
    lengths = np.array([1, 0, 2, 2])
    assert codewords(lengths) == {0: "0", 2: "10", 3: "11"}
    assert encode(np.array([[0, 3], [2, 0]]), lengths) == "0" + "11" + "10" + "0"
    assert decode("011100", lengths).tolist() == [0, 3, 2, 0]


def test_no_symbols_are_no_bits():
    assert encode(np.array([], int), np.array([1, 1])) == ""
    assert decode("", np.array([1, 1])).shape == (0,)


@pytest.mark.parametrize("symbol", [1, -1, 4])
def test_a_symbol_without_a_code_is_an_error_that_names_it(symbol):
    with pytest.raises(ValueError, match=f"^{symbol} has no code"):
        encode(np.array([0, symbol]), np.array([1, 0, 2, 2]))


@pytest.mark.parametrize("bits, lengths", [("01", [1, 0, 2, 2]), ("1", [1])])
def test_bits_that_end_within_a_code_are_an_error(bits, lengths):
    with pytest.raises(ValueError, match=r"end within a code \(1\)"):
        decode(bits, np.array(lengths))
