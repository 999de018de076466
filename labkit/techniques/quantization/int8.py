"""INT8 quantization: the arithmetic, and the two ways PyTorch applies it to a network.

Sources: affine quantization, Jacob et al. 2018 (arXiv:1712.05877); per-channel weights,
Krishnamoorthi 2018 (arXiv:1806.08342); torchao's `quantize_` and PT2E flow with the x86
Inductor quantizer.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable

import torch
from torch import nn

from labkit import checks


def dynamically_quantized(model: nn.Module) -> nn.Module:
    """A copy whose Linear layers hold INT8 weights and quantize every input anew.

    Convolutions stay float32: dynamic quantization does not know them.

    Raises:
        ValueError: it has no Linear layer, weights are not finite, a library holds
            them as integers, or it cannot be copied.
    """
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    if not linear:
        raise ValueError(f"{type(model).__name__} has no Linear layer to quantize")
    for name, layer in linear.items():
        checks.finite(checks.plain(layer.weight, name), f"weights of {name}")
    model = checks.copied(model)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    left = [n for n in linear if type(model.get_submodule(n).weight) is nn.Parameter]
    if left:
        raise ValueError(f"torchao left {', '.join(left)} as it was")
    return model


def exported(model: nn.Module, example: torch.Tensor) -> torch.fx.GraphModule:
    """The model's graph, for any batch size: slow once, for all networks of this
    architecture.

    Args:
        model: is left as it is; the graph computes as it does in eval mode.
        example: a batch of two inputs or more: a size of 1 would be fixed.

    Raises:
        ValueError: the example is of one input, or the model cannot be copied.
    """
    _check_calibration(example)
    batch = torch.export.Dim("batch", min=1, max=65536)
    # Strict: only Dynamo notes which module a node comes from (`source_fn_stack`), by
    # which the quantizer of older versions of torch finds its layers.
    return torch.export.export(
        # In train mode dropout would stay in the graph, which has no eval().
        checks.copied(model).eval(),
        (example,),
        dynamic_shapes=({0: batch},),
        strict=True,
    ).module()


def _check_calibration(first: torch.Tensor) -> None:
    if len(first) < 2:
        raise ValueError(
            "calibration needs batches of two inputs or more, the first has "
            f"{len(first)}"
        )


def statically_quantized(
    model: nn.Module,
    calibration: Iterable[torch.Tensor],
    graph: torch.fx.GraphModule | None = None,
) -> torch.fx.GraphModule:
    """A copy with INT8 weights and activations in convolutions and Linear layers.

    The model is exported to a graph (for any batch size), BatchNorm is folded into the
    convolutions, observers record the range of every activation while the calibration
    batches pass through, and the graph is rewritten with quantize and dequantize nodes.
    Run as it is, that graph imitates INT8 in float32, slowly; compiled by
    `compile_frozen`, the nodes fuse into integer kernels.

    Args:
        model: is left as it is; the graph computes as it does in eval mode.
        calibration: batches (N, C, H, W).
        graph: `exported` from a model of the same architecture, whose weights do not
            matter; None exports this one.

    Raises:
        ValueError: there is no batch, or the first is of one input: a size of 1 would
            be fixed at export; numbers are not finite; the graph is of another
            architecture; or nothing was quantized.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    calibration = iter(calibration)
    _check_calibration(first := next(calibration, ()))
    for name, tensor in checks.unmasked(model).state_dict().items():
        checks.finite(tensor, f"numbers of {name}")
    if graph is None:
        graph = exported(model, first)
    else:
        graph, state = copy.deepcopy(graph), model.state_dict()
        # A graph for inference has no count of BatchNorm's batches.
        known = graph.state_dict().keys()
        if missing := known - state.keys():
            raise ValueError(f"the graph has {min(missing)}, and the model does not")
        graph.load_state_dict({name: state[name] for name in state if name in known})
    # Without VNNI a CPU adds two products of 8 bits in 16, which overflow; with inputs
    # of 7 bits they do not.
    quantizer = x86.X86InductorQuantizer().set_global(
        x86.get_default_x86_inductor_quantization_config(
            reduce_range=not torch.cpu._is_vnni_supported()
        )
    )
    graph = prepare_pt2e(graph, quantizer)
    with torch.no_grad():
        for x in (first, *calibration):
            graph(checks.finite(x, "numbers of a batch"))
    graph = convert_pt2e(graph)
    scales = torch.tensor([node.args[1] for node in _activation_nodes(graph)])
    checks.finite(scales, "ranges of activations")
    graph = _without_unused_weights(graph)
    # Versions of torch and torchao that do not belong together leave the weights
    # float32.
    if not any(t.dtype == torch.int8 for t in graph.state_dict().values()):
        raise ValueError(
            "torchao quantized no weight of this model: it needs a Conv2d or Linear "
            "layer, and the versions of torch and torchao in constraints.txt"
        )
    return graph


def _without_unused_weights(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    # The conversion leaves the float32 weights beside their INT8 copies: the file would
    # grow, not shrink.
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    tensors = [
        name
        for name, _ in [*graph.named_parameters(), *graph.named_buffers()]
        if name not in used
    ]
    for name in tensors:
        owner, _, leaf = name.rpartition(".")
        delattr(operator.attrgetter(owner)(graph) if owner else graph, leaf)
    return graph


def _activation_nodes(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    names = ("quantize_per_tensor.default", "dequantize_per_tensor.default")
    return [
        n
        for n in graph.graph.nodes
        if n.op == "call_function" and str(n.target).endswith(names)
    ]


def int8_state(graph: torch.fx.GraphModule) -> dict[str, torch.Tensor]:
    """Everything that a graph of `statically_quantized` knows, as tensors.

    Weights, scales, biases, activation ranges.
    """
    nodes = _activation_nodes(graph)
    return {
        **graph.state_dict(),
        "activation.scale": torch.tensor(
            [n.args[1] for n in nodes], dtype=torch.float64
        ),
        "activation.zero_point": torch.tensor(
            [n.args[2] for n in nodes], dtype=torch.int64
        ),
        "activation.highest": torch.tensor(
            [n.args[4] for n in nodes], dtype=torch.uint8
        ),
    }


def load_int8(
    state: dict[str, torch.Tensor],
    model: nn.Module,
    example: torch.Tensor | None = None,
) -> torch.fx.GraphModule:
    """The graph that `int8_state` described, with its ranges: one of 8 bits, made on a
    CPU with VNNI, overflows when it is compiled on one without.

    Args:
        state: as `int8_state` gave it.
        model: gives the architecture, or is a graph of `statically_quantized` that has
            it; its weights are not used.
        example: one input batch, which a graph does without.

    Raises:
        ValueError: the state is of another architecture.
    """
    if isinstance(model, torch.fx.GraphModule):
        graph = copy.deepcopy(model)
    else:
        graph = statically_quantized(model, [] if example is None else [example])
    weights = dict(state)
    ranges = [
        weights.pop(f"activation.{name}", torch.empty(0)).tolist()
        for name in ("scale", "zero_point", "highest")
    ]
    nodes = _activation_nodes(graph)
    if any(len(values) != len(nodes) for values in ranges):
        raise ValueError(
            f"the state has {min(map(len, ranges))} activation ranges, this "
            f"architecture needs {len(nodes)}"
        )
    try:
        graph.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the state does not fit this architecture: {error}"
        ) from error
    for node, scale, zero_point, highest in zip(nodes, *ranges):
        node.args = (node.args[0], scale, zero_point, 0, highest, *node.args[5:])
    graph.recompile()
    return graph


def compile_frozen(
    model: nn.Module, example: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile for inference on inputs of one shape, with the weights frozen into the
    program: slow once, then fast.

    Freezing lets the compiler fold constants and pack weights: for a graph of
    `statically_quantized` it is what turns quantize, float convolution, dequantize into
    one integer convolution. The same treatment for FP32 and INT8 keeps their comparison
    fair. The weights are read now: later changes to the model have no effect.

    Args:
        model: in eval mode.
        example: one input batch.

    Raises:
        ValueError: the model is in train mode.

    Returns:
        What computes as the model. It raises ValueError for an input of another shape
        or memory layout, and RuntimeError where the program is gone: `torch.export`
        throws away what was compiled before it.
    """
    import torch._dynamo.config as dynamo
    import torch._inductor.config as inductor
    from torch._dynamo.utils import counters

    checks.evaluating(model)
    compiled = torch.compile(model, dynamic=False)

    @torch.no_grad()
    def run(x: torch.Tensor) -> torch.Tensor:
        # Another one would be compiled again, without freezing, or not at all, and
        # nobody would notice but the clock.
        if (x.shape, x.stride()) != (example.shape, example.stride()):
            raise ValueError(
                f"compiled for inputs {tuple(example.shape)} with strides "
                f"{example.stride()}, "
                f"called with {tuple(x.shape)} and strides {x.stride()}"
            )
        before = counters["stats"]["unique_graphs"]
        y = compiled(x)
        # Compiled again, and not frozen: an INT8 graph would compute in floats, slower.
        if counters["stats"]["unique_graphs"] != before:
            raise RuntimeError(
                "the compiled program was thrown away (torch.export does so): export "
                "all graphs first, then compile"
            )
        return y

    # Models of one class share one `forward`; past eight of them the compiler would
    # silently give up.
    patches = inductor.patch(freezing=True), dynamo.patch(recompile_limit=64)
    with torch.no_grad(), patches[0], patches[1]:
        compiled(example)
    return run


class Compiled:
    """Models compiled by `compile_frozen`, each once for a number of inputs: that takes
    far longer than running them.

    Args:
        models: by name; more may be added later.
        inputs: (N, C, H, W), of which a compiled model gets the first as its example.
    """

    def __init__(self, models: dict[str, nn.Module], inputs: torch.Tensor):
        self.models, self.inputs = models, inputs
        self._made: dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]] = {}

    def __call__(self, name: str, batch: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """The model of that name, for so many inputs at once."""
        if (name, batch) not in self._made:
            example = self.inputs[:batch]
            self._made[name, batch] = compile_frozen(self.models[name], example)
        return self._made[name, batch]
