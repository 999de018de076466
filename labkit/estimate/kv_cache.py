"""The cache of keys and values of a language model, in bytes."""

from __future__ import annotations

from typing import Any

from labkit.estimate.training_memory import DTYPES, Architecture, Dtype, one_of


def kv_cache_bytes(config: Any, batch: int, length: int, dtype: Dtype = "bf16") -> int:
    """Bytes of the keys and values that generation keeps, for every layer and token."""
    s = Architecture(config)
    return 2 * s.layers * s.keys * batch * length * DTYPES[one_of(dtype, DTYPES)]
