"""Token merging: what is matched with what, that tomesd does the same, and what its patch changes in a tiny U-Net."""

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from hypothesis import given, settings
from hypothesis import strategies as st
from tomesd.merge import bipartite_soft_matching_random2d

from labkit.techniques.diffusion.token_merging import LARGEST, match, merge_tokens_, tokens_seen

sides = st.integers(2, 9)
ratios = st.one_of(st.floats(0, LARGEST), st.sampled_from([0, 0.25, 0.5, LARGEST]))
images = settings(deadline=None, max_examples=40)


def random_tokens(height: int, width: int, images: int = 2, channels: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, height * width, channels, generator=generator, dtype=torch.float64)


# Matching


@images
@given(sides, sides, ratios)
def test_every_token_is_either_a_destination_or_kept_or_merged(height, width, ratio):
    matching = match(random_tokens(height, width), height, width, ratio)
    for kept, merged in zip(matching.kept, matching.merged, strict=True):
        parts = torch.cat([matching.destinations, kept, merged])
        assert parts.sort().values.tolist() == [*range(height * width)]


@images
@given(sides, sides, ratios)
def test_the_share_is_merged_rounded_down_and_there_are_always_enough(height, width, ratio):
    tokens, destinations = height * width, (height // 2) * (width // 2)
    matching = match(random_tokens(height, width), height, width, ratio)
    assert len(matching.destinations) == destinations
    count = min(int(tokens * ratio), tokens - destinations)
    assert count == int(tokens * ratio)
    assert matching.merged.shape == matching.into.shape == (2, count)
    assert matching.kept.shape == (2, tokens - destinations - count)


@pytest.mark.parametrize(
    ("height", "width", "destinations"),
    [(4, 4, [0, 2, 8, 10]), (2, 6, [0, 2, 4]), (3, 5, [0, 2]), (5, 3, [0, 6])],  # an odd last row or column has none
)
def test_destinations_are_the_upper_left_of_each_whole_square(height, width, destinations):
    assert match(random_tokens(height, width), height, width, 0.5).destinations.tolist() == destinations


@images
@given(sides, sides, ratios)
def test_each_merges_into_the_most_similar_destination_and_the_most_similar_of_all_merge(height, width, ratio):
    x = random_tokens(height, width)
    matching = match(x, height, width, ratio)
    direction = x / x.norm(dim=-1, keepdim=True)
    for image in range(len(x)):
        similarity = direction[image] @ direction[image, matching.destinations].T
        merged, kept = matching.merged[image], matching.kept[image]
        assert torch.equal(similarity[merged].argmax(1), matching.into[image])
        if len(merged) and len(kept):
            assert similarity[merged].amax(1).min() >= similarity[kept].amax(1).max()


def test_similar_is_what_has_a_similar_direction_however_long():
    x = random_tokens(4, 6)
    length = torch.linspace(0.1, 9, 24, dtype=torch.float64)[:, None]
    for ours, theirs in zip(match(x, 4, 6, 0.5), match(x * length, 4, 6, 0.5), strict=True):
        assert torch.equal(ours, theirs)


def test_each_image_has_a_matching_of_its_own():
    x = random_tokens(4, 4, images=3)
    together = match(x, 4, 4, 0.5)
    for i in range(3):
        alone = match(x[i : i + 1], 4, 4, 0.5)
        assert torch.equal(together.merged[i], alone.merged[0]) and torch.equal(together.into[i], alone.into[0])
    assert not torch.equal(together.merged[0], together.merged[1])


# Merging and unmerging


def test_four_tokens_to_check_in_the_head():
    x = torch.tensor([[[4.0, 0.0], [2.0, 0.0], [0.0, 1.0], [3.0, 3.0]]])  # the second points where the first does
    matching = match(x, 2, 2, 0.25)
    assert (matching.destinations.tolist(), matching.merged.tolist(), matching.into.tolist()) == ([0], [[1]], [[0]])
    kept = [x[0, i].tolist() for i in matching.kept[0]]
    assert sorted(kept) == [[0, 1], [3, 3]]
    assert matching.merge(x).tolist() == [[*kept, [3, 0]]]
    assert matching.unmerge(matching.merge(x)).tolist() == [[[3, 0], [3, 0], [0, 1], [3, 3]]]


def test_a_destination_becomes_the_mean_of_itself_and_of_all_that_merge_into_it():
    x = random_tokens(6, 5)
    matching = match(x, 6, 5, LARGEST)
    merged = matching.merge(x)
    for image in range(len(x)):
        for i, destination in enumerate(matching.destinations):
            own = torch.cat([matching.merged[image][matching.into[image] == i], destination[None]])
            number = matching.kept.shape[1] + i
            torch.testing.assert_close(merged[image, number], x[image, own].mean(0))


@images
@given(sides, sides, ratios)
def test_unmerging_brings_back_the_shape(height, width, ratio):
    x = random_tokens(height, width)
    matching = match(x, height, width, ratio)
    merged = matching.merge(x)
    assert merged.shape == (2, height * width - matching.merged.shape[1], 5)
    assert matching.unmerge(merged).shape == x.shape


@images
@given(sides, sides, ratios)
def test_what_is_kept_is_not_changed(height, width, ratio):
    x = random_tokens(height, width)
    matching = match(x, height, width, ratio)
    back = matching.unmerge(matching.merge(x))
    for image in range(len(x)):
        assert torch.equal(back[image, matching.kept[image]], x[image, matching.kept[image]])


@images
@given(sides, sides)
def test_a_ratio_of_0_changes_nothing(height, width):
    x = random_tokens(height, width)
    matching = match(x, height, width, 0)
    assert matching.merge(x).shape == x.shape
    assert torch.equal(matching.unmerge(matching.merge(x)), x)


@images
@given(st.integers(1, 5), st.integers(1, 5))
def test_squares_of_equal_tokens_survive_the_largest_ratio(rows, columns):
    squares = random_tokens(rows, columns).unflatten(1, (rows, columns))
    x = squares.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    matching = match(x, 2 * rows, 2 * columns, LARGEST)
    assert matching.merge(x).shape[1] == rows * columns
    torch.testing.assert_close(matching.unmerge(matching.merge(x)), x)


def test_another_tensor_of_as_many_tokens_is_merged_alike():
    x, other = random_tokens(4, 4), random_tokens(4, 4, channels=3, seed=1).float()
    matching = match(x, 4, 4, 0.5)
    merged = matching.merge(other)
    assert merged.shape == (2, 8, 3) and merged.dtype == torch.float32
    assert torch.equal(matching.unmerge(merged)[:, matching.destinations], merged[:, matching.kept.shape[1] :])


def test_what_goes_in_is_left_as_it_is():
    x = random_tokens(4, 4)
    matching, before = match(x, 4, 4, 0.5), x.clone()
    merged = matching.merge(x)
    same = merged.clone()
    matching.unmerge(merged)
    assert torch.equal(x, before) and torch.equal(merged, same)


@pytest.mark.parametrize("ratio", [0, 0.1, 0.25, 0.5, 0.66, LARGEST])
@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 4), (8, 8), (6, 10), (5, 7), (9, 4), (2, 3), (16, 16)])
def test_tomesd_merges_the_same(height, width, ratio):
    x, other = random_tokens(height, width, 3), random_tokens(height, width, 3, seed=1)
    matching = match(x, height, width, ratio)
    count = int(height * width * ratio)
    merge, unmerge = bipartite_soft_matching_random2d(x, width, height, 2, 2, count, no_rand=True)
    for values in (x, other):
        assert matching.merge(values).shape == merge(values).shape
        torch.testing.assert_close(matching.unmerge(matching.merge(values)), unmerge(merge(values)))


@images
@given(sides, sides, ratios, st.integers(0, 1000))
def test_tomesd_merges_the_same_whatever_the_size_and_ratio(height, width, ratio, seed):
    x = random_tokens(height, width, seed=seed)
    matching = match(x, height, width, ratio)
    count = int(height * width * ratio)
    merge, unmerge = bipartite_soft_matching_random2d(x, width, height, 2, 2, count, no_rand=True)
    torch.testing.assert_close(matching.unmerge(matching.merge(x)), unmerge(merge(x)))


bad_ratios = pytest.mark.parametrize("ratio", [1, 0.76, -0.1, float("nan")])


@bad_ratios
def test_a_ratio_out_of_its_range(ratio):
    with pytest.raises(ValueError, match=f"the ratio is {ratio}; .* must lie between 0 and 0.75"):
        match(random_tokens(4, 4), 4, 4, ratio)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (3, 4), (2, 2)])
def test_tokens_that_are_no_such_image(height, width):
    with pytest.raises(ValueError, match=f"16 tokens are no image of {height} by {width}"):
        match(random_tokens(4, 4), height, width, 0.5)


# In a U-Net


def tiny_unet(kind: str = "CrossAttn", **changed) -> UNet2DConditionModel:
    """Two levels; at the first are as many tokens as latents, at the second and in the middle a quarter of them."""
    torch.manual_seed(0)
    sizes = dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
    sizes |= dict(cross_attention_dim=6, attention_head_dim=2) | changed
    blocks = dict(down_block_types=(f"{kind}DownBlock2D",) * 2, up_block_types=(f"{kind}UpBlock2D",) * 2)
    return UNet2DConditionModel(**sizes, **blocks).eval()


def pipeline_of(unet: UNet2DConditionModel | None) -> StableDiffusionPipeline:
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "feature_extractor"))
    return StableDiffusionPipeline(unet=unet, **parts, requires_safety_checker=False)


def inputs(images: int = 1, height: int = 8, width: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(images, 4, height, width, generator=generator)
    return latents, torch.tensor(500), torch.randn(images, 3, 6, generator=generator)


def patches(model: torch.nn.Module) -> list[str]:
    """What tomesd leaves in a model that it has patched: classes, and hooks that remember the size."""
    return [
        name
        for name, module in model.named_modules()
        if type(module).__name__ == "ToMeBlock" or module._forward_pre_hooks or module._forward_hooks
    ]


HIGHEST = {
    f"{name}.transformer_blocks.0.attn1"
    for name in ("down_blocks.0.attentions.0", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1")
}
BLOCKS = 7  # one in each of two levels down and in the middle, two in each of two levels up


def test_every_self_attention_is_counted():
    unet = tiny_unet()
    seen = tokens_seen(unet, *inputs())
    layers = {name for name, _ in unet.named_modules() if name.endswith("attn1")}
    assert seen.keys() == layers and len(layers) == BLOCKS
    assert {name for name, tokens in seen.items() if tokens == 64} == HIGHEST
    assert {tokens for name, tokens in seen.items() if name not in HIGHEST} == {16}


def test_tokens_are_those_of_a_single_image_whatever_the_batch():
    assert tokens_seen(tiny_unet(), *inputs(4)) == tokens_seen(tiny_unet(), *inputs(1))


@pytest.mark.parametrize("images", [1, 2])  # in an even number of images, tomesd takes destinations at random
@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 12)])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_tokens_become_fewer_at_the_highest_level_only(ratio, height, width, images):
    unet = tiny_unet()
    before = tokens_seen(unet, *inputs(images, height, width))
    assert merge_tokens_(pipeline_of(unet), ratio) == BLOCKS
    after = tokens_seen(unet, *inputs(images, height, width))
    assert after == {name: int(n * (1 - ratio)) if name in HIGHEST else n for name, n in before.items()}


def test_merging_changes_what_the_network_says_and_0_undoes_it():
    unet = tiny_unet()
    pipeline, before, seen = pipeline_of(unet), evaluated(unet), tokens_seen(unet, *inputs())
    merge_tokens_(pipeline, 0.5)
    assert patches(unet) and not torch.allclose(evaluated(unet), before, atol=1e-4)
    assert merge_tokens_(pipeline, 0) == 0
    assert not patches(unet)
    assert tokens_seen(unet, *inputs()) == seen and torch.equal(evaluated(unet), before)


@torch.no_grad()
def evaluated(unet: UNet2DConditionModel) -> torch.Tensor:
    return unet(*inputs()).sample


def test_0_on_a_network_that_was_never_patched():
    unet = tiny_unet()
    assert merge_tokens_(pipeline_of(unet), 0) == 0 and not patches(unet)


def test_a_second_ratio_takes_the_place_of_the_first():
    unet, twice = tiny_unet(), tiny_unet()
    merge_tokens_(pipeline_of(unet), 0.25)
    for ratio in (0.75, 0.25):
        assert merge_tokens_(pipeline_of(twice), ratio) == BLOCKS
    assert tokens_seen(twice, *inputs()) == tokens_seen(unet, *inputs())
    assert len(twice._forward_pre_hooks) == 1
    assert torch.equal(evaluated(twice), evaluated(unet))


@bad_ratios
def test_a_ratio_out_of_its_range_changes_nothing(ratio):
    unet, merged = tiny_unet(), tiny_unet()
    merge_tokens_(pipeline_of(merged), 0.5)
    seen = tokens_seen(merged, *inputs())
    for model in (unet, merged):
        with pytest.raises(ValueError, match="must lie between 0 and 0.75"):
            merge_tokens_(pipeline_of(model), ratio)
    assert not patches(unet)
    assert tokens_seen(merged, *inputs()) == seen


class TransformerPipeline(DiffusionPipeline):
    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.register_modules(transformer=transformer)


@pytest.mark.parametrize("ratio", [0.5, 0])
def test_a_pipeline_without_a_unet_even_if_tomesd_would_find_blocks_in_it(ratio):
    transformer = torch.nn.Sequential(BasicTransformerBlock(8, 2, 4))
    with pytest.raises(ValueError, match="TransformerPipeline has no U-Net, and tomesd would patch nothing"):
        merge_tokens_(TransformerPipeline(transformer), ratio)
    assert not patches(transformer) and type(transformer[0]) is BasicTransformerBlock


def test_a_pipeline_whose_unet_is_none():
    with pytest.raises(ValueError, match="StableDiffusionPipeline has no U-Net"):
        merge_tokens_(pipeline_of(None), 0.5)


def test_a_unet_without_attention():
    unet = tiny_unet(kind="", mid_block_type=None)
    assert tokens_seen(unet, *inputs()) == {}
    with pytest.raises(
        ValueError, match="UNet2DConditionModel has no BasicTransformerBlock, and tomesd patched nothing"
    ):
        merge_tokens_(pipeline_of(unet), 0.5)
    assert not patches(unet)


def test_counting_leaves_no_hooks():
    unet = tiny_unet()
    tokens_seen(unet, *inputs())
    assert not patches(unet)


def test_counting_leaves_no_hooks_when_the_network_raises():
    unet = tiny_unet()
    latents, time, context = inputs()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # in the first cross-attention
        tokens_seen(unet, latents, time, context[..., :4])
    assert not patches(unet)


def test_counting_keeps_no_gradients():
    unet = tiny_unet()
    outputs = []
    hook = unet.register_forward_hook(lambda module, given, output: outputs.append(output.sample))
    tokens_seen(unet, *inputs())
    hook.remove()
    assert not outputs[0].requires_grad


@pytest.mark.parametrize(("height", "width"), [(1, 4), (4, 1)])
def test_an_image_of_one_row_has_no_squares(height, width):
    with pytest.raises(ValueError, match="two or more"):
        match(torch.randn(1, 4, 3), height, width, 0.5)
