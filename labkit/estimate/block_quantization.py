"""What weights that are quantized block by block take, before anything is quantized.

Source: QLoRA, Dettmers et al. 2023 (arXiv:2305.14314).
"""

from __future__ import annotations


def bits_per_parameter(block: int = 64, double: bool = False, outer_block: int = 256) -> float:
    """Four bits for the code, and the parameter's share of its block's constants.

    Once quantized, a block has one float32; twice, 8 bits and a share of the float32 that `outer_block` blocks have in
    common. What a layer has but once is left out.

    Args:
        block: weights that share a constant.
        double: whether the constants are quantized, too.
        outer_block: constants that share one of their own.

    >>> bits_per_parameter(), round(bits_per_parameter(double=True), 3)
    (4.5, 4.127)
    """
    constants = 8 + 32 / outer_block if double else 32
    return 4 + constants / block


def storage_bytes(parameters: int, block: int = 64, double: bool = False, outer_block: int = 256) -> dict[str, int]:
    """Bytes of one quantized weight, by part, as a layer of bitsandbytes holds it.

    Each layer has its own copy of the 16 values, and of the 256 of double quantization.

    Args:
        parameters: numbers in the weight.
        block: weights that share a constant.
        double: whether the constants are quantized, too.
        outer_block: constants that share one of their own.

    >>> storage_bytes(1024 * 1024)
    {'codes': 524288, 'absmax': 65536, 'values': 64}
    """
    blocks = -(-parameters // block)
    held = {"codes": -(-parameters // 2), "absmax": 4 * blocks, "values": 4 * 16}
    if double:
        held |= {"absmax": blocks, "absmax of absmax": 4 * -(-blocks // outer_block)}
        held |= {"mean": 4, "values": 4 * (16 + 256)}
    return held
