"""On which kind of operation a call spends its time: PyTorch's profiler, summed by the names of operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from labkit.measure.latency import quartiles
from labkit.measure.measurement import Measurement

# An operation is of the first kind of which a part is in its name.
KINDS = {
    "convolution": ("convolution",),
    "linear layers": ("addmm", "::mm", "::linear", "::bmm"),
    "attention": ("attention", "softmax"),
    "norms": ("norm",),
    "activations and sums": ("silu", "gelu", "::add", "::mul"),
}
REST = "the rest"


def time_by_kind(
    call: Callable[[], object], on_gpu: bool = False, runs: int = 10, kinds: Mapping[str, Sequence[str]] = KINDS
) -> dict[str, Measurement]:
    """Share of a call's time, in percent, by kind of operation: the median of several calls, with quartiles.

    Args:
        call: is called once more than `runs`, without gradients; the first time allocates and does not count.
        on_gpu: whether the GPU's time is meant, and not the CPU's.
        runs: calls.
        kinds: name of a kind → parts of the names of its operations.

    Raises:
        ValueError: there are no runs, or the call does nothing that the profiler sees.

    >>> layer = torch.nn.Linear(64, 64)
    >>> shares = time_by_kind(lambda: layer(torch.ones(8, 64)), runs=2)
    >>> shares["linear layers"].unit, shares["convolution"].value
    ('%', 0.0)
    """
    if runs < 1:
        raise ValueError(f"{runs} runs have no median")
    each = [_spent(call, on_gpu, kinds) for _ in range(runs + 1)][1:]
    return {kind: quartiles(np.array([shares[kind] for shares in each]), "%") for kind in each[0]}


def _spent(call: Callable[[], object], on_gpu: bool, kinds: Mapping[str, Sequence[str]]) -> dict[str, float]:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with torch.no_grad(), profile(activities=activities) as profiled:
        call()
    shares = dict.fromkeys([*kinds, REST], 0.0)
    for event in profiled.key_averages():
        name = event.key.lower()
        kind = next((k for k, parts in kinds.items() if any(part in name for part in parts)), REST)
        shares[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(shares.values())
    if not total:
        raise ValueError(f"the profiler saw no operation{' on the GPU' if on_gpu else ''}: does the call compute?")
    return {kind: 100 * took / total for kind, took in shares.items()}
