"""The bytes of a Deep Compression file: written, and read without trust.

The file is

- a header: magic, version, bytes of the table, CRC-32 of the table;
- a table, with a row for every layer: name, form, sizes, shape, CRC-32 of its parts;
- the parts, for every layer: codebook, weights, index.

Whatever stands in a file, reading it gives layers or a ValueError, and the memory that
it takes is bounded by the bytes of the file.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from labkit.techniques.storage import _huffman_stream
from labkit.techniques.storage._huffman_stream import read_varint, varint
from labkit.techniques.storage.huffman import LONGEST

MAGIC, VERSION = b"DCNN", 1
HEADER = struct.Struct("<4sBII")
# A type is a number in the file, its place in this list: only append to it.
DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
INDEX_BITS = range(1, 17)  # widths that a file may have
MOST_DIMS = 64  # of a tensor in PyTorch
BY_COLUMNS, HUFFMAN_WEIGHTS, HUFFMAN_INDEX = 1, 2, 4  # flags of a layer


# --- symbols, of fixed width or Huffman-coded ---


def fixed_width(alphabet: int) -> int:
    """Bits of a symbol when all symbols of an alphabet get the same number."""
    return max(1, (alphabet - 1).bit_length())


def packed_bytes(count: int, width: int) -> int:
    """Whole bytes that hold `count` symbols of `width` bits."""
    return (count * width + 7) // 8


def pack_bits(symbols: np.ndarray, width: int) -> bytes:
    """The lowest `width` bits of every symbol, lowest bit first."""
    octets = symbols.astype("<u4").view(np.uint8).reshape(-1, 4)
    bits = np.unpackbits(octets, axis=1, count=width, bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_bits(stream: bytes, width: int, count: int) -> np.ndarray:
    """The symbols (count,) that `pack_bits` wrote."""
    octets = np.frombuffer(stream, np.uint8)
    bits = np.unpackbits(octets, count=count * width, bitorder="little")
    octets = np.packbits(bits.reshape(count, width), axis=1, bitorder="little")
    padded = np.pad(octets, ((0, 0), (0, 4 - octets.shape[1])))
    return padded.view("<u4").reshape(count).astype(np.int64)


def smaller_stream(
    symbols: np.ndarray, alphabet: int, use_huffman: bool
) -> tuple[bytes, bool]:
    """The smaller stream of the two, and whether it is the Huffman-coded one."""
    width = fixed_width(alphabet)
    if use_huffman and alphabet <= 2**LONGEST:
        stream = _huffman_stream.encode(symbols)
        if len(stream) < packed_bytes(len(symbols), width):
            return stream, True
    return pack_bits(symbols, width), False


def read_stream(stream: bytes, alphabet: int, count: int, coded: bool) -> np.ndarray:
    """The symbols (count,) of either stream."""
    width = fixed_width(alphabet)
    if not coded and len(stream) != packed_bytes(count, width):
        raise ValueError(f"{count} symbols of {width} bits take no {len(stream)} bytes")
    if coded:
        symbols = _huffman_stream.decode(stream)
    else:
        symbols = unpack_bits(stream, width, count)
    if len(symbols) != count:
        raise ValueError(f"{count} symbols were expected, {len(symbols)} are there")
    if count and not 0 <= symbols.min() <= symbols.max() < alphabet:
        raise ValueError(f"a symbol is not one of {alphabet}")
    return symbols


# --- a layer ---


@dataclass(frozen=True, eq=False)
class Decoded:
    """The parts of a layer; all that it takes memory for is bounded by their bytes."""

    values: np.ndarray  #: (stored,) bit patterns
    codes: np.ndarray  #: (stored,), the values themselves where there is no codebook
    index: np.ndarray  #: (stored,) or, if dense, (0,)


@dataclass(frozen=True)
class Layer:
    """A row of the table: what is known of a tensor before its parts are read."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    flags: int
    index_bits: int  # 0: dense, every weight is stored
    stored: int  # entries, fillers included
    levels: int  # values in the codebook; 0: values are stored, not codes
    weights: int  # bytes
    index: int  # bytes
    crc: int = 0  # of codebook, weights and index

    @property
    def codebook(self) -> int:
        """Bytes of the codebook."""
        return self.levels * self.dtype.itemsize

    def row(self) -> bytes:
        """The row as it stands in the table of the file."""
        name = self.name.encode()
        numbers = (
            DTYPES.index(self.dtype),
            self.flags,
            self.index_bits,
            self.stored,
            self.levels,
            self.weights,
            self.index,
            len(self.shape),
            *self.shape,
        )
        written = b"".join(map(varint, numbers))
        return varint(len(name)) + name + written + self.crc.to_bytes(4, "little")

    @classmethod
    def from_row(cls, table: bytes, at: int) -> tuple[Layer, int]:
        """The layer whose row begins there, and where the next one does."""
        length, at = read_varint(table, at)
        name, at = table[at : at + length].decode(), at + length
        numbers, at = _numbers(table, at, 8)
        dtype, flags, index_bits, stored, levels, weights, index, dims = numbers
        if dtype >= len(DTYPES) or dims > MOST_DIMS:
            raise ValueError(f"{name!r} has a type or shape that PyTorch does not have")
        shape, at = _numbers(table, at, dims)
        crc, at = int.from_bytes(table[at : at + 4], "little"), at + 4
        layer = cls(
            name=name,
            shape=tuple(shape),
            dtype=DTYPES[dtype],
            flags=flags,
            index_bits=index_bits,
            stored=stored,
            levels=levels,
            weights=weights,
            index=index,
            crc=crc,
        )
        layer.check()
        return layer, at

    def check(self) -> None:
        """ValueError unless the numbers fit each other. Those of a coded stream are
        compared to its bytes before it is decoded.
        """
        size = math.prod(self.shape)
        dense_fits = self.index_bits or self.stored == size
        raw_fits = self.levels or self.stored * self.dtype.itemsize == self.weights
        if not (dense_fits and raw_fits and self.index_bits < INDEX_BITS.stop):
            raise ValueError(f"the numbers in the row of {self.name!r} do not fit")
        if size >= 2**63:
            raise ValueError(f"{self.name!r} has more weights than PyTorch can count")

    def decode(self, data: bytes) -> Decoded:
        """The parts out of their bytes; ValueError if they do not fit the row."""
        codebook, codes = self._weights(data)
        values = codebook[codes] if self.levels else codes
        return Decoded(values, codes, self._index(data))

    def _weights(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        word = np.dtype(f"<u{self.dtype.itemsize}")
        codebook = np.frombuffer(data, word, self.levels)
        stream = data[self.codebook : self.codebook + self.weights]
        if self.levels == 0:
            return codebook, np.frombuffer(stream, word)
        coded = bool(self.flags & HUFFMAN_WEIGHTS)
        return codebook, read_stream(stream, self.levels, self.stored, coded)

    def _index(self, data: bytes) -> np.ndarray:
        stream = data[self.codebook + self.weights :]
        coded = bool(self.flags & HUFFMAN_INDEX)
        count = self.stored if self.index_bits else 0
        index = read_stream(stream, 2**self.index_bits, count, coded)
        if index.sum() + count > math.prod(self.shape):  # each is its distance - 1
            raise ValueError("an entry lies behind the last weight")
        return index


# --- the file ---


def to_bytes(layers: Iterable[tuple[Layer, bytes]]) -> bytes:
    """The file of these layers, given without CRC and each with its parts."""
    table, parts = b"", b""
    for layer, data in layers:
        table += replace(layer, crc=zlib.crc32(data)).row()
        parts += data
    header = HEADER.pack(MAGIC, VERSION, len(table), zlib.crc32(table))
    return header + table + parts


def read(path: str | Path) -> dict[str, tuple[Layer, Decoded]]:
    """The layers of a file by name, each with its parts.

    Raises:
        ValueError: it was cut or altered, or something else wrote it.
    """
    data = Path(path).read_bytes()
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise ValueError(
            f"{path} is not a Deep Compression file: deep_compression.save writes one"
        )
    _, version, table_bytes, crc = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"{path} has version {version}, this reads {VERSION}")
    table = data[HEADER.size : HEADER.size + table_bytes]
    if len(table) < table_bytes or zlib.crc32(table) != crc:
        raise ValueError(f"{path}: its table is cut or altered: write it again")
    try:
        layers = _layers(table)
    except ValueError as error:
        raise ValueError(f"{path}: its table cannot be read: {error}") from error
    found, at = {}, HEADER.size + table_bytes
    for layer in layers:
        start, at = at, at + layer.codebook + layer.weights + layer.index
        part = data[start:at]
        if at > len(data) or zlib.crc32(part) != layer.crc:
            state = "cut" if at > len(data) else "altered"
            raise ValueError(f"{path}: {layer.name!r} is {state}: write it again")
        try:
            found[layer.name] = layer, layer.decode(part)
        except ValueError as error:
            raise ValueError(f"{path}: {layer.name!r} is no layer: {error}") from error
    if at != len(data):
        raise ValueError(f"{path}: {len(data) - at} bytes too many: write it again")
    return found


def _layers(table: bytes) -> list[Layer]:
    """The rows of a table; ValueError unless they fill it and differ in name."""
    layers, at = [], 0
    while at < len(table):
        layer, at = Layer.from_row(table, at)
        layers.append(layer)
    if at != len(table) or len(layers) != len({layer.name for layer in layers}):
        raise ValueError("it ends within a row, or names a layer twice")
    return layers


def _numbers(table: bytes, at: int, count: int) -> tuple[list[int], int]:
    """So many varints from there on, and the place after them."""
    numbers = []
    for _ in range(count):
        number, at = read_varint(table, at)
        numbers.append(number)
    return numbers, at
