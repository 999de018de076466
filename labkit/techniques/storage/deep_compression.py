"""A Deep Compression file: codebooks, sparse positions and Huffman codes of a model.

A pruned layer with shared weights is a list of stored entries. Each has a code, its
place in the layer's codebook, and a relative index, how far it lies behind the entry
before; both streams are Huffman-coded. Source: Han, Mao and Dally 2016
(arXiv:1510.00149), sections 2 to 4.

The file needs no notes from the training: every tensor of the state dictionary is
looked at and stored in the form that is smallest, and the same bits come back.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labkit import files
from labkit.techniques.storage._deep_compression_file import (
    BY_COLUMNS,
    DTYPES,
    HEADER,
    HUFFMAN_INDEX,
    HUFFMAN_WEIGHTS,
    INDEX_BITS,
    Decoded,
    Layer,
    fixed_width,
    packed_bytes,
    read,
    smaller_stream,
    to_bytes,
)

HEADER_BYTES = HEADER.size  # of the file, before the first tensor
TRIED_BITS = range(1, 11)  # widths of an index that `save` tries if none is asked for


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

    Args:
        model: any module whose state is plain tensors.
        path: the file; missing folders are made.
        index_bits: width of a relative index; None takes the best for each layer.
        huffman: whether symbols may be Huffman-coded; else all have fixed width.

    Returns:
        The path.

    Raises:
        ValueError: the width is not 1 to 16, or the model holds anything but plain
            tensors.
    """
    if index_bits is not None and index_bits not in INDEX_BITS:
        raise ValueError(
            f"index_bits is {INDEX_BITS[0]} to {INDEX_BITS[-1]} or None, got "
            f"{index_bits}"
        )
    widths = TRIED_BITS if index_bits is None else [index_bits]
    smallest = (
        min(_forms(name, tensor, widths, huffman), key=_bytes_in_file)
        for name, tensor in _tensors(model).items()
    )
    files.write(Path(path), to_bytes(smallest))
    return Path(path)


def load_(path: str | Path, model: nn.Module) -> nn.Module:
    """Read what `save` wrote into a model, in place.

    Args:
        path: the file.
        model: one of the architecture that was saved, of the same types.

    Returns:
        The same model.

    Raises:
        ValueError: the file is cut or altered, or its layers are not the model's. It
            names the layer, and the model is as it was.
    """
    tensors, layers = _tensors(model), read(path)
    if names := tensors.keys() ^ layers.keys():
        name = min(names)
        has, lacks = ("file", "model") if name in layers else ("model", "file")
        raise ValueError(
            f"{path}: the {has} has {name!r}, the {lacks} does not: "
            "load it into the architecture that was saved"
        )
    for name, (layer, _) in layers.items():
        wanted = tuple(tensors[name].shape), tensors[name].dtype
        if (layer.shape, layer.dtype) != wanted:
            raise ValueError(
                f"{path}: {name!r} is {layer.shape}, {layer.dtype} in the file and "
                f"{wanted[0]}, {wanted[1]} in the model"
            )
    state = {name: _tensor(*layer) for name, layer in layers.items()}
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

    Args:
        path: the file.

    Returns:
        An entry for every tensor. Their bytes and `HEADER_BYTES` are the bytes of the
        file.

    Raises:
        ValueError: the file was cut or altered.
    """
    return [_entry(layer, decoded) for layer, decoded in read(path).values()]


# --- positions ---


def relative_index(
    positions: np.ndarray, index_bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances between stored entries in `index_bits` bits each, with filler zeros.

    Symbol s says that an entry lies s + 1 behind the one before, so 3 bits reach 8 far.
    Wherever the next weight is farther, a zero is stored at the largest distance, and
    counting starts again from there (Han et al. 2016, figure 2).

    Args:
        positions: of the non-zero weights, rising, (kept,).
        index_bits: width of a symbol.

    Returns:
        The symbols, (stored,), and which of the stored entries are weights, (kept,);
        the others are fillers.

    >>> index, weights = relative_index(np.array([1, 4, 15]), index_bits=3)
    >>> index.tolist(), weights.tolist()  # a filler at 12
    ([1, 2, 7, 2], [0, 1, 3])
    """
    distances = np.diff(positions, prepend=-1) - 1
    fillers = distances >> index_bits
    weights = np.cumsum(fillers + 1) - 1
    index = np.full(len(positions) + fillers.sum(), 2**index_bits - 1)
    index[weights] = distances & (2**index_bits - 1)
    return index, weights


def absolute_index(index: np.ndarray) -> np.ndarray:
    """Positions (stored,) of all stored entries, fillers included.

    >>> absolute_index(np.array([1, 2, 7, 2])).tolist()
    [1, 4, 12, 15]
    """
    return np.cumsum(index + 1) - 1


# --- a tensor and its forms ---


def _forms(
    name: str, tensor: torch.Tensor, widths: Sequence[int], use_huffman: bool
) -> Iterator[tuple[Layer, bytes]]:
    """Every form of a tensor: its row, still without CRC, and its parts."""
    values, codes = _share(tensor)
    for flags, index_bits, stored, distances in _walks(values, codes, widths):
        index, coded = smaller_stream(distances, 2**index_bits, use_huffman)
        if coded:
            flags |= HUFFMAN_INDEX
        for codebook, weights, coded in _weight_streams(values, stored, use_huffman):
            layer = Layer(
                name,
                tuple(tensor.shape),
                tensor.dtype,
                flags=flags | HUFFMAN_WEIGHTS if coded else flags,
                index_bits=index_bits,
                stored=len(stored),
                levels=len(codebook),
                weights=len(weights),
                index=len(index),
            )
            yield layer, codebook.tobytes() + weights + index


def _weight_streams(
    values: np.ndarray, codes: np.ndarray, use_huffman: bool
) -> Iterator[tuple[np.ndarray, bytes, bool]]:
    """The two forms of the stored entries: codebook, stream, and whether that is
    Huffman-coded. First without a codebook, the values themselves.
    """
    yield values[:0], values[codes].tobytes(), False
    used = np.bincount(codes, minlength=len(values)) > 0
    if np.count_nonzero(used) < len(codes):
        codebook, renumbered = values[used], np.cumsum(used) - 1
        stream = smaller_stream(renumbered[codes], len(codebook), use_huffman)
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


def _bytes_in_file(form: tuple[Layer, bytes]) -> int:
    """Bytes of a form: its row in the table and its parts."""
    layer, data = form
    return len(layer.row()) + len(data)


def _tensor(layer: Layer, decoded: Decoded) -> torch.Tensor:
    """The tensor.

    Only for a shape that is the model's: zeros may be of any number.
    """
    flat = np.zeros(math.prod(layer.shape), decoded.values.dtype)
    places = absolute_index(decoded.index) if layer.index_bits else ...
    flat[places] = decoded.values
    order = "F" if layer.flags & BY_COLUMNS else "C"
    signed = flat.view(f"<i{flat.itemsize}").reshape(layer.shape, order=order)
    return torch.from_numpy(signed).view(layer.dtype)


def _entry(layer: Layer, decoded: Decoded) -> Entry:
    """What is told of the tensor."""
    parts = {part: getattr(layer, part) for part in ("weights", "index", "codebook")}
    return Entry(
        name=layer.name,
        shape=layer.shape,
        dtype=layer.dtype,
        kept=int(np.count_nonzero(decoded.values)),
        stored=layer.stored,
        levels=layer.levels,
        index_bits=layer.index_bits,
        parts=parts | {"overhead": len(layer.row())},
        streams={"weights": decoded.codes, "index": decoded.index},
    )


# --- a model ---


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


# --- the account ---


def bytes_by_part(path: str | Path) -> dict[str, int]:
    """The bytes of a file by what they hold: "weights", "index", "codebook" and
    "overhead", the header included. Their sum is the size of the file.

    Args:
        path: a file that `save` wrote.

    Raises:
        ValueError: the file was cut or altered.
    """
    entries = contents(path)
    names = ("weights", "index", "codebook", "overhead")
    parts = {part: sum(entry.parts[part] for entry in entries) for part in names}
    parts["overhead"] += HEADER_BYTES
    return parts


def file_bytes(model: nn.Module) -> int:
    """Size of the file that `save` writes of a model, Huffman-coded; none is left
    behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        return save(model, Path(folder, "model.dc")).stat().st_size
