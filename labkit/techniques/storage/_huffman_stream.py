"""Huffman coding at the speed of NumPy: the streams in a Deep Compression file.

The codes are those of `huffman`, and the tests hold every bit to `huffman.encode`. A
decoder cannot know where a code begins before it has read the one in front. So the
symbols are dealt out to many lanes, and all lanes are read in step.

- A *value* is one of the different symbols, and a *letter* the place of a symbol's
  value among them, in rising order: 0 to m - 1.
- A *lane* is every k-th symbol, where there are k lanes; it ends with a whole byte.
- A *group* is some letters that follow each other in a lane, as one number: one look-up
  codes them all.
- A *word* is 64 bits of the stream, written or read at once.
"""

from __future__ import annotations

import numpy as np

from labkit.techniques.storage.huffman import canonical_codes, code_lengths, code_order

LANE = 4096  # symbols in a lane, at most: its bytes are counted in 16 bits
BLOCK = 32  # lanes packed at once: few enough that they stay in the CPU's cache


def encode(symbols: np.ndarray) -> bytes:
    """Integers as a stream: their number, the code table, the bytes of every lane but
    the last, the lanes. Symbol i is in lane i mod the number of lanes.

    Args:
        symbols: integers of any shape, flattened.

    Returns:
        A stream for `decode`.

    Raises:
        ValueError: they are not integers that int64 holds, or more than 2**15
            different ones.
    """
    symbols = np.asarray(symbols).ravel()
    if not symbols.size:
        return varint(0)
    is_uint64 = symbols.dtype == np.uint64
    if symbols.dtype.kind not in "iub" or (is_uint64 and symbols.max() >= 2**63):
        raise ValueError(
            f"symbols must be integers that int64 holds, got {symbols.dtype}: "
            "convert them first"
        )
    values, letters = _alphabet(symbols)
    groups, size = _groups(letters, len(values))
    lengths = code_lengths(_count(groups, size, len(values)))
    lanes, sizes = _pack(groups, *_group_codes(lengths, size))
    head = varint(symbols.size) + _table(values, lengths)
    return head + np.array(sizes[:-1], "<u2").tobytes() + lanes


def _alphabet(symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values that may occur (m,), rising, and the place among them of each symbol,
    its letter (n,).
    """
    low, high = int(symbols.min()), int(symbols.max())
    if high - low >= 2**16 - 1:
        values, letters = np.unique(symbols, return_inverse=True)
        return values.astype(np.int64), letters
    letters = np.empty(symbols.size, dtype=np.uint16)
    np.subtract(symbols, low, out=letters, dtype=np.int64, casting="unsafe")
    return low + np.arange(high - low + 1), letters


def _groups(letters: np.ndarray, m: int) -> tuple[np.ndarray, int]:
    """Letters that follow each other in a lane as one number to the base m + 1:
    (rows, lanes), and how many letters there are in each. One look-up then codes them
    all. Letter m, which has no code, fills up the lanes.
    """
    n, size = len(letters), 1
    while (m + 1) ** (size + 1) <= min(n, 2**16):
        size += 1
    lanes = -(-n // LANE)
    rows = -(-n // (lanes * size))
    grid = np.full((rows, size, lanes), m, letters.dtype)
    grid.reshape(-1)[:n] = letters
    groups = grid[:, 0]
    for i in range(1, size):
        groups = groups * (m + 1) + grid[:, i]
    return groups, size


def _count(groups: np.ndarray, size: int, m: int) -> np.ndarray:
    """How often each letter occurs: (m,), summed over the groups that have it."""
    counts = np.bincount(groups.ravel(), minlength=(m + 1) ** size)
    counts = counts.reshape([m + 1] * size)  # an axis for each place in a group
    axes = set(range(size))
    return sum(counts.sum(tuple(axes - {axis})) for axis in axes)[:m]


def _group_codes(lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Code and length of every possible group: ((m + 1)**size,) each.

    The code begins at the top bit of its 64 and takes at most 56 of them: three letters
    take 45, and four are a group only if m is 15 or less: 14 bits each.
    """
    codes = np.append(canonical_codes(lengths), 0).astype(np.uint64)
    lengths = np.append(lengths, 0).astype(np.uint64)
    codes <<= 64 - lengths
    group_codes, group_lengths = codes, lengths
    for _ in range(size - 1):
        group_codes = (group_codes[:, None] | codes >> group_lengths[:, None]).ravel()
        group_lengths = (group_lengths[:, None] + lengths).ravel()
    return group_codes, group_lengths.astype(np.int64)


def _pack(
    groups: np.ndarray, codes: np.ndarray, lengths: np.ndarray
) -> tuple[bytes, np.ndarray]:
    """All codes behind each other, lane by lane, and the bytes of each lane."""
    packed, sizes = [], []
    for lane in range(0, groups.shape[1], BLOCK):
        block = np.ascontiguousarray(groups[:, lane : lane + BLOCK].T)  # (lanes, rows)
        block_codes, bits = codes.take(block.ravel()), lengths.take(block)
        ends = np.cumsum(bits, axis=1)
        lane_bytes = (ends[:, -1] + 7) // 8
        lane_starts = 8 * (np.cumsum(lane_bytes) - lane_bytes)
        starts = (ends - bits + lane_starts[:, None]).ravel()
        sizes.append(lane_bytes)
        packed.append(_to_words(block_codes, starts).tobytes()[: lane_bytes.sum()])
    return b"".join(packed), np.concatenate(sizes)


def _to_words(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Codes (n,), each from its top bit on, placed at the bits `starts` (n,): words of
    64 bits. The starts rise by less than 64, so that a code begins in every word.
    """
    word, bit = starts >> 6, (starts & 63).astype(np.uint64)
    first = np.append(0, np.flatnonzero(word[1:] != word[:-1]) + 1)  # of each word
    last = np.append(first[1:], len(codes)) - 1
    words = np.zeros(len(first) + 1, np.uint64)
    words[:-1] = np.bitwise_or.reduceat(codes >> bit, first)
    words[1:] |= codes[last] << (64 - bit[last])  # what did not fit into its word
    return words.astype(">u8")


def decode(stream: bytes) -> np.ndarray:
    """The symbols of a stream. A byte of it never takes more than 80 bytes of memory,
    and all of it 1 MB more.

    Args:
        stream: what `encode` wrote.

    Returns:
        Symbols, int64, (n,).

    Raises:
        ValueError: the stream was cut, extended or altered. Altered bits that are a
            code of other symbols do not show.
    """
    n, at = read_varint(stream, 0)
    if n == 0 and len(stream) == at:
        return np.empty(0, np.int64)
    values, lengths, at = _read_table(stream, at)
    lanes = -(-n // LANE)
    body = at + 2 * (lanes - 1)
    if not 0 < n <= 8 * (len(stream) - body):  # a code has at least one bit
        raise _damaged(f"{n:,} symbols in {len(stream):,} bytes")
    sizes = np.frombuffer(stream, "<u2", lanes - 1, at).astype(np.int64)
    ends = np.append(body + np.cumsum(sizes), len(stream))
    starts = np.append(body, ends[:-1])
    return _read_lanes(stream, n, 8 * starts, 8 * ends, *_lookup(values, lengths))


def _lookup(values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every bit string as long as the longest code: the symbol whose code it begins
    with, and the bits of that code. A lone symbol has half of the strings; 0 bits in
    the other half.
    """
    order, shares = code_order(lengths)
    strings = 1 << int(lengths.max())
    if shares.sum() != strings and lengths[order].tolist() != [1]:
        raise _damaged("these lengths are not those of a code")
    symbols, bits = np.zeros(strings, np.int64), np.zeros(strings, np.uint64)
    symbols[: shares.sum()] = np.repeat(values[order], shares)
    bits[: shares.sum()] = np.repeat(lengths[order], shares)
    return symbols, bits


def _read_lanes(
    stream: bytes,
    n: int,
    starts: np.ndarray,
    ends: np.ndarray,
    symbol_of: np.ndarray,
    bits_of: np.ndarray,
) -> np.ndarray:
    """Decode one symbol of every lane at a time: each lane has a buffer, whose top bits
    look up a symbol and are then shifted out.
    """
    # From every second byte on, 64 bits: at least 49 are left behind any bit.
    words = np.ndarray(len(stream) // 2 + 1, ">u8", stream + bytes(10), strides=(2,))
    words = words.astype(np.uint64)
    lanes, longest = len(starts), len(symbol_of).bit_length() - 1
    symbols = np.empty((-(-n // lanes), lanes), np.int64)
    at = starts.astype(np.uint64)  # the bit that each lane has come to
    buffer, bits, number = (np.empty(lanes, np.uint64) for _ in range(3))
    place = number.view(np.int64)  # the same memory, of the type that indexes
    # "clip": a damaged lane may run past the end, and is found out below.
    for i, row in enumerate(symbols):
        if i % (49 // longest) == 0:
            np.right_shift(at, 4, out=number)
            words.take(place, out=buffer, mode="clip")
            np.left_shift(buffer, at & 15, out=buffer)
        np.right_shift(buffer, 64 - longest, out=number)
        symbol_of.take(place, out=row, mode="clip")
        bits_of.take(place, out=bits, mode="clip")
        np.left_shift(buffer, bits, out=buffer)
        np.add(at, bits, out=at)
    full = lanes - (symbols.size - n)  # lanes that have a symbol in the last row
    at[full:] -= bits[full:]
    # Each lane must end in its last byte, with zeros behind the last code.
    left = ends - at.astype(np.int64)
    buffer = words.take((at >> 4).astype(np.int64), mode="clip") << (at & 15)
    if (left >> 3).any() or (buffer >> (64 - left).astype(np.uint64)).any():
        raise _damaged("its lanes do not end where they should")
    return symbols.ravel()[:n]


def _table(values: np.ndarray, lengths: np.ndarray) -> bytes:
    """The code table: ranges of values, then four bits for each value in them, its
    length. A value without a code has length 0; more than four of them in a row take
    more than a new range does.
    """
    values, lengths = values[lengths > 0], lengths[lengths > 0]
    steps = np.diff(values.astype(np.uint64))  # may be more than an int64 holds
    new = np.flatnonzero(steps > 5)
    firsts = values[np.append(0, new + 1)].tolist()
    lasts = values[np.append(new, -1)].tolist()
    written = [varint(len(firsts))]
    for before, first, last in zip([0, *lasts], firsts, lasts):
        written += [varint(_zigzag(first - before)), varint(last - first)]
    place = np.append(0, np.cumsum(np.where(steps > 5, 1, steps).astype(np.int64)))
    nibbles = np.zeros(place[-1] // 2 * 2 + 2, np.uint8)
    nibbles[place] = lengths
    return b"".join(written) + (nibbles[::2] << 4 | nibbles[1::2]).tobytes()


def _read_table(stream: bytes, at: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Values and lengths of the table that begins at that place, and where it ends."""
    number, at = read_varint(stream, at)
    ranges = []
    total = 0
    last = 0
    for _ in range(number):
        step, at = read_varint(stream, at)
        width, at = read_varint(stream, at)
        first = last + _unzigzag(step)
        last = first + width
        total += width + 1
        if total > 2 * (len(stream) - at) or first < -(2**63) or last >= 2**63:
            raise _damaged("its code table is too large")
        ranges.append(first + np.arange(width + 1))
    if not ranges:
        raise _damaged("its code table is empty")
    nibbles = np.frombuffer(stream, np.uint8, (total + 1) // 2, at)
    lengths = np.stack([nibbles >> 4, nibbles & 15], axis=1).ravel()[:total]
    return np.concatenate(ranges), lengths.astype(np.int64), at + len(nibbles)


def varint(number: int) -> bytes:
    """A number from 0 on in as few bytes as it needs: seven bits in each, the low ones
    first, and the top bit of all but the last byte set (LEB128).
    """
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def read_varint(stream: bytes, at: int) -> tuple[int, int]:
    """The number that begins at byte `at`, and the byte behind it.

    Raises:
        ValueError: it does not end within ten bytes or before the stream does.
    """
    number = 0
    for i, byte in enumerate(stream[at : at + 10]):
        number |= (byte & 127) << 7 * i
        if byte < 128:
            return number, at + i + 1
    raise _damaged("it ends within a number")


def _zigzag(number: int) -> int:
    """0, -1, 1, -2, 2 … as 0, 1, 2, 3, 4 …: close to zero is small."""
    return 2 * number if number >= 0 else -2 * number - 1


def _unzigzag(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def _damaged(why: str) -> ValueError:
    return ValueError(f"not a whole Huffman stream ({why}): encode the symbols again")
