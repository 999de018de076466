"""INT8: the grid and its error, PyTorch's own kernels on the same scales, and graphs that survive their file."""

import copy
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.nn.utils import prune as torch_prune

from labkit.techniques.quantization import int8
from labkit.techniques.quantization.int8 import (
    Compiled,
    compile_frozen,
    dynamically_quantized,
    exported,
    int8_state,
    load_int8,
    statically_quantized,
)
from labkit.techniques.quantization.rounding import dequantize, quantize_tensor
from labkit.techniques.storage.safetensors import load_weights, save_weights

NUMBERS = st.floats(-(2.0**120), 2.0**120, width=32, allow_subnormal=False)
HALF = 0.5 + 1e-4  # half a step, and what float32 rounds off in the division


def tensors(min_dims: int):
    shapes = npst.array_shapes(min_dims=min_dims, max_dims=4, max_side=4)
    return npst.arrays("float32", shapes, elements=NUMBERS).map(torch.from_numpy)


def steps_off(x: torch.Tensor, q: torch.Tensor, scale: torch.Tensor) -> float:
    """The largest error, in steps."""
    return (x.double() / scale.double() - q.double()).abs().max().item()


# The arithmetic


@settings(deadline=None)
@given(tensors(min_dims=0))
def test_the_error_is_at_most_half_a_step(x):
    q, scale = quantize_tensor(x)
    assert (q.dtype, q.shape) == (torch.int8, x.shape)
    assert (scale.dtype, scale.numel()) == (torch.float32, 1)
    assert q.abs().max() <= 127
    assert steps_off(x, q, scale) <= HALF


@settings(deadline=None)
@given(tensors(min_dims=2), st.data())
def test_every_channel_has_a_scale_of_its_own(x, data):
    axis = data.draw(st.integers(-x.dim(), x.dim() - 1))
    q, scale = quantize_tensor(x, axis)
    assert scale.shape == torch.Size(n if d == axis % x.dim() else 1 for d, n in enumerate(x.shape))
    for i in range(x.shape[axis]):
        alone, step = quantize_tensor(x.select(axis, i))
        assert torch.equal(q.select(axis, i), alone)
        assert scale.select(axis, i).item() == step.item()


@settings(deadline=None)
@given(tensors(min_dims=1))
def test_zero_stays_zero_and_the_sign_stays(x):
    x[..., 0] = 0
    q, scale = quantize_tensor(x)
    assert not q[..., 0].any() and not dequantize(q, scale)[..., 0].any()
    negative, same_scale = quantize_tensor(-x)
    assert torch.equal(negative, -q) and torch.equal(same_scale, scale)


def test_the_largest_number_is_127_steps():
    assert quantize_tensor(torch.tensor([0.5, -1.27, 1.0]))[0].tolist() == [50, -127, 100]
    assert quantize_tensor(torch.full((2, 2), -3.0))[0].tolist() == [[-127, -127], [-127, -127]]


def test_a_tensor_of_zeros_has_a_scale_too():
    q, scale = quantize_tensor(torch.zeros(3, 2), axis=0)
    assert not q.any()
    assert (scale > 0).all() and scale.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scales_of_half_precision_are_float32(dtype):
    x = torch.tensor([[1.0, -2.0], [0.0, 0.0]], dtype=dtype)
    q, scale = quantize_tensor(x, axis=0)
    assert q.tolist() == [[64, -127], [0, 0]]
    assert scale.dtype == torch.float32 and (scale > 0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_pytorch_gives_the_same_numbers_on_these_scales(axis):
    x = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    q, scale = quantize_tensor(x, axis)
    zeros = torch.zeros(x.shape[axis], dtype=torch.int32)
    imitated = torch.fake_quantize_per_channel_affine(x, scale.flatten(), zeros, axis, -127, 127)
    torch.testing.assert_close(dequantize(q, scale), imitated, rtol=1e-6, atol=0)


def assert_pytorch_grid(q: torch.Tensor, scale: torch.Tensor, weight: torch.Tensor) -> None:
    """PyTorch's tools put the largest weight at 127.5 steps, not 127, and use -128 as well.

    Their steps are 127 / 127.5 of ours, their integers ours or one further from zero; the error is half a step in both.
    """
    ours, step = quantize_tensor(weight, axis=0)
    torch.testing.assert_close(scale.flatten(), step.flatten() * 127 / 127.5)
    assert ((q.int() - ours.int()) * ours.sign() >= 0).all() and (q.int() - ours.int()).abs().max() <= 1
    assert steps_off(weight, q, scale.view_as(step)) <= HALF


@torch.no_grad()
def outputs(model, x: torch.Tensor) -> torch.Tensor:
    return model(x)


def assert_near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Within three hundredths of the largest output, and not the float32 network itself."""
    assert 0 < (actual - expected).abs().max() < 0.03 * expected.abs().max()


# Dynamic INT8


def test_dynamic_int8_quantizes_linear_layers_and_leaves_the_rest():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 6))
    before, weight = model[0].weight.clone(), model[2].weight.detach().clone()
    quantized, x = dynamically_quantized(model), torch.randn(8, 3, 4, 4)
    assert_pytorch_grid(quantized[2].weight.qdata, quantized[2].weight.scale, weight)
    assert type(quantized[0].weight) is nn.Parameter and torch.equal(quantized[0].weight, before)
    assert type(model[2].weight) is nn.Parameter and torch.equal(model[2].weight, weight)
    assert_near(outputs(quantized, x), outputs(model, x))


# Static INT8


class Net(nn.Module):
    def __init__(self, channels: int = 32):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, channels, 3, bias=False), nn.BatchNorm2d(channels)
        self.second, self.head = nn.Conv2d(channels, channels, 3), nn.Linear(channels, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        return self.head(self.second(x).relu().mean((2, 3)))


class Shallow(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def batches() -> list[torch.Tensor]:
    return list(torch.randn(3, 8, 3, 6, 6, generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    for statistic in (net.norm.running_mean, net.norm.running_var, net.norm.weight.data, net.norm.bias.data):
        statistic.uniform_(0.5, 2)
    return net


@pytest.fixture(scope="module")
def graph(net, batches) -> torch.fx.GraphModule:
    return statically_quantized(net, iter(batches))


@pytest.fixture(scope="module")
def state(graph) -> dict[str, torch.Tensor]:
    return int8_state(graph)


def integers(state: dict[str, torch.Tensor], layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    return state[f"_frozen_param{layer}"], state[f"_scale_{layer}"]


def test_static_int8_gives_nearly_the_outputs_of_float32(net, graph, batches):
    assert_near(outputs(graph, batches[0]), outputs(net, batches[0]))


@pytest.mark.parametrize("size", [1, 7, 16])
def test_static_int8_takes_any_batch_size(net, graph, batches, size):
    x = torch.cat(batches)[:size]
    assert_near(outputs(graph, x), outputs(net, x))


def test_static_int8_folds_batchnorm_and_quantizes_every_channel_of_what_results(net, graph, state):
    factor = net.norm.weight / (net.norm.running_var + net.norm.eps).sqrt()
    folded = (net.first.weight * factor.view(-1, 1, 1, 1)).detach()
    assert_pytorch_grid(*integers(state, 0), folded)
    assert_pytorch_grid(*integers(state, 1), net.second.weight.detach())
    assert_pytorch_grid(*integers(state, 2), net.head.weight.detach())
    torch.testing.assert_close(state["first.weight_bias"], (net.norm.bias - net.norm.running_mean * factor).detach())
    assert not any("batch_norm" in str(node.target) for node in graph.graph.nodes)


def test_static_int8_keeps_no_float32_weight_and_the_file_shrinks(net, state, tmp_path):
    assert max(tensor.dim() for tensor in state.values() if tensor.is_floating_point()) == 1  # scales and biases
    small, large = (save_weights(s, tmp_path / "weights").stat().st_size for s in (state, net.state_dict()))
    assert large > 3 * small


def test_every_calibration_batch_counts(net, batches):
    [narrow, wide] = [int8_state(statically_quantized(net, [batches[0], factor * batches[1]])) for factor in (1, 4)]
    assert wide["activation.scale"][0] > 2 * narrow["activation.scale"][0]


@pytest.mark.parametrize("sizes", [[], [1], [1, 8]])
def test_static_int8_needs_a_batch_of_two(net, sizes):
    with pytest.raises(ValueError, match="two inputs or more"):
        statically_quantized(net, [torch.zeros(n, 3, 6, 6) for n in sizes])


def test_a_model_of_which_nothing_was_quantized_is_an_error():
    with pytest.raises(ValueError, match="quantized no weight.*Conv2d or Linear"):
        statically_quantized(nn.Sequential(nn.ReLU()).eval(), [torch.zeros(2, 3)])


def test_the_file_gives_the_same_outputs_again(graph, state, batches, tmp_path):
    again = load_int8(
        load_weights(save_weights(state, tmp_path / "weights.zst")), Net().eval(), torch.zeros(2, 3, 6, 6)
    )
    assert torch.equal(outputs(again, batches[2]), outputs(graph, batches[2]))


def test_the_file_can_be_read_into_the_graph_of_another_network(state, graph, batches):
    other = statically_quantized(Net().eval(), batches)
    before = outputs(other, batches[2])
    assert torch.equal(outputs(load_int8(state, other), batches[2]), outputs(graph, batches[2]))
    assert torch.equal(outputs(other, batches[2]), before)


def test_a_graph_serves_all_networks_of_its_architecture(net, graph, batches):
    shared = exported(Net().eval(), batches[0])
    for _ in range(2):
        again = statically_quantized(net, iter(batches), shared)
        assert torch.equal(outputs(again, batches[2]), outputs(graph, batches[2]))


@pytest.mark.parametrize("vnni, highest", [(True, 255), (False, 127)])
def test_a_file_keeps_its_range_on_a_cpu_that_has_another(net, batches, monkeypatch, vnni, highest):
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    graph = statically_quantized(net, batches)
    state = int8_state(graph)
    assert set(state["activation.highest"].tolist()) == {highest}
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: not vnni)
    assert torch.equal(outputs(load_int8(state, net, batches[0]), batches[2]), outputs(graph, batches[2]))


def test_quantizing_and_loading_leave_the_model_as_it_was(net, state, batches):
    before = copy.deepcopy(net.state_dict())
    other = load_int8({name: tensor + 1 for name, tensor in state.items()}, net, batches[0])
    for bias in other.buffers():
        bias.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    "model, missing, message",
    [
        (Shallow(), None, "the state has 6 activation ranges, this architecture needs 2"),
        (Net(channels=16), None, "does not fit this architecture.*size mismatch"),
        (Net(), "head.bias", "does not fit this architecture.*Missing"),
        (Net(), "activation.scale", "the state has 0 activation ranges, this architecture needs 6"),
        (Net(), "activation.zero_point", "activation ranges"),
    ],
)
def test_a_state_that_does_not_fit_is_an_error(state, batches, model, missing, message):
    state = {name: tensor for name, tensor in state.items() if name != missing}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        load_int8(state, model.eval(), batches[0])


# Compiling


def test_a_compiled_graph_computes_in_integers_and_gives_the_same_outputs(graph, batches):
    """The only graph that these tests really compile: 15 s, and 2 s when the compiler finds it in its cache."""
    model, x = copy.deepcopy(graph), batches[0]
    run, code = run_and_get_code(lambda: compile_frozen(model, x))
    expected = outputs(model, x)
    torch.testing.assert_close(run(x), expected, rtol=0, atol=1e-3)
    assert ("onednn.qconv" in code[0]) == torch.backends.mkldnn.is_available()

    model.head.bias.data += 1  # the weights were read before
    torch.testing.assert_close(run(x), expected, rtol=0, atol=1e-3)

    for other in (x[:4], x.contiguous(memory_format=torch.channels_last)):
        with pytest.raises(ValueError, match=r"compiled for inputs \(8, 3, 6, 6\) with strides \(108, 36, 6, 1\)"):
            run(other)


def test_a_program_that_an_export_threw_away_is_not_timed_in_floats(monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    model, x = Shallow().eval(), torch.randn(2, 3, 4, 4)
    run = compile_frozen(model, x)
    torch.testing.assert_close(run(x), outputs(model, x))
    exported(Shallow().eval(), x)
    with pytest.raises(RuntimeError, match="export all graphs first, then compile"):
        run(x)


def test_more_than_eight_models_of_one_class_are_compiled(monkeypatch):
    compiled = []

    def backend(module, inputs):
        compiled.append(module)
        return module.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    models, x = [Shallow().eval() for _ in range(12)], torch.randn(2, 3, 4, 4)
    runs = [compile_frozen(model, x) for model in models]
    assert all(torch.equal(run(x), outputs(model, x)) for run, model in zip(runs, models))
    assert len(compiled) == 12


def test_a_model_is_compiled_once_for_each_number_of_inputs(monkeypatch):
    made = []
    monkeypatch.setattr(int8, "compile_frozen", lambda model, x: made.append((model, len(x))) or len(made))
    compiled = Compiled({"FP32": "a"}, torch.zeros(9, 2))
    compiled.models["INT8"] = "b"
    assert [compiled(*key) for key in (("FP32", 1), ("FP32", 4), ("FP32", 1), ("INT8", 1))] == [1, 2, 1, 3]
    assert made == [("a", 1), ("a", 4), ("b", 1)]


# --- what cannot be rounded ---


@pytest.mark.parametrize("axis", [0, -1])
def test_every_number_of_a_row_has_a_scale_of_its_own(axis):
    x = torch.tensor([1.0, 100.0, 0.1])
    q, scale = quantize_tensor(x, axis)
    torch.testing.assert_close(dequantize(q, scale), x)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("axis", [None, 0])
def test_numbers_that_float32_does_not_hold_are_an_error(number, axis):
    x = torch.ones(2, 64, dtype=torch.float64)
    x[0, 0] = number
    with pytest.raises(ValueError, match="1 of . largest numbers are not finite"):
        quantize_tensor(x, axis)


@pytest.mark.parametrize(("shape", "axis"), [((0,), None), ((0, 3), 1), ((), 0), ((2, 3), 2), ((2, 3), -3)])
def test_no_numbers_and_no_such_axis_are_an_error(shape, axis):
    with pytest.raises(ValueError, match="has no numbers, or no axis"):
        quantize_tensor(torch.ones(shape), axis)


def test_a_network_in_train_mode_becomes_the_graph_of_its_eval_mode(net, batches):
    model = nn.Sequential(copy.deepcopy(net), nn.Dropout(0.5)).train()
    graph = statically_quantized(model, batches)
    assert torch.equal(outputs(graph, batches[0]), outputs(graph, batches[0]))
    assert model.training and model[1].training


def masked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 2))
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    model(torch.ones(1, 4))
    return model


def spoiled() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 2))
    model[0].weight.data[0, 0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(3, 4, 3), "Conv2d has no Linear layer to quantize"),
        (masked(), r"torch.nn.utils.prune masks the weight of 0: .* torch.nn.utils.prune.remove\(module, 'weight'\)"),
        (spoiled(), "1 of 8 weights of 0 are not finite"),
        (dynamically_quantized(nn.Sequential(nn.Linear(4, 2))), "weight of 0 is quantized"),
    ],
    ids=["no layer", "masked", "NaN", "quantized"],
)
def test_what_cannot_be_quantized_dynamically_is_an_error(model, message):
    with pytest.raises(ValueError, match=message):
        dynamically_quantized(model)


@pytest.mark.parametrize(("model", "message"), [(masked(), "masks the weight"), (spoiled(), "0.weight are not finite")])
def test_what_cannot_be_quantized_statically_is_an_error(model, message):
    with pytest.raises(ValueError, match=message):
        statically_quantized(model, [torch.ones(2, 4)])


def test_a_batch_that_is_not_finite_is_an_error(net, batches):
    with pytest.raises(ValueError, match="numbers of a batch are not finite"):
        statically_quantized(net, [batches[0], batches[1] / 0])


def test_a_network_in_train_mode_is_not_compiled():
    with pytest.raises(ValueError, match="is in train mode"):
        compile_frozen(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), torch.ones(2, 2))
