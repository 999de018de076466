"""QLoRA: the frozen weights in 4 or 8 bits, as bitsandbytes holds them.

Sources: QLoRA, Dettmers et al. 2023 (arXiv:2305.14314); INT8, Dettmers et al. 2022
(arXiv:2208.07339).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from labkit.quiet import bars_on_terminals_only

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def quantized(
    source: str | Path | PreTrainedModel,
    kind: Literal["nf4", "fp4", "int8"] = "nf4",
    double: bool = False,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> PreTrainedModel:
    """A causal language model whose linear layers are held in 4 or 8 bits.

    Embeddings, norms and the last layer, which puts out the logits, stay in `dtype`; in
    it, 4-bit layers compute as well.

    Args:
        source: the folder of a model, or a model in full precision, which is copied.
        kind: what holds a weight.
        double: whether the constants of the 4-bit blocks are quantized, too.
        dtype: of what is not quantized.
        device: where the model is put.

    Raises:
        ValueError: the kind is unknown or cannot be double.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if kind not in ("nf4", "fp4", "int8") or (double and kind == "int8"):
        raise ValueError(
            f'kind is "nf4", "fp4" or "int8", and the latter has no blocks to quantize '
            f"twice; got {kind!r} with double={double}"
        )
    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=dtype,
        )
    options = dict(quantization_config=config, dtype=dtype, device_map={"": device})
    with bars_on_terminals_only():
        if isinstance(source, nn.Module):
            model = type(source).from_pretrained(
                None,
                config=copy.deepcopy(source.config),
                state_dict=source.state_dict(),
                **options,
            )
        else:
            model = AutoModelForCausalLM.from_pretrained(
                source, use_safetensors=True, **options
            )
    for module in model.modules():
        # On a CPU with AVX512-BF16, a 4-bit layer that is called in eval mode repacks
        # its weight for a kernel that passes no gradient back, ever after.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def model_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and of what bitsandbytes holds beside them.

    A weight that two layers share counts once.
    """
    held = sum(p.nbytes for p in model.parameters())
    for weight in model.parameters():
        if (state := getattr(weight, "quant_state", None)) is not None:
            constants = [state.absmax, state.code]
            if state.nested:
                constants += [state.state2.absmax, state.state2.code, state.offset]
            held += sum(t.nbytes for t in constants)
        elif (rows := getattr(weight, "SCB", None)) is not None:
            held += rows.nbytes
    return held
