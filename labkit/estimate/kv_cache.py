"""The cache of keys and values of a language model, in bytes."""

from __future__ import annotations

from typing import Any

from labkit.estimate.training_memory import DTYPES, Architecture, Dtype, one_of


def kv_cache_bytes(config: Any, batch: int, length: int, dtype: Dtype = "bf16") -> int:
    """Bytes of the keys and values that generation keeps, for every layer and token.

    Args:
        config: of a language model of transformers.
        batch: sequences.
        length: tokens of each.
        dtype: in which keys and values are held.

    Raises:
        ValueError: the type is unknown.
    """
    s = Architecture(config)
    return 2 * s.layers * s.keys * batch * length * DTYPES[one_of(dtype, DTYPES)]
