"""Size: files of known entropy, and parameters that can be counted."""

import gzip
import math

import numpy as np
import pytest
import torch
import zstandard
from torch import nn
from torchao.quantization import Int8WeightOnlyConfig, quantize_

from labkit.measure import file_sizes, nonzeros, parameters, sparsity


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
