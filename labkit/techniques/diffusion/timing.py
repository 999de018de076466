"""One evaluation of a U-Net with all tokens and with merged ones, timed in turn."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from labkit.measure.latency import Timings, time_in_turn
from labkit.techniques.diffusion.samplers import copied
from labkit.techniques.diffusion.token_merging import merge_tokens_

if TYPE_CHECKING:  # slow to import
    from diffusers import StableDiffusionPipeline


def evaluations_with_merging(
    pipeline: StableDiffusionPipeline,
    inputs: tuple[torch.Tensor, ...],
    attention: str,
    rounds: int,
    ratio: float = 0.5,
) -> Timings:
    """Time one evaluation with all tokens, "all", and with merged ones, "merged".

    Args:
        pipeline: of which copies of the U-Net are timed.
        inputs: latents of any size, a time, the prompt's vectors.
        attention: "plain", which writes out all pairs of tokens, or "fused", which
            never does.
        rounds: of timing.
        ratio: share of the tokens to merge.

    Raises:
        KeyError: there is no such attention.
    """
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    processor = {"plain": AttnProcessor, "fused": AttnProcessor2_0}[attention]
    calls = {}
    for name, share in (("all", 0.0), ("merged", ratio)):
        copy = copied(pipeline, *pipeline.unet.parameters())
        copy.unet.set_attn_processor(processor())
        merge_tokens_(copy, share)
        calls[name] = partial(copy.unet, *inputs)
    return time_in_turn(calls, rounds, warmup=1)
