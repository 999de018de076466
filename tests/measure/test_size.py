"""Size: files of known entropy, and parameters that can be counted."""

import gzip
import math

import numpy as np
import pytest
import torch
import zstandard
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torchao.quantization import Int8WeightOnlyConfig, quantize_
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.measure import file_sizes, nonzeros, parameters, sparsity
from labkit.techniques.adapters import qlora
from labkit.techniques.quantization import packed


def sizes(path, data: bytes) -> dict[str, float]:
    path.write_bytes(data)
    measured = file_sizes(path)
    assert {m.unit for m in measured.values()} == {"bytes"}
    return {name: m.value for name, m in measured.items()}


def test_zeros_compress_to_almost_nothing(tmp_path):
    measured = sizes(tmp_path / "zeros", bytes(1_000_000))
    assert measured["raw"] == 1_000_000
    assert measured["gzip"] < 1100  # Deflate repeats 258 bytes at a time
    assert measured["zstd"] < 100


def test_random_bytes_do_not_compress(tmp_path):
    measured = sizes(tmp_path / "random", np.random.default_rng(0).bytes(100_000))
    assert 100_000 <= measured["gzip"] < 100_100
    assert 100_000 <= measured["zstd"] < 100_100


@pytest.mark.parametrize("p", [0.5, 0.3, 0.1])
def test_two_symbols_compress_to_near_their_entropy(tmp_path, p):
    n = 100_000
    entropy = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))  # bits per symbol
    symbols = np.random.default_rng(0).random(n) < p
    measured = sizes(tmp_path / "symbols", symbols.astype(np.uint8).tobytes())
    bound = n * entropy / 8
    assert 0.98 * bound < measured["zstd"] < 1.6 * bound  # level 12 finds less than level 19
    assert 0.98 * bound < measured["gzip"] < 1.7 * bound


def test_sizes_are_those_of_archives_that_can_be_unpacked(tmp_path):
    data = b"three words again, three words again" * 50
    measured = sizes(tmp_path / "text", data)
    assert measured["gzip"] == len(gzip.compress(data, 6))
    assert measured["zstd"] == len(zstandard.ZstdCompressor(level=19).compress(data))


def test_a_file_that_does_not_exist_has_no_size(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_sizes(tmp_path / "nowhere")


@pytest.fixture
def network():
    """Linear 64 → 32 with bias, whose weights are 0 in the first 16 rows and ±1 elsewhere, and BatchNorm."""
    network = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32))
    with torch.no_grad():
        network[0].weight.copy_(torch.where(torch.arange(32)[:, None] < 16, 0, torch.randn(32, 64).sign()))
        network[0].bias.fill_(0.5)
        network[1].bias.fill_(0.5)
    return network


def test_parameters_are_counted_without_batchnorm_statistics(network):
    count = parameters(network)
    assert (count.value, count.unit) == (64 * 32 + 32 + 2 * 32, "")


def test_exact_zeros_are_counted(network):
    assert nonzeros(network).value == parameters(network).value - 64 * 16
    assert sparsity(network).value == pytest.approx(100 * 64 * 16 / parameters(network).value)
    assert sparsity(network).unit == "%"


def test_a_quantized_weight_counts_as_the_numbers_it_stands_for(network):
    before = parameters(network), nonzeros(network), sparsity(network)
    quantize_(network, Int8WeightOnlyConfig())
    assert type(network[0].weight) is not nn.Parameter  # or this would prove nothing
    assert (parameters(network), nonzeros(network), sparsity(network)) == before


def test_one_compressor_may_be_enough(tmp_path):
    path = tmp_path / "zeros"
    path.write_bytes(bytes(1000))
    assert file_sizes(path, "zstd") == {name: file_sizes(path)[name] for name in ("raw", "zstd")}


# --- weights in wrappers ---


@pytest.mark.parametrize("double", [False, True])
def test_a_weight_in_four_bits_counts_as_the_numbers_it_stands_for(double):
    sizes = dict(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
    model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=64)).eval()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[:32] = 0
    small = qlora.quantized(model, "nf4", double)
    assert parameters(small) == parameters(model)
    assert sparsity(small).value >= sparsity(model).value > 1


def test_a_weight_on_a_grid_counts_as_the_numbers_it_stands_for(network):
    before = parameters(network), nonzeros(network), sparsity(network)
    packed.hold_packed_(network[0], packed.Int8())
    assert (parameters(network), nonzeros(network), sparsity(network)) == before
    parametrize.register_parametrization(network[0], "weight", packed.LowRank(network[0].weight, 2))
    assert parameters(network) == before[0]


def test_what_pytorch_masks_is_zero(network):
    torch_prune.l1_unstructured(network[0], "bias", 0.5)
    torch_prune.random_unstructured(network[0], "weight", 0.75)
    masked = parameters(network), nonzeros(network)
    torch_prune.remove(network[0], "weight")
    torch_prune.remove(network[0], "bias")
    assert (parameters(network), nonzeros(network)) == masked


def test_a_weight_that_two_layers_share_counts_once():
    tied = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tied[1].weight = tied[0].weight
    assert parameters(tied).value == 64


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.ReLU(), "ReLU has no parameters"), (nn.Linear(2, 2, device="meta"), 'weights on the device "meta"')],
)
def test_a_share_of_nothing_is_an_error(model, message):
    with pytest.raises(ValueError, match=message):
        sparsity(model)
