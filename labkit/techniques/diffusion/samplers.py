"""Sampling of diffusion models: pictures for prompts, with any scheduler.

Source: guidance, Ho and Salimans 2022 (arXiv:2207.12598). The library is diffusers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:  # slow to import
    from diffusers import StableDiffusionPipeline
from labkit import checks
from labkit.techniques.diffusion.lcm import LCM_GUIDANCE, is_consistency_model
from labkit.techniques.diffusion.token_merging import merge_tokens_

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
            cannot take the size; guidance is out of the range that a consistency
            model takes; or numbers of a picture are not finite.
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
        # A picture that overflowed in 16 bits would be black, and nothing said.
        parts.append(checks.finite(images.float().cpu(), "numbers of the pictures"))
    return torch.cat(parts)


def copied(
    pipeline: StableDiffusionPipeline, *shared: object
) -> StableDiffusionPipeline:
    """A copy that has these parts in common with the pipeline, beside autoencoder and
    text encoder, and takes no memory for them.
    """
    shared = (pipeline.vae, pipeline.text_encoder, *shared)
    return copy.deepcopy(pipeline, {id(part): part for part in shared})


class Samplers(dict[str, "StableDiffusionPipeline"]):
    """Pipelines by name. They are not changed by what they draw: tokens are merged in
    copies, which are kept, so that no timing holds the patch.
    """

    def __init__(self, pipelines: Mapping[str, StableDiffusionPipeline]) -> None:
        super().__init__(pipelines)
        self._merging: dict[tuple[int, float], StableDiffusionPipeline] = {}

    def draw(self, variant: Any, prompts: Sequence[str], seed: int) -> torch.Tensor:
        """Pictures for prompts, as `generate` gives them.

        Args:
            variant: has `sampler`, a name, `steps`, `guidance`, and `merged`, the share
                of tokens to merge.
            prompts: N texts.
            seed: of the starting noise.

        Raises:
            KeyError: there is no such sampler.
        """
        pipeline = self[variant.sampler]
        if variant.merged:
            pipeline = self._merged(pipeline, variant.merged)
        return generate(pipeline, prompts, variant.steps, variant.guidance, seed)

    def _merged(
        self, pipeline: StableDiffusionPipeline, ratio: float
    ) -> StableDiffusionPipeline:
        key = (id(pipeline), ratio)
        if key not in self._merging:
            self._merging[key] = copied(pipeline, *pipeline.unet.parameters())
            merge_tokens_(self._merging[key], ratio)
        return self._merging[key]


@torch.no_grad()
def decoded(
    pipeline: StableDiffusionPipeline, latents: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Pictures of latents, one after the other: float32 (N, 3, H, W) in [0, 1], on the
    CPU.

    Args:
        pipeline: of which the autoencoder is used.
        latents: N times (1, channels, height, width).

    Raises:
        ValueError: numbers of a picture are not finite.
    """
    factor = pipeline.vae.config.scaling_factor
    pictures = [pipeline.vae.decode(z / factor).sample for z in latents]
    decoded = checks.finite(
        torch.cat(pictures).float().cpu(), "numbers of the pictures"
    )
    return (decoded / 2 + 0.5).clamp(0, 1)


def with_unet(
    pipeline: StableDiffusionPipeline, unet: torch.nn.Module
) -> StableDiffusionPipeline:
    """A copy of the pipeline with another U-Net in place of its own, where and in the
    precision in which that was.
    """
    other = copied(pipeline, pipeline.unet)
    own = pipeline.unet
    other.unet = unet.to(own.device, own.dtype, memory_format=torch.channels_last)
    return other
