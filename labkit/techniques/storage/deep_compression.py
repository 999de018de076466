"""One file for a compressed model, laid out as in Deep Compression.

A pruned layer with shared weights is a list of stored entries. Each has a code, its
place in the layer's codebook, and a relative index, how far it lies behind the entry
before; both streams are Huffman-coded. Source: Han, Mao and Dally 2016
(arXiv:1510.00149), sections 2 to 4.

The file needs no notes from the training: every tensor of the state dictionary is
looked at and stored in the form that is smallest, and the same bits come back. It is

- a header: magic, version, bytes of the table, CRC-32 of the table;
- a table, with a row for every layer: name, form, sizes, shape, CRC-32 of its parts;
- the parts, for every layer: codebook, weights, index.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from labkit import files
from labkit.techniques.storage import _huffman_stream
from labkit.techniques.storage.huffman import LONGEST

MAGIC, VERSION = b"DCNN", 1
HEADER = struct.Struct("<4sBII")
HEADER_BYTES = HEADER.size
# A type is a number in the file, its place in this list: only append to it.
DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
INDEX_BITS = range(1, 17)  # widths that a file may have
TRIED_BITS = range(1, 11)  # widths that `save` tries when none is asked for
MOST_DIMS = 64  # of a tensor in PyTorch
BY_COLUMNS, HUFFMAN_WEIGHTS, HUFFMAN_INDEX = 1, 2, 4  # flags of a layer


@dataclass(frozen=True, eq=False)
class Entry:
    """What the file holds of one tensor. All sizes in bytes.

    The numbers of the paper's tables 2 to 5 come in pairs: `weight_bits`, `index_bits`,
    `fixed_bytes` and `fixed_rate` with symbols of fixed width, `coded_weight_bits`,
    `coded_index_bits`, `bytes` and `rate` as they lie in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kept: int  #: non-zero weights
    stored: int  #: entries, fillers included; all weights if dense
    levels: int  #: values in the codebook, 0 if the values themselves are stored
    index_bits: int  #: 0 if dense
    parts: dict[str, int]  #: bytes of "weights", "index", "codebook", "overhead"
    #: Symbols before entropy coding, (stored,); "weights" are codes or bit patterns,
    #: "index" is empty if dense.
    streams: dict[str, np.ndarray] = field(repr=False)

    @property
    def dense_bytes(self) -> int:
        """Bytes of the tensor in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of the tensor in the file, the row in the table included."""
        return sum(self.parts.values())

    @property
    def fixed_bytes(self) -> int:
        """Bytes of the tensor in the file if no symbol were Huffman-coded."""
        streams = (self.weight_bits, self.index_bits)
        fixed = sum(packed_bytes(self.stored, bits) for bits in streams)
        return fixed + self.parts["codebook"] + self.parts["overhead"]

    @property
    def weight_bits(self) -> int:
        """Bits of a code, or of a value where values are stored."""
        return fixed_width(self.levels) if self.levels else 8 * self.dtype.itemsize

    @property
    def coded_weight_bits(self) -> float:
        """Bits of the weights in the file for each stored entry."""
        return 8 * self.parts["weights"] / max(self.stored, 1)

    @property
    def coded_index_bits(self) -> float:
        """Bits of the index in the file for each stored entry."""
        return 8 * self.parts["index"] / max(self.stored, 1)

    @property
    def fixed_rate(self) -> float:
        """How many times smaller than in memory, with symbols of fixed width."""
        return self.dense_bytes / self.fixed_bytes

    @property
    def rate(self) -> float:
        """How many times smaller than in memory."""
        return self.dense_bytes / self.bytes


def save(
    model: nn.Module,
    path: str | Path,
    index_bits: int | None = None,
    huffman: bool = True,
) -> Path:
    """Write all parameters and buffers of a model, whole or not at all.

    `index_bits` is the width of a relative index; None takes the best for each layer.
    Without `huffman` all symbols have fixed width. Raises ValueError for a width that
    is not in `INDEX_BITS`, and for a model that holds anything but plain tensors.
    """
    if index_bits is not None and index_bits not in INDEX_BITS:
        raise ValueError(
            f"index_bits is {INDEX_BITS[0]} to {INDEX_BITS[-1]} or None, got "
            f"{index_bits}"
        )
    widths = TRIED_BITS if index_bits is None else [index_bits]
    table, parts = b"", b""
    for name, tensor in _tensors(model).items():
        forms = _forms(name, tensor, widths, huffman)
        layer, data = min(forms, key=lambda form: len(form[0].row()) + len(form[1]))
        table += layer._replace(crc=zlib.crc32(data)).row()
        parts += data
    header = HEADER.pack(MAGIC, VERSION, len(table), zlib.crc32(table))
    files.write(Path(path), header + table + parts)
    return Path(path)


def load(path: str | Path, model: nn.Module) -> nn.Module:
    """Read what `save` wrote into a model of the same architecture, in place.

    Raises ValueError that names the layer and leaves the model as it was if the file is
    cut or altered, or its layers are not the model's.
    """
    tensors, read = _tensors(model), _read(path)
    if names := tensors.keys() ^ read.keys():
        name = min(names)
        has, lacks = ("file", "model") if name in read else ("model", "file")
        raise ValueError(
            f"{path}: the {has} has {name!r}, the {lacks} does not: "
            "load it into the architecture that was saved"
        )
    for name, (layer, _) in read.items():
        wanted = tuple(tensors[name].shape), tensors[name].dtype
        if (layer.shape, layer.dtype) != wanted:
            raise ValueError(
                f"{path}: {name!r} is {layer.shape}, {layer.dtype} in the file and "
                f"{wanted[0]}, {wanted[1]} in the model"
            )
    state = {name: layer.tensor(decoded) for name, (layer, decoded) in read.items()}
    first = {}
    for name, tensor in tensors.items():
        place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        tied = first.setdefault(place, name)
        if not np.array_equal(_bits(state[name]), _bits(state[tied])):
            raise ValueError(
                f"{path}: {tied!r} and {name!r} differ, and are one tensor in the model"
            )
    model.load_state_dict(state)
    return model


def contents(path: str | Path) -> list[Entry]:
    """What a file holds, tensor by tensor.

    The bytes of all entries and `HEADER_BYTES` are the bytes of the file. Raises
    ValueError for a file that was cut or altered.
    """
    return [layer.entry(decoded) for layer, decoded in _read(path).values()]


# --- positions ---


def relative_index(
    positions: np.ndarray, index_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances between stored entries in `index_bits` bits each, with filler zeros.

    `positions` (kept,) of the non-zero weights are increasing. Symbol s says that an
    entry lies s + 1 behind the one before, so 3 bits reach 8 far. Wherever the next
    weight is farther, a zero is stored at the largest distance, and counting starts
    again from there (Han et al. 2016, figure 2). Returns the symbols (stored,) and
    which of the stored entries are weights (kept,); the others are fillers.
    """
    distances = np.diff(positions, prepend=-1) - 1
    fillers = distances >> index_bits
    weights = np.cumsum(fillers + 1) - 1
    index = np.full(len(positions) + fillers.sum(), 2**index_bits - 1)
    index[weights] = distances & (2**index_bits - 1)
    return index, weights


def absolute_index(index: np.ndarray) -> np.ndarray:
    """Positions (stored,) of all stored entries, fillers included."""
    return np.cumsum(index + 1) - 1


# --- symbols of fixed width ---


def fixed_width(alphabet: int) -> int:
    """Bits of a symbol when all symbols of an alphabet get the same number."""
    return max(1, (alphabet - 1).bit_length())


def packed_bytes(count: int, width: int) -> int:
    """Whole bytes that hold `count` symbols of `width` bits."""
    return (count * width + 7) // 8


def pack(symbols: np.ndarray, width: int) -> bytes:
    """The lowest `width` bits of every symbol, lowest bit first."""
    octets = symbols.astype("<u4").view(np.uint8).reshape(-1, 4)
    bits = np.unpackbits(octets, axis=1, count=width, bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(stream: bytes, width: int, count: int) -> np.ndarray:
    """The symbols (count,) that `pack` wrote."""
    octets = np.frombuffer(stream, np.uint8)
    bits = np.unpackbits(octets, count=count * width, bitorder="little")
    octets = np.packbits(bits.reshape(count, width), axis=1, bitorder="little")
    padded = np.pad(octets, ((0, 0), (0, 4 - octets.shape[1])))
    return padded.view("<u4").reshape(count).astype(np.int64)


def _encode(symbols: np.ndarray, alphabet: int, use_huffman: bool) -> tuple[bytes, int]:
    """The smaller stream of the two, and whether it is the Huffman-coded one."""
    width = fixed_width(alphabet)
    if use_huffman and alphabet <= 2**LONGEST:
        stream = _huffman_stream.encode(symbols)
        if len(stream) < packed_bytes(len(symbols), width):
            return stream, 1
    return pack(symbols, width), 0


def _decode(stream: bytes, alphabet: int, count: int, coded: int) -> np.ndarray:
    """The symbols (count,) of either stream."""
    width = fixed_width(alphabet)
    if not coded and len(stream) != packed_bytes(count, width):
        raise ValueError(f"{count} symbols of {width} bits take no {len(stream)} bytes")
    symbols = _huffman_stream.decode(stream) if coded else unpack(stream, width, count)
    if len(symbols) != count:
        raise ValueError(f"{count} symbols were expected, {len(symbols)} are there")
    if count and not 0 <= symbols.min() <= symbols.max() < alphabet:
        raise ValueError(f"a symbol is not one of {alphabet}")
    return symbols


# --- a layer ---


class Decoded(NamedTuple):
    """The parts of a layer; all that it takes memory for is bounded by their bytes."""

    values: np.ndarray  #: (stored,) bit patterns
    codes: np.ndarray  #: (stored,), the values themselves where there is no codebook
    index: np.ndarray  #: (stored,) or, if dense, (0,)


class Layer(NamedTuple):
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
        form = self[3:9]  # flags to index
        numbers = (DTYPES.index(self.dtype), *form, len(self.shape), *self.shape)
        written = [
            _huffman_stream.varint(len(name)),
            name,
            *map(_huffman_stream.varint, numbers),
        ]
        return b"".join(written) + self.crc.to_bytes(4, "little")

    @classmethod
    def from_row(cls, table: bytes, at: int) -> tuple[Layer, int]:
        """The layer whose row begins there, and where the next one does."""
        length, at = _huffman_stream.read_varint(table, at)
        name, at = table[at : at + length].decode(), at + length
        (dtype, *numbers, dims), at = _numbers(table, at, 8)
        if dtype >= len(DTYPES) or dims > MOST_DIMS:
            raise ValueError(f"{name!r} has a type or shape that PyTorch does not have")
        shape, at = _numbers(table, at, dims)
        crc, at = int.from_bytes(table[at : at + 4], "little"), at + 4
        layer = cls(name, tuple(shape), DTYPES[dtype], *numbers, crc)
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
        coded = self.flags & HUFFMAN_WEIGHTS
        return codebook, _decode(stream, self.levels, self.stored, coded)

    def _index(self, data: bytes) -> np.ndarray:
        stream, coded = data[self.codebook + self.weights :], self.flags & HUFFMAN_INDEX
        count = self.stored if self.index_bits else 0
        index = _decode(stream, 2**self.index_bits, count, coded)
        if count and absolute_index(index)[-1] >= math.prod(self.shape):
            raise ValueError("an entry lies behind the last weight")
        return index

    def tensor(self, decoded: Decoded) -> torch.Tensor:
        """The tensor.

        Only for a shape that is the model's: zeros may be of any number.
        """
        flat = np.zeros(math.prod(self.shape), decoded.values.dtype)
        places = absolute_index(decoded.index) if self.index_bits else ...
        flat[places] = decoded.values
        order = "F" if self.flags & BY_COLUMNS else "C"
        signed = flat.view(f"<i{flat.itemsize}").reshape(self.shape, order=order)
        return torch.from_numpy(signed).view(self.dtype)

    def entry(self, decoded: Decoded) -> Entry:
        """What is told of the tensor."""
        parts = {part: getattr(self, part) for part in ("weights", "index", "codebook")}
        return Entry(
            name=self.name,
            shape=self.shape,
            dtype=self.dtype,
            kept=int(np.count_nonzero(decoded.values)),
            stored=self.stored,
            levels=self.levels,
            index_bits=self.index_bits,
            parts=parts | {"overhead": len(self.row())},
            streams={"weights": decoded.codes, "index": decoded.index},
        )


def _forms(
    name: str, tensor: torch.Tensor, widths: Sequence[int], use_huffman: bool
) -> Iterator[tuple[Layer, bytes]]:
    """Every form of a tensor: its row, still without CRC, and its parts."""
    values, codes = _share(tensor)
    for walk, index_bits, stored, index in _walks(values, codes, widths):
        index, index_flag = _encode(index, 2**index_bits, use_huffman)
        for codebook, weights, flag in _weight_streams(values, stored, use_huffman):
            layer = Layer(
                name,
                tuple(tensor.shape),
                tensor.dtype,
                flags=walk + index_flag * HUFFMAN_INDEX + flag * HUFFMAN_WEIGHTS,
                index_bits=index_bits,
                stored=len(stored),
                levels=len(codebook),
                weights=len(weights),
                index=len(index),
            )
            yield layer, codebook.tobytes() + weights + index


def _weight_streams(
    values: np.ndarray, codes: np.ndarray, use_huffman: bool
) -> Iterator[tuple[np.ndarray, bytes, int]]:
    """The two forms of the stored entries: codebook, stream, and whether that is
    Huffman-coded. First without a codebook, the values themselves.
    """
    yield values[:0], values[codes].tobytes(), 0
    used = np.bincount(codes, minlength=len(values)) > 0
    if np.count_nonzero(used) < len(codes):
        codebook, renumbered = values[used], np.cumsum(used) - 1
        stream = _encode(renumbered[codes], len(codebook), use_huffman)
        yield codebook, *stream


def _share(tensor: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a tensor as bit patterns, ascending by value, and the code
    of every weight, of the tensor's shape.

    Bit patterns, because -0.0 is not 0.0 and a NaN not even itself.
    """
    bits = _bits(tensor)
    values, codes = np.unique(bits, return_inverse=True)
    order = torch.from_numpy(values).view(tensor.dtype).argsort(stable=True).numpy()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[order].view(f"<u{values.itemsize}"), rank[codes].reshape(bits.shape)


def _bits(tensor: torch.Tensor) -> np.ndarray:
    """The bit patterns of a tensor as signed integers of its size and shape."""
    signed = getattr(torch, f"int{8 * tensor.dtype.itemsize}")
    return tensor.cpu().contiguous().view(signed).numpy()


def _walks(
    values: np.ndarray, codes: np.ndarray, widths: Sequence[int]
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Ways to walk through a tensor: flag, index width, stored codes and index.

    First over all weights; then, if some are zero, over the others, by rows and by
    columns (the first dimension fastest).
    """
    yield 0, 0, codes.ravel(), np.zeros(0, np.int64)
    zero = np.flatnonzero(values == 0)
    if len(zero) == 0:
        return
    for flag, order in ((0, "C"), (BY_COLUMNS, "F")):
        flat = codes.ravel(order)
        positions = np.flatnonzero(flat != zero)
        for width in widths:
            index, weights = relative_index(positions, width)
            stored = np.full(len(index), zero[0])
            stored[weights] = flat[positions]
            yield flag, width, stored, index
            if len(stored) == len(positions):
                break  # without fillers, nothing gets smaller by more bits


# --- the file ---


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dictionary; ValueError if anything in it is no plain tensor."""
    state = model.state_dict()
    for name, tensor in state.items():
        plain = type(tensor) is torch.Tensor and tensor.layout is torch.strided
        if not plain or tensor.is_meta or tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name!r} is not a plain tensor of numbers in memory: "
                "a file holds parameters and buffers that are"
            )
    return state


def _read(path: str | Path) -> dict[str, tuple[Layer, Decoded]]:
    """The layers of a file by name, each with its parts."""
    data = Path(path).read_bytes()
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        raise ValueError(f"{path} is not a file that container.save wrote")
    _, version, table_bytes, crc = HEADER.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"{path} has version {version}, this reads {VERSION}")
    table = data[HEADER_BYTES : HEADER_BYTES + table_bytes]
    if len(table) < table_bytes or zlib.crc32(table) != crc:
        raise ValueError(f"{path}: its table is cut or altered: write it again")
    try:
        layers = _layers(table)
    except ValueError as error:
        raise ValueError(f"{path}: its table cannot be read: {error}") from error
    read, at = {}, HEADER_BYTES + table_bytes
    for layer in layers:
        start, at = at, at + layer.codebook + layer.weights + layer.index
        part = data[start:at]
        if at > len(data) or zlib.crc32(part) != layer.crc:
            state = "cut" if at > len(data) else "altered"
            raise ValueError(f"{path}: {layer.name!r} is {state}: write it again")
        try:
            read[layer.name] = layer, layer.decode(part)
        except ValueError as error:
            raise ValueError(f"{path}: {layer.name!r} is no layer: {error}") from error
    if at != len(data):
        raise ValueError(f"{path}: {len(data) - at} bytes too many: write it again")
    return read


def _layers(table: bytes) -> list[Layer]:
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
        number, at = _huffman_stream.read_varint(table, at)
        numbers.append(number)
    return numbers, at
