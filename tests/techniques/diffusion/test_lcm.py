"""Sampling with the model that ships: the boundary condition, LCM-LoRA by diffusers, and pictures in a single step."""

import copy

import pytest
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from safetensors.torch import load_file, save_file

from labkit.techniques.diffusion.lcm import attach_lcm_, boundary
from labkit.techniques.diffusion.samplers import generate, size_step
from labkit.zoo.sources.origin import ASSETS

FOLDER = ASSETS / "text_to_image"
ADAPTER = FOLDER / "lcm_lora" / "pytorch_lora_weights.safetensors"
PROMPTS = ["a red bag on black", "a blue sandal on white", "a green shirt on black"]
PROMPT = PROMPTS[:1]

fusing = pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])


@pytest.fixture(scope="module")
def shipped():
    """Not to be changed: `pipeline` is a copy."""
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline(shipped):
    return copy.deepcopy(shipped)


@pytest.fixture(scope="module")
def consistency_models(shipped):
    """Fused and unfused; not to be changed."""
    models = {}
    for fuse in (True, False):
        models[fuse] = copy.deepcopy(shipped)
        attach_lcm_(models[fuse], ADAPTER, fuse)
    return models


@pytest.fixture(scope="module")
def adapter():
    return load_file(ADAPTER)


def picture(pipeline: StableDiffusionPipeline, prompts=PROMPT, steps=1, guidance=1.0, seed=0, size=16, **options):
    """Smaller than what the model was trained for, which takes a fraction of the time."""
    return generate(pipeline, prompts, steps, guidance, seed, size, **options)


def lora_layers(unet: UNet2DConditionModel) -> list[str]:
    return [name for name, _ in unet.named_modules() if "lora" in name]


def base_weight(pipeline: StableDiffusionPipeline, layer: str) -> torch.Tensor:
    module = pipeline.unet.get_submodule(layer)
    return getattr(module, "base_layer", module).weight


# The boundary condition


def test_the_boundary_condition_is_that_of_lcm_scheduler():
    scheduler = LCMScheduler()
    theirs = [scheduler.get_scalings_for_boundary_condition_discrete(time) for time in range(1000)]
    skip, out = boundary(torch.arange(1000))
    torch.testing.assert_close(skip, torch.tensor([float(s) for s, _ in theirs]))
    torch.testing.assert_close(out, torch.tensor([float(o) for _, o in theirs]))


def test_a_finished_picture_is_left_as_it_is():
    assert [part.item() for part in boundary(torch.tensor(0))] == [1, 0]


def test_at_the_last_time_nearly_all_is_up_to_the_network():
    skip, out = boundary(torch.tensor(999.0))
    assert 0 < skip < 1e-8 and out == pytest.approx(1)


# The adapter


def test_fused_or_not_the_picture_is_the_same(consistency_models, shipped):
    fused, unfused = (picture(consistency_models[fuse], size=64) for fuse in (True, False))
    torch.testing.assert_close(fused, unfused, rtol=0, atol=1e-4)
    assert (fused - picture(shipped, size=64)).abs().max() > 0.1


@fusing
def test_the_sampler_is_that_of_consistency_models_with_the_times_of_the_one_before(consistency_models, shipped, fuse):
    scheduler = consistency_models[fuse].scheduler
    assert type(scheduler) is LCMScheduler
    for name in ("beta_start", "beta_end", "prediction_type", "rescale_betas_zero_snr", "num_train_timesteps"):
        assert scheduler.config[name] == shipped.scheduler.config[name]


@pytest.mark.parametrize(
    "layer", ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "up_blocks.2.resnets.0.conv1"]
)
def test_fused_the_product_is_added_to_the_weights(consistency_models, shipped, adapter, layer):
    down, up = (adapter[f"unet.{layer}.lora_{part}.weight"].float() for part in "AB")
    before = base_weight(shipped, layer)
    product = (up.flatten(1) @ down.flatten(1)).view(before.shape)
    assert product.abs().max() > 1e-3
    torch.testing.assert_close(base_weight(consistency_models[True], layer), before + product)
    assert torch.equal(base_weight(consistency_models[False], layer), before)


def test_unfused_every_layer_of_the_file_is_attached_and_fused_none_is_left(consistency_models, adapter):
    held = {f"unet.{name}.weight" for name in lora_layers(consistency_models[False].unet) if name.endswith("lora_A")}
    assert held == {name for name in adapter if "lora_A" in name} and len(held) == 128
    fused = consistency_models[True].unet
    assert not lora_layers(fused)
    assert fused.state_dict().keys() == UNet2DConditionModel.from_config(fused.config).state_dict().keys()


def assert_refused(pipeline, file, problem):
    """With ValueError, and nothing is changed."""
    scheduler, weights = pipeline.scheduler, copy.deepcopy(pipeline.unet.state_dict())
    with pytest.raises(ValueError, match=problem):
        attach_lcm_(pipeline, file, fuse=True)
    assert pipeline.scheduler is scheduler
    assert not lora_layers(pipeline.unet) and not getattr(pipeline.unet, "peft_config", None)
    assert pipeline.unet.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in pipeline.unet.state_dict().items())


def test_a_unet_with_blocks_removed_refuses_the_adapter_of_the_whole_one(pipeline):
    pipeline.unet = UNet2DConditionModel.from_pretrained(FOLDER / "small", local_files_only=True)
    assert_refused(
        pipeline,
        ADAPTER,
        r"pytorch_lora_weights.safetensors is an adapter of another architecture: "
        r"\d+ of its 128 layers do not fit this U-Net, such as down_blocks\.",
    )


@pytest.mark.parametrize("part", ["A", "B"])
def test_a_single_layer_of_another_size_is_enough(pipeline, adapter, tmp_path, part):
    name = f"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_{part}.weight"
    wrong = adapter[name].repeat(1, 2) if part == "A" else adapter[name].repeat(2, 1)
    save_file(adapter | {name: wrong}, tmp_path / "wide.safetensors")
    assert_refused(pipeline, tmp_path / "wide.safetensors", r"1 of its 128 layers .* such as mid_block.*attn1\.to_q$")


def test_an_adapter_of_the_text_encoder_alone(pipeline, tmp_path):
    name = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    save_file(
        {f"{name}.lora_A.weight": torch.zeros(4, 64), f"{name}.lora_B.weight": torch.zeros(64, 4)},
        tmp_path / "text.safetensors",
    )
    assert_refused(pipeline, tmp_path / "text.safetensors", "text.safetensors is an adapter of another architecture")


@pytest.mark.parametrize("weights", [{}, {"linear.weight": torch.zeros(3)}], ids=["empty", "of something else"])
def test_a_file_that_is_no_adapter(pipeline, tmp_path, weights):
    save_file(weights, tmp_path / "other.safetensors")
    assert_refused(pipeline, tmp_path / "other.safetensors", "0 of its 0 layers do not fit this U-Net, it has none")


def test_names_of_another_tool_are_understood_and_its_alpha_is_applied(pipeline, consistency_models, adapter, tmp_path):
    # kohya's: the product is multiplied by alpha over rank, here by a half, which `lora_up` makes up for.
    renamed = {}
    for name, weight in adapter.items():
        layer, part = name.removeprefix("unet.").removesuffix(".weight").rsplit(".", 1)
        key = f"lora_unet_{layer.replace('.', '_')}"
        renamed[f"{key}.lora_down.weight" if part == "lora_A" else f"{key}.lora_up.weight"] = (
            weight if part == "lora_A" else 2 * weight
        )
        renamed[f"{key}.alpha"] = torch.tensor(adapter[name.replace("lora_B", "lora_A")].shape[0] / 2)
    assert len(renamed) == 3 * 128
    save_file(renamed, tmp_path / "kohya.safetensors")
    attach_lcm_(pipeline, tmp_path / "kohya.safetensors", fuse=False)
    torch.testing.assert_close(picture(pipeline), picture(consistency_models[False]), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters")
def test_names_of_two_kinds_of_which_diffusers_drops_one(pipeline, adapter, tmp_path):
    mixed = convert_state_dict_to_diffusers(dict(adapter))  # renames the attention's alone
    kept = sum(name.endswith("lora_A.weight") for name in mixed)
    assert 0 < kept < 128
    save_file(mixed, tmp_path / "mixed.safetensors")
    with pytest.raises(RuntimeError, match=f"diffusers took {kept} of the 128 layers of mixed.safetensors"):
        attach_lcm_(pipeline, tmp_path / "mixed.safetensors", fuse=True)


def test_nothing_is_taken_by_diffusers(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "load_lora_weights", lambda *args, **options: None)
    with pytest.raises(RuntimeError, match="diffusers took 0 of the 128 layers of pytorch_lora_weights.safetensors"):
        attach_lcm_(pipeline, ADAPTER, fuse=True)


# Drawing


@pytest.fixture
def asked(shipped, consistency_models):
    """What each evaluation of a U-Net was given, of the model that ships or of the consistency models."""
    given = []
    unets = [model.unet for model in (shipped, *consistency_models.values())]
    hooks = [unet.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone())) for unet in unets]
    yield given
    for hook in hooks:
        hook.remove()


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(shipped):
    first, again, other = (picture(shipped, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 0.01


def test_the_seed_is_all_that_chance_depends_on(consistency_models):
    pictures = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        pictures.append(picture(consistency_models[True], steps=2))  # between its steps it adds noise
    assert torch.equal(*pictures)


@pytest.mark.parametrize("batch", [1, 2])
def test_each_prompt_gets_its_own_picture(shipped, batch):
    red, blue = PROMPTS[:2]
    same, other = (picture(shipped, [red, prompt], batch=batch) for prompt in (red, blue))
    torch.testing.assert_close(same[0], other[0], rtol=0, atol=1e-5)
    assert (same[1] - other[1]).abs().max() > 0.1


@pytest.mark.parametrize("size", [None, 8, 24])
def test_pictures_are_float32_from_0_to_1_on_the_cpu(shipped, size):
    images, side = picture(shipped, PROMPTS, size=size), size or 64
    assert images.shape == (3, 3, side, side)
    assert images.dtype == torch.float32 and images.device.type == "cpu" and not images.requires_grad
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize(("sampler", "guidance"), [("DPM-Solver++", 1.5), ("LCM-LoRA", 1.0)])
def test_pictures_do_not_depend_on_how_many_are_drawn_with_them(shipped, consistency_models, sampler, guidance):
    model = shipped if sampler == "DPM-Solver++" else consistency_models[True]  # which adds noise between its steps
    whole = picture(model, PROMPTS, 2, guidance)
    for batch in (1, 2):
        torch.testing.assert_close(picture(model, PROMPTS, 2, guidance, batch=batch), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(picture(model, PROMPTS[:2], 2, guidance), whole[:2], rtol=0, atol=1e-5)


def test_every_picture_starts_from_its_own_noise_and_every_seed_from_another(shipped, asked):
    for seed in (0, 1, 2):
        picture(shipped, PROMPTS, seed=seed)
    noise = torch.cat(asked).flatten(1)
    assert len(noise) == 9 and torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.3


def test_no_batch_is_larger_than_asked_for(shipped, asked):
    picture(shipped, PROMPTS, batch=2)
    assert [len(given) for given in asked] == [2, 1]


def test_every_sampler_starts_from_the_same_noise(shipped, consistency_models, asked):
    starts = []
    for model, steps, guidance in (
        (shipped, 1, 1.0),
        (shipped, 2, 1.5),
        (consistency_models[True], 1, 1.0),
        (consistency_models[False], 2, 2.0),
    ):
        asked.clear()
        picture(model, PROMPTS, steps, guidance, seed=5)
        starts.append(asked[0][:3])  # under guidance the same again
    assert starts[0].shape == (3, 4, 8, 8) and starts[0].std() == pytest.approx(1, abs=0.1)
    assert all(torch.equal(start, starts[0]) for start in starts[1:])


def test_the_starting_noise_does_not_depend_on_the_batch_even_if_the_sampler_adds_more(consistency_models, asked):
    picture(consistency_models[True], PROMPTS, steps=2)
    picture(consistency_models[True], PROMPTS, steps=2, batch=1)
    whole, parts = asked[0], asked[2::2]
    assert torch.equal(torch.cat(parts), whole)


def test_a_unet_with_blocks_removed_starts_from_the_same_noise_too(pipeline, shipped, asked):
    pipeline.unet = UNet2DConditionModel.from_pretrained(FOLDER / "small", local_files_only=True)
    pipeline.unet.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].clone()))
    for model in (shipped, pipeline):
        picture(model)
    assert len(asked) == 2 and torch.equal(*asked)


@pytest.mark.parametrize(("guidance", "times"), [(1.0, 1), (1.5, 2)])
@pytest.mark.parametrize("steps", [1, 3])
def test_guidance_asks_the_network_twice_in_each_step(shipped, asked, steps, guidance, times):
    picture(shipped, PROMPT, steps, guidance)
    assert [len(given) for given in asked] == [times] * steps


@pytest.mark.parametrize("prompts", [[], [""], [*PROMPTS, "  "]], ids=["none", "empty", "one is blank"])
def test_no_prompt_or_an_empty_one(shipped, prompts):
    with pytest.raises(ValueError, match="a prompt is empty; say what to draw"):
        picture(shipped, prompts)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps(shipped, steps):
    with pytest.raises(ValueError, match=f"{steps} steps; sampling takes one or more"):
        picture(shipped, steps=steps)


@pytest.mark.parametrize("size", [50, 4, 0, -8])
def test_a_size_that_the_unet_cannot_take(shipped, size):
    assert size_step(shipped) == 8  # two pixels for each latent, halved twice
    with pytest.raises(ValueError, match=f"the size is {size}; this U-Net takes multiples of 8 .* trained with 64"):
        picture(shipped, size=size)


@fusing
@pytest.mark.parametrize("guidance", [7.5, 2.1, 0.5])
def test_guidance_that_a_consistency_model_does_not_take(consistency_models, fuse, guidance):
    with pytest.raises(ValueError, match=f"the guidance is {guidance}; guidance was distilled .* from 1 .none. to 2"):
        picture(consistency_models[fuse], guidance=guidance)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_guidance_that_a_consistency_model_takes(consistency_models, guidance):
    assert picture(consistency_models[True], guidance=guidance).isfinite().all()


def test_strong_guidance_of_a_model_without_the_adapter(pipeline):
    strong = picture(pipeline, guidance=7.5)
    assert (strong - picture(pipeline)).abs().max() > 0.1
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)  # does not make it a consistency model
    assert picture(pipeline, guidance=7.5).isfinite().all()


@pytest.mark.parametrize("guidance", [0.5, 0, -1.0])
def test_less_guidance_than_none(shipped, guidance):
    with pytest.raises(ValueError, match=f"the guidance is {guidance}; 1 is none, and less is not defined"):
        picture(shipped, guidance=guidance)


def test_what_is_refused_is_refused_before_the_network_is_asked(shipped, asked):
    for wrong in (dict(prompts=[""]), dict(steps=0), dict(size=50), dict(guidance=0.5)):
        with pytest.raises(ValueError):
            picture(shipped, **wrong)
    assert not asked


@fusing
def test_no_pipeline_takes_a_second_adapter(consistency_models, fuse):
    with pytest.raises(ValueError, match="already"):
        attach_lcm_(consistency_models[fuse], ADAPTER, fuse=True)


def test_a_string_is_no_list_of_prompts(shipped):
    with pytest.raises(ValueError, match="list"):
        generate(shipped, "a red top on black", 1, 1.0, 0)


def test_a_size_is_one_that_diffusers_takes(pipeline):
    """Which asks for multiples of 8, although two levels halve a side to a quarter only."""
    pipeline.unet = UNet2DConditionModel.from_pretrained(FOLDER / "small")
    assert size_step(pipeline) == 8
