"""The steps that can be stacked on a language model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from labkit.stack.language_model.task import LanguageModelling, linear_layers, round_to_16_bits_
from labkit.stack.steps import step
from labkit.techniques.adapters.lora import train_
from labkit.techniques.pruning import magnitude, wanda
from labkit.techniques.quantization import packed

LEARNING_RATE = 1e-3


@step(gives=["fewer layers"])
@torch.no_grad()
def cut(model: nn.Module, task: LanguageModelling, layers: int) -> nn.Module:
    """Remove the layers that change their input least (ShortGPT, Men et al. 2024, arXiv:2403.03853)."""
    seen = model(task.training[:4], output_hidden_states=True).hidden_states
    # The last of the hidden states has gone through the final norm; its layer stays, as in the paper's results.
    change = [1 - torch.cosine_similarity(a, b, dim=-1).mean().item() for a, b in zip(seen[:-2], seen[1:-1])]
    least = sorted(range(len(change)), key=change.__getitem__)[:layers]
    model.model.layers = nn.ModuleList(layer for i, layer in enumerate(model.model.layers) if i not in least)
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = i
    model.config.num_hidden_layers = len(model.model.layers)
    return model


@step(gives=["zeros"])
@torch.no_grad()
def prune(
    model: nn.Module, task: LanguageModelling, sparsity: float, by: Literal["magnitude", "wanda"] = "wanda"
) -> nn.Module:
    """Set this share of the weights of every linear layer to zero: by magnitude, or by Wanda on 16 training blocks."""
    layers = linear_layers(model)
    if by == "wanda":
        masks = wanda.wanda_masks(model, task.training[:16].split(4), sparsity, list(layers))
    else:
        masks = magnitude.layer_masks(model, sparsity)
        masks = {f"{name}.weight": masks[f"{name}.weight"] for name in layers}
    return round_to_16_bits_(magnitude.apply_masks_(model, masks))


@step(gives=["integers"], refuses={"integers": "they are quantized already"})
def quantize(model: nn.Module, task: LanguageModelling, kind: Literal["int8", "nf4"] = "nf4") -> nn.Module:
    """Hold the linear layers in NF4 with double quantization, or in 8 bits; the embedding in 8 bits either way."""
    for module in linear_layers(model).values():
        packed.hold_packed_(module, packed.NF4(module.weight.shape) if kind == "nf4" else packed.Int8())
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head.weight is embedding.weight:
        model.lm_head = packed.TiedHead(embedding)
    else:
        packed.hold_packed_(head, packed.Int8())
    packed.hold_packed_(embedding, packed.Int8())
    return round_to_16_bits_(model)


@step()
def lora(model: nn.Module, task: LanguageModelling, seed: int, rank: int, steps: int) -> nn.Module:
    """Train LoRA of this rank beside all linear layers, for so many batches.

    What was learned is added to weights that are not quantized, where they are not zero; beside integers it stays.
    """
    model.requires_grad_(False)
    merged = []
    for module in linear_layers(model).values():
        weight = module.weight
        if parametrize.is_parametrized(module, "weight"):
            adapter = packed.LowRank(weight, rank)
        else:
            adapter = packed.LowRank(weight, rank, weight != 0)
            merged.append(module)
        parametrize.register_parametrization(module, "weight", adapter)
    train_(model, task.batches(seed), steps, LEARNING_RATE)
    for module in merged:
        packed.unpack_module_(module)
    return round_to_16_bits_(model.eval())
