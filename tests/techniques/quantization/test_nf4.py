"""NF4 and FP4: the values, codes and bytes of bitsandbytes on a CPU, and where its codes are not the nearest ones."""

from statistics import NormalDist

import bitsandbytes.functional as bnb
import pytest
import torch
from bitsandbytes.nn import Linear4bit
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.estimate.block_quantization import bits_per_parameter, storage_bytes
from labkit.techniques.quantization.nf4 import (
    OFFSET,
    dequantize_blocks,
    double_dequantize,
    double_quantize,
    dynamic_values,
    fp4_values,
    nf4_values,
    pack_nibbles,
    quantize_blocks,
    unpack_nibbles,
)
from labkit.zoo import fashion_mnist_model

VALUES = {"nf4": nf4_values(), "fp4": fp4_values()}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPES = ((64,), (128, 192), (3, 50), (5, 7), (1, 1), (33,), (4, 6, 3, 3), (1, 16390))  # most are no multiple of 64

formats = pytest.mark.parametrize("format", VALUES)


@pytest.fixture(autouse=True)
def without_compiling():
    """bitsandbytes compiles its way back from rows of odd length, which would take longer than all of these tests."""
    with torch.compiler.set_stance("force_eager"):
        yield


def random_weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def real_weight() -> torch.Tensor:
    return fashion_mnist_model("vgg_9").model.fc2.weight.detach()


def test_the_offset_lies_between_the_middles_of_the_last_of_15_and_of_16_shares():
    assert OFFSET == round((29 / 30 + 31 / 32) / 2, 7) == round(929 / 960, 7)


@formats
def test_the_values_are_those_of_bitsandbytes_to_the_last_bit(format):
    assert torch.equal(VALUES[format], bnb.get_4bit_type(format, device="cpu"))


def test_nf4_are_quantiles_of_the_normal_distribution():
    quantile = NormalDist().inv_cdf
    above = [quantile(0.5 + i / 8 * (OFFSET - 0.5)) / quantile(OFFSET) for i in range(1, 9)]
    below = [quantile(0.5 - i / 7 * (OFFSET - 0.5)) / quantile(OFFSET) for i in range(7, 0, -1)]
    torch.testing.assert_close(nf4_values(), torch.tensor([*below, 0, *above]), rtol=0, atol=1e-6)
    assert nf4_values()[[0, 7, 15]].tolist() == [-1, 0, 1]


def test_fp4_is_e2m1_but_for_its_smallest_number():
    values = fp4_values()
    assert torch.equal(values[8:], -values[:8])
    torch.testing.assert_close(6 * values[:8].msort(), torch.tensor([0, 0.5 / 16, 1, 1.5, 2, 3, 4, 6]))


def test_the_eight_bits_are_those_of_bitsandbytes():
    assert torch.equal(dynamic_values(), bnb.create_dynamic_map())
    assert len(dynamic_values().unique()) == 256


def test_blocks_to_check_in_the_head():
    weight = torch.tensor([[3.0, -4.0, 0.5], [0.0, 8.0, -5.0]])
    codes, absmax = quantize_blocks(weight, torch.tensor([-1.0, 0.0, 1.0]), block=2)
    assert absmax.tolist() == [4, 0.5, 8]
    assert codes.tolist() == [[2, 0, 2], [1, 2, 0]]
    assert dequantize_blocks(codes, absmax, torch.tensor([-1.0, 0.0, 1.0]), block=2).tolist() == [
        [4, -4, 0.5],
        [0, 8, -8],
    ]


@formats
def test_every_weight_takes_the_nearest_value(format):
    weight, values = random_weight(100, 64), VALUES[format]
    codes, absmax = quantize_blocks(weight, values)
    scaled = weight / absmax[:, None]
    nearest = (scaled[..., None] - values).abs().amin(-1)
    torch.testing.assert_close((scaled - values[codes.int()]).abs(), nearest, rtol=0, atol=1e-6)


@formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_codes_constants_and_weights_are_those_of_bitsandbytes(format, dtype, shape):
    assert_equal_to_bitsandbytes(random_weight(*shape).to(dtype), format)


@formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_trained_layer_too(format, dtype):
    assert_equal_to_bitsandbytes(real_weight().to(dtype), format)


@formats
@pytest.mark.parametrize("block", [32, 64, 128, 1024, 4096])
def test_every_block_size_too(format, block):
    assert_equal_to_bitsandbytes(random_weight(90, 100), format, block)


@formats
def test_a_column_view_is_read_row_by_row(format):
    assert_equal_to_bitsandbytes(random_weight(60, 80).t(), format)


def assert_equal_to_bitsandbytes(weight: torch.Tensor, format: str, block: int = 64) -> None:
    packed, state = bnb.quantize_4bit(weight, blocksize=block, quant_type=format)
    codes, absmax = quantize_blocks(weight, VALUES[format], block)
    assert torch.equal(codes, unpack_nibbles(packed, weight.shape))
    assert torch.equal(absmax, state.absmax)
    whole = weight.numel() // 2
    assert torch.equal(
        pack_nibbles(codes)[:whole], packed[:whole, 0]
    )  # of a half-filled byte the rest differs: see below
    ours = dequantize_blocks(codes, absmax, VALUES[format], block).to(weight.dtype)
    theirs = bnb.dequantize_4bit(packed, state)  # a vector comes back as a row
    assert ours.shape == weight.shape and torch.equal(ours, theirs.view(weight.shape))


@formats
def test_the_middle_of_two_values_goes_to_the_lower_one(format):
    ascending = VALUES[format].unique()
    middles = (ascending[:-1] + ascending[1:]) / 2
    weight = torch.cat([middles, torch.ones(64 - len(middles))])
    codes, _ = quantize_blocks(weight, VALUES[format])
    assert torch.equal(VALUES[format][codes.int()][: len(middles)], ascending[:-1])
    assert_equal_to_bitsandbytes(weight, format)


@formats
def test_blocks_of_zeros_stay_zero(format):
    weight = random_weight(4, 64)
    weight[1] = weight[3] = 0
    codes, absmax = quantize_blocks(weight, VALUES[format])
    assert absmax[[1, 3]].tolist() == [0, 0]
    assert (dequantize_blocks(codes, absmax, VALUES[format])[[1, 3]] == 0).all()
    assert_equal_to_bitsandbytes(weight, format)


@formats
@pytest.mark.parametrize("size", [1e-30, 1e-39, 1e-44, 3e38])
def test_the_smallest_and_largest_weights_there_are(format, size):
    weight = random_weight(4, 64).clamp(-1, 1) * size
    _, absmax = quantize_blocks(weight, VALUES[format])
    assert absmax.isfinite().all() and (absmax > 0).all()
    assert_equal_to_bitsandbytes(weight, format)


def test_difference_in_an_incomplete_last_block_bitsandbytes_divides_where_whole_blocks_multiply():
    # On its CPU path only: w / absmax and w * (1 / absmax) round to different sides of the middle of two values.
    weight = torch.tensor([0.14404016733169556, 1.1977869272232056])
    packed, state = bnb.quantize_4bit(weight, quant_type="nf4")
    codes, absmax = quantize_blocks(weight, nf4_values())
    assert torch.equal(absmax, state.absmax)
    assert (unpack_nibbles(packed, (2,)).int() - codes.int()).abs().tolist() == [1, 0]
    scaled = weight[0] / absmax, weight[0] * (1 / absmax)
    assert abs(scaled[0] - scaled[1]) < 1e-7


def test_difference_in_an_incomplete_last_block_of_zeros_bitsandbytes_keeps_a_bound_as_absmax():
    _, state = bnb.quantize_4bit(torch.zeros(65), quant_type="nf4")
    _, absmax = quantize_blocks(torch.zeros(65), nf4_values())
    assert absmax.tolist() == [0, 0] and state.absmax.tolist() == [0, torch.tensor(1e-38).item()]


def test_difference_in_a_half_filled_byte_bitsandbytes_puts_the_code_of_zero():
    packed, _ = bnb.quantize_4bit(torch.ones(1), quant_type="nf4")
    assert packed.item() == 0xF7 and pack_nibbles(torch.tensor([15], dtype=torch.uint8)).item() == 0xF0


def test_the_first_code_is_in_the_upper_half_of_the_byte():
    codes = torch.tensor([[1, 2], [15, 0]], dtype=torch.uint8)
    assert pack_nibbles(codes).tolist() == [0x12, 0xF0]
    assert torch.equal(unpack_nibbles(pack_nibbles(codes), (2, 2)), codes)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 15), max_size=40))
def test_codes_come_back_from_their_bytes(codes):
    codes = torch.tensor(codes, dtype=torch.uint8)
    packed = pack_nibbles(codes)
    assert len(packed) == -(-len(codes) // 2)
    assert torch.equal(unpack_nibbles(packed, codes.shape), codes)


@pytest.mark.parametrize("weight", [random_weight(1100, 64), real_weight()], ids=["random", "real"])
def test_double_quantization_is_that_of_bitsandbytes_but_for_neighbouring_codes(weight):
    packed, state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    codes, absmax = quantize_blocks(weight, nf4_values())
    outer, scales, mean = double_quantize(absmax)
    assert torch.equal(codes, unpack_nibbles(packed, weight.shape))
    assert torch.equal(scales, state.state2.absmax) and torch.equal(mean, state.offset)
    steps = (outer.int() - state.absmax.int()).abs()
    assert steps.max() <= 1 and steps.float().mean() < 0.01
    theirs = double_dequantize(state.absmax, scales, mean)
    assert torch.equal(dequantize_blocks(codes, theirs, nf4_values()), bnb.dequantize_4bit(packed, state))


def test_difference_on_a_cpu_bitsandbytes_looks_its_eight_bits_up_in_a_table_of_65536_steps():
    values = random_weight(256 * 40 + 7, seed=1)
    theirs, state = bnb.quantize_blockwise(values, blocksize=256)
    ours, absmax = quantize_blocks(values, dynamic_values(), 256)
    assert torch.equal(absmax, state.absmax) and not torch.equal(ours, theirs)
    scaled = values * (1 / absmax).repeat_interleave(256)[: len(values)]
    step = ((scaled + 1) * 0.5 * 65535 + 0.5).int()
    on_the_grid = (step.double() / 65535 * 2 - 1).float()
    nearest, _ = quantize_blocks(torch.cat([torch.ones(1), on_the_grid]), dynamic_values(), len(values) + 1)
    assert torch.equal(nearest[1:], theirs)


def test_difference_on_a_cpu_zero_is_none_of_the_eight_bits_of_bitsandbytes():
    values = torch.tensor([0.0, 1.0])
    theirs, state = bnb.quantize_blockwise(values, blocksize=256)
    ours, absmax = quantize_blocks(values, dynamic_values(), 256)
    assert dequantize_blocks(ours, absmax, dynamic_values(), 256).tolist() == [0, 1]
    assert 2e-5 < bnb.dequantize_blockwise(theirs, state)[0] < 3e-5


def test_constants_survive_double_quantization():
    _, absmax = quantize_blocks(random_weight(1100, 64), nf4_values())
    error = double_dequantize(*double_quantize(absmax)) - absmax
    assert error.abs().max() <= 0.0071 * (absmax - absmax.mean()).abs().max()  # half of the widest step, near 1
    assert 0 < error.square().mean().sqrt() < 0.01 * absmax.mean()


def test_weights_of_equal_blocks_survive_double_quantization():
    absmax = torch.full((300,), 0.3)
    assert torch.equal(double_dequantize(*double_quantize(absmax)), absmax)


def test_nf4_is_closer_to_normally_distributed_weights_than_fp4():
    weight = random_weight(1000, 64)
    error = {}
    for format, values in VALUES.items():
        error[format] = (dequantize_blocks(*quantize_blocks(weight, values), values) - weight).square().mean()
    assert error["nf4"] < 0.8 * error["fp4"]


def test_bits_a_parameter():
    assert bits_per_parameter() == 4.5
    assert bits_per_parameter(double=True) == 4 + 8 / 64 + 32 / (64 * 256)
    assert round(bits_per_parameter(double=True), 3) == 4.127
    assert round(bits_per_parameter() - bits_per_parameter(double=True), 3) == 0.373  # as the QLoRA paper says
    assert bits_per_parameter(block=32) == 5


@formats
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("size", [(768, 512), (50, 33), (64, 64), (3, 1)])
def test_bytes_are_those_that_a_layer_of_bitsandbytes_holds(format, double, size):
    layer = Linear4bit(*size, bias=False, quant_type=format, compress_statistics=double).to("cpu")
    state = layer.weight.quant_state
    held = {"codes": layer.weight, "absmax": state.absmax, "values": state.code}
    theirs = {part: tensor.nbytes for part, tensor in held.items()}
    if double:
        theirs |= {"absmax of absmax": state.state2.absmax.nbytes, "mean": state.offset.nbytes}
        theirs["values"] += state.state2.code.nbytes
    assert storage_bytes(size[0] * size[1], double=double) == theirs


@pytest.mark.parametrize("double", [False, True])
def test_the_larger_the_layer_the_closer_are_bytes_and_bits(double):
    excess = [
        8 * sum(storage_bytes(n, double=double).values()) / n - bits_per_parameter(double=double)
        for n in (2**16, 2**24)
    ]
    assert 0 < excess[1] < 0.001 < excess[0] < 0.15


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.uint8, torch.complex64])
def test_weights_of_another_dtype(dtype):
    with pytest.raises(TypeError, match=f"weights are float32, float16 or bfloat16, got {dtype}"):
        quantize_blocks(torch.ones(64, dtype=dtype), nf4_values())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_not_finite(bad, dtype):
    weight = torch.ones(3, 64, dtype=dtype)
    weight[1, :2] = bad
    with pytest.raises(ValueError, match="2 of 192 weights are not finite"):
        quantize_blocks(weight, nf4_values())
    with pytest.raises(ValueError, match="weights are not finite"):
        double_quantize(weight[1].float())


def test_no_weights_or_no_block():
    with pytest.raises(ValueError, match="got 0 weights in blocks of 64"):
        quantize_blocks(torch.ones(0, 8), nf4_values())
    with pytest.raises(ValueError, match="got 8 weights in blocks of 0"):
        quantize_blocks(torch.ones(8), nf4_values(), block=0)


@pytest.mark.parametrize("shape", [(), (1,), (257,), (4, 4)])
def test_values_that_eight_bits_cannot_number(shape):
    with pytest.raises(ValueError, match="values are a row of 2 to 256 numbers"):
        quantize_blocks(torch.ones(8), torch.ones(shape))


def test_codes_and_constants_that_do_not_belong_together():
    codes, absmax = quantize_blocks(random_weight(4, 64), nf4_values())
    for wrong_codes, block in ((pack_nibbles(codes), 64), (codes, 32), (codes[:3], 64)):
        with pytest.raises(ValueError, match=r"need absmax of shape \(\d,\), got \(4,\): are the codes still packed"):
            dequantize_blocks(wrong_codes, absmax, nf4_values(), block)


def test_codes_that_four_bits_cannot_hold():
    for codes in (torch.tensor([16], dtype=torch.uint8), torch.tensor([3])):
        with pytest.raises(ValueError, match="only uint8 codes from 0 to 15"):
            pack_nibbles(codes)


def test_bytes_of_other_codes():
    packed = torch.zeros(8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"codes of shape \(2, 9\) are 9 bytes of uint8, got 8 of torch.uint8"):
        unpack_nibbles(packed, (2, 9))
    with pytest.raises(ValueError, match="are 8 bytes of uint8, got 8 of torch.float32"):
        unpack_nibbles(packed.float(), (2, 8))
