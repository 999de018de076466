"""Sampling of diffusion models: few steps, by a consistency model or without it.

Sources: latent consistency models, Luo et al. 2023 (arXiv:2310.04378), and their LoRA,
Luo et al. 2023 (arXiv:2311.05556); guidance, Ho and Salimans 2022 (arXiv:2207.12598).
The library is diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # slow to import
    from diffusers import StableDiffusionPipeline

SIGMA_DATA, TIME_SCALE = 0.5, 10.0  # of the boundary condition, as in LCM
LCM_GUIDANCE = (1.0, 2.0)  # beyond the guidance that was distilled into the adapter


def boundary(time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """c_skip and c_out of a consistency function f(x, t) = c_skip x + c_out picture.

    At time 0 they are 1 and 0: f leaves a finished picture as it is, whatever the
    network says. Without that, a network that maps everything to one picture would be
    consistent.

    Args:
        time: from 0 to 999.

    >>> boundary(torch.tensor(0.0))
    (tensor(1.), tensor(0.))
    """
    scaled = TIME_SCALE * time
    total = scaled**2 + SIGMA_DATA**2
    return SIGMA_DATA**2 / total, scaled / total.sqrt()


def attach_lcm_(pipeline: StableDiffusionPipeline, adapter: Path, fuse: bool) -> None:
    """Turn a pipeline into a latent consistency model, in place: scheduler and LoRA.

    Args:
        pipeline: of the architecture that the adapter is for.
        adapter: a file that diffusers reads.
        fuse: whether the adapter's product is added to the weights; its emptied layers,
            which would still be called, are then removed.

    Raises:
        ValueError: the adapter is of another architecture, or the pipeline has one;
            nothing was changed then.
        RuntimeError: diffusers drops a part of the adapter, which it does with a mere
            warning.
    """
    from diffusers import LCMScheduler

    if _is_adapted(pipeline):
        raise ValueError(
            "this pipeline has an adapter already, and two would be added; load it anew"
        )
    layers = _adapted_layers(pipeline, adapter)
    shapes = {name: weight.shape for name, weight in pipeline.unet.named_parameters()}
    wrong = [
        name
        for name, (inputs, outputs) in layers.items()
        if shapes.get(f"{name}.weight", ())[:2] != (outputs, inputs)
    ]
    if wrong or not layers:
        problem = f"such as {wrong[0]}" if wrong else "it has none"
        raise ValueError(
            f"{adapter.name} is an adapter of another architecture: {len(wrong)} of "
            f"its {len(layers)} layers do not fit this U-Net, {problem}"
        )
    pipeline.load_lora_weights(adapter.parent, weight_name=adapter.name)
    held = sum(name.endswith("lora_A") for name, _ in pipeline.unet.named_modules())
    if held != len(layers):
        pipeline.unload_lora_weights()
        raise RuntimeError(
            f"diffusers took {held} of the {len(layers)} layers of {adapter.name}"
        )
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    if fuse:
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()


def _adapted_layers(
    pipeline: StableDiffusionPipeline, adapter: Path
) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each layer of the U-Net that the adapter is made for."""
    from diffusers.utils import convert_unet_state_dict_to_peft

    read, *_ = pipeline.lora_state_dict(adapter.parent, weight_name=adapter.name)
    given = convert_unet_state_dict_to_peft(read)  # of whichever tool's names
    layers = {}
    for name, weight in given.items():
        layer, found, _ = name.removeprefix("unet.").partition(".lora_A.")
        if found:
            outputs = given[name.replace("lora_A", "lora_B")].shape[0]
            layers[layer] = (weight.shape[1], outputs)
    return layers


def _is_adapted(pipeline: StableDiffusionPipeline) -> bool:
    return bool(pipeline.num_fused_loras or getattr(pipeline.unet, "peft_config", None))


def is_consistency_model(pipeline: StableDiffusionPipeline) -> bool:
    """Whether `attach_lcm_` has made it one: it has an adapter, and LCM's scheduler."""
    from diffusers import LCMScheduler

    return _is_adapted(pipeline) and isinstance(pipeline.scheduler, LCMScheduler)


def layers_that_fit(
    pipeline: StableDiffusionPipeline, adapter: Path
) -> tuple[int, int]:
    """How many of an adapter's layers this U-Net has, in their shapes, and how many the
    adapter has.
    """
    layers = _adapted_layers(pipeline, adapter)
    shapes = {name: weight.shape for name, weight in pipeline.unet.named_parameters()}
    fit = [
        shapes.get(f"{name}.weight", ())[:2] == (outputs, inputs)
        for name, (inputs, outputs) in layers.items()
    ]
    return sum(fit), len(fit)
