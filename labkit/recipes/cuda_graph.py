"""A function of tensors as a CUDA graph: one launch instead of thousands."""

from __future__ import annotations

from collections.abc import Callable

import torch

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


class CudaGraph:
    """`function`, recorded once on a GPU and then replayed.

    Small networks leave a large GPU waiting for the next launch. Inputs are copied to where the recording found them;
    outputs are overwritten by the next call. What the function changes in place, such as weights, changes at every
    replay, and three times more before the recording. On a CPU, where there is nothing to record, the function is
    called.

    Args:
        function: takes and returns tensors, always of the same shapes.
        inputs: tensors to record with.
    """

    def __init__(self, function: Function, inputs: tuple[torch.Tensor, ...]) -> None:
        self.function = function
        self.inputs = [tensor.clone() for tensor in inputs]
        self.graph = torch.cuda.CUDAGraph() if inputs[0].is_cuda else None
        if self.graph is None:
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Compilers compile, libraries choose algorithms, optimizers make their state: none of it can be recorded.
            for _ in range(3):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self.graph):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        if self.graph is None:
            return self.function(*self.inputs)
        self.graph.replay()
        return self.outputs
