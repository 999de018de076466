"""NF4 and FP4: a weight in four bits, block by block, as bitsandbytes stores it.

Sources: NF4, its blocks and double quantization, QLoRA, Dettmers et al. 2023
(arXiv:2305.14314); the offset of NF4, Yoshida 2023 (arXiv:2306.06965); the 8-bit
dynamic numbers of double quantization, Dettmers 2016 (arXiv:1511.04561).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from labkit import checks

# The quantile of probability 1 is infinite, so NF4 stops short of it: halfway between
# the middles of the last of 15 and of the last of 16 equal shares, 29/30 and 31/32.
# That is 929/960; bitsandbytes' create_normal_map rounds it to seven digits.
OFFSET = 0.9677083


def nf4_values() -> torch.Tensor:
    """The 16 numbers of NF4, ascending from -1 to 1: float32 (16,).

    Quantiles of the standard normal distribution, evenly spaced in probability from 1/2
    to `OFFSET`, divided by the largest: eight above zero, seven below, and zero itself,
    so that a weight of zero stays zero. They lie where weights are dense.

    >>> [round(value, 3) for value in nf4_values()[7:11].tolist()]
    [0.0, 0.08, 0.161, 0.246]
    """

    def quantiles(n: int) -> torch.Tensor:
        # Positions in float32, quantiles in float64: the roundings of bitsandbytes,
        # without which the last digits would differ.
        return torch.special.ndtri(torch.linspace(OFFSET, 0.5, n + 1)[:-1].double())

    values = torch.cat([-quantiles(7), torch.zeros(1), quantiles(8)]).float().msort()
    return values / values.max()


def fp4_values() -> torch.Tensor:
    """The 16 numbers of bitsandbytes' FP4, by code: float32 (16,), from -1 to 1.

    A code is sign, exponent e (two bits) and mantissa m (one bit): m / 16 if e = 0,
    otherwise (1 + m / 2) 2^(4 - e), all divided by 12. There are two zeros. The numbers
    are not in the order of the codes. All but the smallest are those of E2M1 (OCP
    Microscaling Formats 1.0); E2M1's smallest would be 16 times as large.

    >>> [round(value, 3) for value in fp4_values()[:8].tolist()]
    [0.0, 0.005, 0.667, 1.0, 0.333, 0.5, 0.167, 0.25]
    """
    exponent = torch.arange(8) >> 1
    mantissa = torch.arange(8) & 1
    normal = (1 + mantissa / 2) * 2.0 ** (4 - exponent)
    magnitude = torch.where(exponent == 0, mantissa / 16, normal) / 12
    return torch.cat([magnitude, 0 - magnitude])  # 0 - 0 is 0, and -0 would be -0.0


def dynamic_values() -> torch.Tensor:
    """256 numbers from -0.993 to 1 for eight bits, ascending: float32 (256,).

    Seven decades, each with twice as many numbers as the one below it (1, 2, … 64),
    evenly spaced and of either sign; then 0 and 1. The steps shrink with the number,
    and near 1 they are about twice those of INT8.

    >>> dynamic_values()[[0, 127, 255]]
    tensor([-0.9930,  0.0000,  1.0000])
    """
    decades = []
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1)
        decades.append(10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2)
    positive = torch.cat(decades)
    return torch.cat([-positive, positive, torch.tensor([0.0, 1.0])]).msort()


def quantize_blocks(
    weight: torch.Tensor, values: torch.Tensor, block: int = 64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide every block by its largest magnitude and take the nearest of `values`.

    A weight in the middle of two values takes the lower one.

    Args:
        weight: float32, float16 or bfloat16, of any shape.
        values: 2 to 256 numbers in [-1, 1].
        block: weights that follow each other, row by row; the last block may be
            shorter.

    Returns:
        Codes, indices into `values` (uint8, shape of weight), and absmax (float32,
        (blocks,)).

    Raises:
        TypeError: the weights are of another type.
        ValueError: weights are not finite, there are none, or values or block cannot
            be.

    >>> quantize_blocks(torch.tensor([0.5, -2.0, 0.0]), torch.tensor([-1.0, 0.0, 1.0]))
    (tensor([1, 0, 1], dtype=torch.uint8), tensor([2.]))
    """
    _check(weight, values, block)
    flat = weight.detach().flatten().float()
    blocks = F.pad(flat, (0, -len(flat) % block)).view(-1, block)
    absmax = blocks.abs().amax(1)
    # The bound keeps a block of zeros from 0 / 0.
    scaled = blocks * (1 / absmax.clamp(min=1e-38))[:, None]
    ascending, order = values.to(flat.device).sort(stable=True)
    midpoints = (ascending[:-1] + ascending[1:]) / 2
    codes = order.to(torch.uint8)[torch.bucketize(scaled, midpoints, out_int32=True)]
    return codes.flatten()[: len(flat)].view(weight.shape), absmax


def _check(weight: torch.Tensor, values: torch.Tensor, block: int) -> None:
    if weight.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"weights are float32, float16 or bfloat16, got {weight.dtype}")
    if weight.numel() == 0 or block < 1:
        raise ValueError(
            "blocks of one weight or more are needed, got "
            f"{weight.numel()} weights in blocks of {block}"
        )
    if values.dim() != 1 or not 2 <= len(values) <= 256:
        raise ValueError(
            f"values are a row of 2 to 256 numbers, got shape {tuple(values.shape)}"
        )
    checks.finite(values, "values")
    checks.finite(weight, "weights")


def dequantize_blocks(
    codes: torch.Tensor, absmax: torch.Tensor, values: torch.Tensor, block: int = 64
) -> torch.Tensor:
    """The weights that codes and absmax stand for.

    Args:
        codes: uint8, of any shape.
        absmax: (blocks,).
        values: that the codes index.
        block: as it was given to `quantize_blocks`.

    Returns:
        float32, shape of codes.

    Raises:
        ValueError: absmax is not one number for each block of the codes, or a code
            is none of a value.

    >>> codes = torch.tensor([1, 0, 1], dtype=torch.uint8)
    >>> dequantize_blocks(codes, torch.tensor([2.0]), torch.tensor([-1.0, 0.0]))
    tensor([ 0., -2.,  0.])
    """
    n = codes.numel()
    if block < 1:
        raise ValueError(f"a block is one code or more, got {block}")
    if absmax.shape != (-(-n // block),):
        raise ValueError(
            f"{n} codes in blocks of {block} need absmax of shape ({-(-n // block)},), "
            f"got {tuple(absmax.shape)}: are the codes still packed, or is the block "
            "of another size?"
        )
    if n and int(codes.max()) >= len(values):
        raise ValueError(f"codes are below {len(values)}, got {int(codes.max())}")
    scale = absmax.repeat_interleave(block)[:n].view(codes.shape)
    return values.to(codes.device)[codes.int()] * scale


def pack_nibbles(codes: torch.Tensor) -> torch.Tensor:
    """Two codes of four bits in a byte, the first in its upper half: uint8 (bytes,).

    If their number is odd, the last lower half stays 0.

    Raises:
        ValueError: four bits cannot hold the codes.

    >>> pack_nibbles(torch.tensor([1, 2, 15], dtype=torch.uint8))
    tensor([ 18, 240], dtype=torch.uint8)
    """
    if codes.dtype != torch.uint8 or (codes > 15).any():
        raise ValueError("only uint8 codes from 0 to 15 go two into a byte")
    flat = F.pad(codes.flatten(), (0, codes.numel() % 2))
    return flat[::2] << 4 | flat[1::2]


def unpack_nibbles(packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The codes that `pack_nibbles` put into bytes, uint8 of `shape`.

    Raises:
        ValueError: the number of bytes is not that of such codes.

    >>> unpack_nibbles(torch.tensor([18, 240], dtype=torch.uint8), (3,))
    tensor([ 1,  2, 15], dtype=torch.uint8)
    """
    n = torch.Size(shape).numel()
    if packed.dtype != torch.uint8 or packed.numel() != -(-n // 2):
        raise ValueError(
            f"codes of shape {tuple(shape)} are {-(-n // 2)} bytes of uint8, got "
            f"{packed.numel()} of {packed.dtype}"
        )
    packed = packed.flatten()
    return torch.stack([packed >> 4, packed & 15], 1).flatten()[:n].view(shape)


def double_quantize(
    absmax: torch.Tensor, block: int = 256
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Quantize the constants of the first quantization, in turn: 8 bits, not 32.

    Args:
        absmax: (blocks,).
        block: constants that share one of their own.

    Returns:
        Codes (uint8, (blocks,)), the absmax of every `block` of them (float32), and the
        mean (float32, ()), which is subtracted first: absmax is never negative, and a
        signed format would waste half its codes.

    Raises:
        ValueError: as `quantize_blocks`.

    >>> codes, scales, mean = double_quantize(torch.tensor([1.0, 2.0, 3.0]))
    >>> double_dequantize(codes, scales, mean)
    tensor([1.0070, 2.0000, 3.0000])
    """
    mean = absmax.mean()
    codes, scales = quantize_blocks(absmax - mean, dynamic_values(), block)
    return codes, scales, mean


def double_dequantize(
    codes: torch.Tensor, scales: torch.Tensor, mean: torch.Tensor, block: int = 256
) -> torch.Tensor:
    """The absmax (blocks,) that `double_quantize` stored, float32."""
    return dequantize_blocks(codes, scales, dynamic_values(), block) + mean
