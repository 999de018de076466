"""Sampling of diffusion models: pictures for prompts, with any scheduler.

Source: guidance, Ho and Salimans 2022 (arXiv:2207.12598). The library is diffusers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:  # slow to import
    from diffusers import StableDiffusionPipeline
from labkit.techniques.diffusion.lcm import LCM_GUIDANCE, is_consistency_model

SEED_STRIDE = 1_000_000  # image i of seed s has the generator seed s · SEED_STRIDE + i


def size_step(pipeline: StableDiffusionPipeline) -> int:
    """Pixels of which a picture's side must be a multiple: each level halves the
    latents.
    """
    levels = len(pipeline.unet.config.block_out_channels)
    # diffusers asks for multiples of 8 whatever the network.
    return math.lcm(8, pipeline.vae_scale_factor * 2 ** (levels - 1))


@torch.no_grad()
def generate(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    steps: int,
    guidance: float,
    seed: int,
    size: int | None = None,
    batch: int = 10,
) -> torch.Tensor:
    """Pictures for prompts.

    Args:
        pipeline: with the scheduler that is to be used.
        prompts: N texts.
        steps: of the scheduler.
        guidance: 1 is none; more asks the network twice in each step, with and without
            the prompt, and goes further in the direction from one to the other.
        seed: gives every sampler the same starting noise, and every picture its own.
        size: pixels; None is what the model was trained for.
        batch: pictures of one call.

    Returns:
        float32 (N, 3, size, size) in [0, 1], on the CPU.

    Raises:
        ValueError: there is no prompt, or an empty one; there are no steps; the U-Net
            cannot take the size; or guidance is out of the range that a consistency
            model takes.
    """
    if isinstance(prompts, str):
        raise ValueError(f"prompts are a list, got the one string {prompts!r}")
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise ValueError("a prompt is empty; say what to draw")
    if steps < 1:
        raise ValueError(f"{steps} steps; sampling takes one or more")
    config, multiple = pipeline.unet.config, size_step(pipeline)
    size = config.sample_size * pipeline.vae_scale_factor if size is None else size
    if size < multiple or size % multiple:
        raise ValueError(
            f"the size is {size}; this U-Net takes multiples of {multiple} pixels, and "
            f"was trained with {config.sample_size * pipeline.vae_scale_factor}"
        )
    low, high = LCM_GUIDANCE
    if is_consistency_model(pipeline) and not low <= guidance <= high:
        raise ValueError(
            f"the guidance is {guidance}; guidance was distilled into this adapter, "
            f"and more is taken only from {low:g} (none) to {high:g}"
        )
    if not guidance >= 1:
        raise ValueError(
            f"the guidance is {guidance}; 1 is none, and less is not defined"
        )
    side = size // pipeline.vae_scale_factor
    parts = []
    for start in range(0, len(prompts), batch):
        few = list(prompts[start : start + batch])
        # One for each picture, so that it does not depend on how many are drawn with
        # it.
        generators = [
            torch.Generator().manual_seed(seed * SEED_STRIDE + start + i)
            for i in range(len(few))
        ]
        noise = [
            torch.randn(config.in_channels, side, side, generator=g) for g in generators
        ]
        images = pipeline(
            few,
            height=size,
            width=size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=torch.stack(noise).to(pipeline.device, pipeline.unet.dtype),
            generator=generators,
            output_type="pt",
        ).images
        parts.append(images.float().cpu())
    return torch.cat(parts)
