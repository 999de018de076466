"""Memory: the peak of a call, and what one training step has to keep, by part."""

import threading
from collections.abc import Callable

import psutil
import torch
from torch import nn

from labkit import checks
from labkit.measure.measurement import Measurement


def peak_memory(function: Callable[[], object]) -> Measurement:
    """Bytes by which memory grows at most while `function()` runs.

    With a GPU: the peak of PyTorch's allocator, exact. Without: the resident memory of the
    process, read a thousand times a second; memory that the process already holds and uses
    again does not show, so this is a lower bound.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        function()
        return Measurement.exact(torch.cuda.max_memory_allocated() - start, "bytes")

    process, done = psutil.Process(), threading.Event()
    start = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        function()
        peak = max(peak, process.memory_info().rss)
    finally:
        done.set()
        thread.join()
    return Measurement.exact(peak - start, "bytes")


def training_memory(
    model: nn.Module, loss: Callable[[], torch.Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Measurement]:
    """Bytes that one training step keeps, by part: weights, activations, gradients, optimizer state.

    Activations are all tensors that autograd saves for the backward pass and that are neither parameters nor buffers; a
    storage that is saved twice counts once. The count is exact and the same on every device. The step is really taken:
    model and optimizer are changed by it.

    Args:
        model: what is trained.
        loss: runs the forward pass and returns the scalar to minimise.
        optimizer: of the model's parameters.

    Raises:
        ValueError: the loss is not finite, or depends on nothing that can be trained. No step is taken then.

    >>> model = nn.Linear(10, 1, bias=False)
    >>> adam, x = torch.optim.Adam(model.parameters()), torch.ones(4, 10)
    >>> print(training_memory(model, lambda: model(x).mean(), adam)["gradients"])
    40.0 bytes
    """
    kept = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: dict[int, torch.UntypedStorage] = {}

    def remember(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in kept:
            saved[storage.data_ptr()] = storage  # held, so that its address is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        value = loss()
    checks.finite(value, "losses")
    if not value.requires_grad:
        raise ValueError("the loss depends on nothing that can be trained: every parameter is frozen, or gradients off")
    activations = sum(storage.nbytes() for storage in saved.values())
    optimizer.zero_grad()
    value.backward()
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    optimizer.step()
    state = sum(t.nbytes for s in optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor))
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    parts = {"weights": weights, "activations": activations, "gradients": gradients, "optimizer state": state}
    return {name: Measurement.exact(size, "bytes") for name, size in parts.items()}
