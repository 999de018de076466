"""Copies of pipelines, samplers by name, decoded latents, and timings with merged tokens."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

from labkit.techniques.diffusion.lcm import layers_that_fit
from labkit.techniques.diffusion.samplers import Samplers, copied, decoded, generate, with_unet
from labkit.techniques.diffusion.timing import evaluations_with_merging
from labkit.techniques.diffusion.token_merging import tokens_compared, tokens_seen
from labkit.zoo import Variant, text_to_image
from labkit.zoo.sources.origin import ASSETS

ADAPTER = ASSETS / "text_to_image" / "lcm_lora" / "pytorch_lora_weights.safetensors"
PROMPT = ["a red bag on black"]


@pytest.fixture(scope="module")
def loaded():
    """Not to be changed."""
    return text_to_image()


@pytest.fixture(scope="module")
def pipeline(loaded) -> StableDiffusionPipeline:
    return loaded.pipeline


@pytest.fixture(scope="module")
def inputs(pipeline):
    side = pipeline.unet.config.sample_size
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, side, side, generator=generator)
    return latents, torch.tensor(500), torch.randn(2, 8, pipeline.text_encoder.config.hidden_size, generator=generator)


def test_a_copy_shares_what_was_named_and_nothing_else(pipeline):
    copy, light = copied(pipeline), copied(pipeline, *pipeline.unet.parameters())
    assert copy.vae is light.vae is pipeline.vae and copy.text_encoder is pipeline.text_encoder
    own, theirs, same = (next(p.unet.parameters()) for p in (pipeline, copy, light))
    assert theirs is not own and torch.equal(theirs, own) and same is own
    assert light.unet is not pipeline.unet and copy.scheduler is not pipeline.scheduler


def test_another_unet_takes_the_place_of_the_own_one(loaded, pipeline):
    small = with_unet(pipeline, loaded.small)
    assert small.unet is loaded.small and small.vae is pipeline.vae and pipeline.unet is not loaded.small


def test_samplers_draw_as_generate_does_and_are_not_changed(pipeline):
    samplers = Samplers({"solver": pipeline})
    expected = generate(pipeline, PROMPT, 1, 1.0, seed=3)
    assert torch.equal(samplers.draw(Variant("solver", 1), PROMPT, seed=3), expected)
    merged = samplers.draw(Variant("solver", 1, merged=0.5), PROMPT, seed=3)
    assert not torch.equal(merged, expected)
    assert torch.equal(samplers.draw(Variant("solver", 1), PROMPT, seed=3), expected), "merging reached the original"
    assert len(samplers._merging) == 1
    samplers.draw(Variant("solver", 1, merged=0.5), PROMPT, seed=3)
    assert len(samplers._merging) == 1, "the patched copy is kept"


def test_an_unknown_sampler_is_an_error(pipeline):
    with pytest.raises(KeyError, match="other"):
        Samplers({"solver": pipeline}).draw(Variant("other", 1), PROMPT, seed=0)


def test_latents_are_decoded_to_pictures_one_after_the_other(pipeline, inputs):
    latents = inputs[0]
    pictures = decoded(pipeline, latents.split(1))
    assert pictures.shape == (2, 3, 64, 64) and 0 <= pictures.min() and pictures.max() <= 1
    torch.testing.assert_close(decoded(pipeline, latents[1:].split(1))[0], pictures[1])


def test_the_adapter_fits_its_own_unet_and_not_the_small_one(loaded, pipeline):
    fit, layers = layers_that_fit(pipeline, ADAPTER)
    assert fit == layers > 0
    fit, same = layers_that_fit(with_unet(pipeline, loaded.small), ADAPTER)
    assert 0 < fit < same == layers


def test_compared_are_the_tokens_of_the_first_block_that_sees_all(pipeline, inputs):
    tokens = tokens_compared(pipeline.unet, *inputs)
    most = max(tokens_seen(pipeline.unet, *inputs).values())
    assert tokens.shape[:2] == (2, most) and most == inputs[0].shape[-1] ** 2
    assert torch.equal(tokens, tokens_compared(pipeline.unet, *inputs)), "hooks are gone again"
    with pytest.raises(ValueError, match="no block"):
        tokens_compared(torch.nn.Identity(), inputs[0])


@pytest.mark.parametrize("attention", ["plain", "fused"])
def test_all_tokens_and_merged_ones_are_timed_in_copies(pipeline, inputs, attention):
    before = tokens_seen(pipeline.unet, *inputs)
    timings = evaluations_with_merging(pipeline, inputs, attention, rounds=1)
    assert list(timings) == ["all", "merged"] and len(timings["merged"]) == 1
    assert tokens_seen(pipeline.unet, *inputs) == before


def test_there_is_no_third_attention(pipeline, inputs):
    with pytest.raises(KeyError, match="sparse"):
        evaluations_with_merging(pipeline, inputs, "sparse", rounds=1)
