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

from labkit import checks
from labkit.measure.measurement import Measurement
from labkit.quiet import bars_on_terminals_only
from labkit.techniques.quantization import nf4

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
        ValueError: the kind is unknown or cannot be double; weights of the model are
            not finite; or it has nothing to quantize.
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
            for name, weight in checks.unmasked(source).named_parameters():
                checks.finite(weight, f"numbers of {name}")
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
    if not any(
        hasattr(p, "quant_state") or hasattr(p, "SCB") for p in model.parameters()
    ):
        raise ValueError(f"bitsandbytes found nothing to quantize in {source}")
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


def unpacked(model: nn.Module, like: nn.Module) -> nn.Module:
    """A copy of `like` in float32 whose linear layers are those of a quantized model.

    What differs between two of these is the weights alone, not how they compute.
    """
    from peft.utils.integrations import dequantize_module_weight

    copied = checks.copied(like).float()
    for name, module in linear_layers(copied).items():
        module.weight.data = dequantize_module_weight(model.get_submodule(name)).float()
    return copied


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Those that quantization takes, by name: all but the last, which puts out logits.

    >>> layer = nn.Linear(2, 2)
    >>> list(linear_layers(nn.ModuleDict({"q": layer, "lm_head": nn.Linear(2, 9)})))
    ['q']
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    }


def relative_error(model: nn.Module, original: nn.Module) -> Measurement:
    """Distance of the linear layers from the original's, in % of their norm.

    Raises:
        ValueError: there are none, they are all zero or not finite, or they are still
            in few bits.
    """
    off = norm = 0.0
    for name, layer in linear_layers(original).items():
        ours = checks.plain(model.get_submodule(name).weight, name)
        theirs = checks.plain(layer.weight, name)
        off += ((ours - theirs) ** 2).sum().item()
        norm += (theirs**2).sum().item()
    if not norm:
        raise ValueError("the original has no linear layers that are not zero")
    return Measurement.exact(100 * (off / norm) ** 0.5, "%")


def constant_bits(model: nn.Module) -> Measurement:
    """Bits per weight that doubly quantized constants of a model in four bits take.

    Raises:
        ValueError: it has no such constants.
    """
    states = [p.quant_state for p in model.parameters() if hasattr(p, "quant_state")]
    if not states or not all(state.nested for state in states):
        raise ValueError("no weight of the model is in four bits, quantized twice")
    held = sum(s.absmax.nbytes + s.state2.absmax.nbytes for s in states)
    return Measurement.exact(8 * held / sum(s.shape.numel() for s in states), "bits")


def saved(model: PreTrainedModel, folder: Path) -> Measurement:
    """Save a model, what is not quantized in 16 bits; returns bytes of its weights."""
    for weight in model.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.half()
    with bars_on_terminals_only():
        model.save_pretrained(folder)
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    return Measurement.exact(sum(sizes), "bytes")


def round_adapter_(model: nn.Module, folder: Path) -> dict[str, int]:
    """Round the adapter that was saved in `folder` to NF4, in the model, too.

    Args:
        model: has the adapter.
        folder: as `save_pretrained` left it; the rounded adapter is put beside it.

    Returns:
        Bytes of the file "before" and "after".

    Raises:
        ValueError: the file is damaged, or its numbers are not finite.
    """
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    values, stored = nf4.nf4_values(), {}
    try:
        weights = load_file(file := folder / "adapter_model.safetensors")
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged ({error}): save the adapter again"
        ) from error
    for key, weight in weights.items():
        codes, absmax = nf4.quantize_blocks(weight, values)
        stored |= {f"{key}.codes": nf4.pack_nibbles(codes), f"{key}.absmax": absmax}
        weights[key] = nf4.dequantize_blocks(codes, absmax, values)
    save_file(stored, rounded := folder / "adapter.nf4.safetensors")
    set_peft_model_state_dict(model, weights)
    return {"before": file.stat().st_size, "after": rounded.stat().st_size}
