"""The parts of the recipe for the text-to-image model; the whole is rehearsed with --toy."""

import copy
import csv

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler
from torch import nn

from labkit.recipes.text_to_image.diffusion import (
    NOISE,
    Diffusion,
    boundary_loss,
    consistency_loss,
    consistency_sample,
    guided,
    sampler,
)
from labkit.recipes.text_to_image.loop import train
from labkit.recipes.text_to_image.networks import new_small_unet, new_text_encoder, new_unet
from labkit.zoo.data.coloured import save_tokenizer


@pytest.fixture(scope="module")
def diffusion():
    return Diffusion.on(torch.device("cpu"))


def draw(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 4, 2, 2, generator=generator) for _ in range(3)]


def test_nothing_is_left_of_the_picture_at_the_last_time(diffusion):
    assert diffusion.a[999] == 0 and diffusion.b[999] == 1
    assert torch.allclose(diffusion.a.square() + diffusion.b.square(), torch.ones(1000))
    assert (diffusion.a.diff() < 0).all()


def test_the_velocity_leads_back_to_the_picture(diffusion):
    z, noise, _ = draw()
    time = torch.tensor([0, 1, 500, 999])
    x = diffusion.add_noise(z, noise, time)
    assert torch.allclose(diffusion.picture(x, diffusion.velocity(z, noise, time), time), z, atol=1e-5)


def test_with_the_true_velocity_a_step_of_ddim_is_exact(diffusion):
    z, noise, _ = draw()
    time, earlier = torch.tensor([40, 300, 900, 999]), torch.tensor([0, 260, 500, 959])
    stepped = diffusion.ddim(diffusion.add_noise(z, noise, time), diffusion.velocity(z, noise, time), time, earlier)
    assert torch.allclose(stepped, diffusion.add_noise(z, noise, earlier), atol=1e-5)


def test_a_step_is_that_of_diffusers(diffusion):
    scheduler = DDIMScheduler(**NOISE, clip_sample=False)
    scheduler.set_timesteps(25)
    x, velocity, _ = draw()
    for time in (999, 519, 79):
        ours = diffusion.ddim(x, velocity, torch.full((4,), time), torch.full((4,), time - 40))
        assert torch.allclose(ours, scheduler.step(velocity, time, x).prev_sample, atol=1e-5)


def test_sampling_is_that_of_lcm_scheduler(diffusion):
    scheduler = LCMScheduler.from_config(sampler().config)
    scheduler.set_timesteps(4)
    times = scheduler.timesteps.tolist()
    assert times == [999, 759, 499, 259]

    def model(x, time, context):
        return 0.3 * x + time[:, None, None, None] / 1000

    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.randn(4, 4, 2, 2, generator=generator) for _ in times])
    generator.manual_seed(0)
    x = torch.randn(4, 4, 2, 2, generator=generator)
    for time in times:
        x = scheduler.step(model(x, torch.full((4,), time), None), time, x, generator=generator).prev_sample
    assert torch.allclose(consistency_sample(diffusion, model, noise, torch.zeros(4), times), x, atol=1e-5)


def test_the_boundary_condition_is_that_of_diffusers(diffusion):
    scheduler = LCMScheduler.from_config(sampler().config)
    skip, out = scheduler.get_scalings_for_boundary_condition_discrete(torch.arange(1000.0).double())
    assert torch.equal(diffusion.skip, skip.float()) and torch.equal(diffusion.out, out.float())


def test_the_boundary_is_the_identity_whatever_the_model_says(diffusion):
    z, wild, _ = draw()
    assert boundary_loss(diffusion, lambda x, time, context: 100 * wild, z, torch.zeros(4)) == 0


def test_the_loss_is_zero_where_the_path_is_known(diffusion):
    """With one picture only, c, the velocity is known: every path ends in c, and the student that knows it is right."""
    c, noise, _ = draw()
    time = torch.tensor([79, 359, 759, 999])

    def exact(x, time, context):
        a, b = (table[time][:, None, None, None] for table in (diffusion.a, diffusion.b))
        return (a * x - c) / b  # from c = a x - b v

    def loss(student):
        return consistency_loss(diffusion, student, student, exact, c, noise, time, torch.zeros(4), 40)

    assert loss(exact) < 1e-3
    assert loss(lambda x, time, context: -exact(x, time, context)) > 0.05


def test_only_the_student_learns(diffusion):
    z, noise, _ = draw()
    weights = torch.ones(3, requires_grad=True)
    student, target, teacher = (lambda x, time, context, i=i: weights[i] * x for i in range(3))
    time = torch.full((4,), 999)
    consistency_loss(diffusion, student, target, teacher, z, noise, time, torch.zeros(4), 40).backward()
    assert weights.grad[0] != 0 and weights.grad[1:].tolist() == [0, 0]


def test_guidance_goes_beyond_the_prompt(diffusion):
    def model(x, time, context):
        return x * context.mean((1, 2))[:, None, None, None]

    x, context = torch.ones(2, 4, 2, 2), torch.full((2, 8, 3), 5.0)
    for scale, expected in ((1.0, 5), (2.0, 9), (0.0, 1)):
        v = guided(model, scale, torch.ones(1, 8, 3))(x, torch.zeros(2, dtype=torch.long), context)
        assert v.unique().tolist() == [expected]


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return new_unet((32, 32, 32)).eval()


def test_the_highest_attention_has_1024_tokens(unet):
    seen = []
    unet.down_blocks[0].attentions[0].transformer_blocks[0].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape)
    )
    with torch.no_grad():
        unet(torch.randn(1, 4, 32, 32), 5, torch.randn(1, 8, 64))
    assert seen == [(1, 1024, 32)]


def test_a_small_unet_begins_with_the_weights_that_fit(unet):
    small = new_small_unet(unet)
    assert small.mid_block is None and len(small.down_blocks[0].resnets) == 0
    own, theirs = small.state_dict(), unet.state_dict()
    for name in ("conv_in.weight", "down_blocks.1.resnets.0.conv1.weight", "time_embedding.linear_1.bias"):
        assert torch.equal(own[name], theirs[name])
    assert torch.equal(own["up_blocks.1.resnets.0.conv1.weight"], theirs["up_blocks.2.resnets.0.conv1.weight"])
    with torch.no_grad():
        assert small(torch.randn(1, 4, 32, 32), 5, torch.randn(1, 8, 64)).sample.shape == (1, 4, 32, 32)


def test_the_text_encoder_reads_every_position(tmp_path):
    tokenizer = save_tokenizer(tmp_path)
    ids = tokenizer(["a red bag on black", ""], padding="max_length", return_tensors="pt").input_ids
    assert new_text_encoder(tokenizer)(ids)[0].shape == (2, 8, 64)


def problem(tmp_path, seconds, average=None, target=3.0):
    """Fit one weight to `target`; the learner and what `train` returned."""
    learner, generator = nn.Linear(1, 1, bias=False), torch.Generator().manual_seed(0)
    nn.init.zeros_(learner.weight)

    def batch():
        x = torch.randn(8, 1, generator=generator)
        return x, target * x

    def loss(x, y):
        return (learner(x) - y).square().mean()

    return learner, train(
        tmp_path,
        loss,
        batch,
        learner,
        lr=0.1,
        seconds=seconds,
        generator=generator,
        average=average,
        decay=0.5,
        interval=0.1,
        evaluate=lambda: {"weight": f"{learner.weight.item():.3f}"},
    )


def test_training_ends_on_time_and_logs(tmp_path):
    average = nn.Linear(1, 1, bias=False)
    learner, done = problem(tmp_path, 1.5, average)
    assert learner.weight.item() == pytest.approx(3, abs=0.1)
    assert average.weight.item() == pytest.approx(learner.weight.item(), abs=0.1)
    assert 1.5 <= done["seconds"] < 3
    rows = [*csv.DictReader(open(tmp_path / "log.csv"))]
    assert [*rows[0]] == ["step", "seconds", "loss", "lr", "weight"]
    assert (int(rows[-1]["step"]), float(rows[-1]["seconds"])) == (done["steps"], done["seconds"])
    assert float(rows[-1]["lr"]) < 0.02 < max(float(row["lr"]) for row in rows)


def test_a_second_call_goes_on_from_the_checkpoint(tmp_path):
    first, done = problem(tmp_path, 0.3)
    again, same = problem(tmp_path, 0.3)
    assert same == done and torch.equal(again.weight, first.weight)
    _, longer = problem(tmp_path, 0.6)
    assert longer["steps"] > done["steps"] and longer["seconds"] >= 0.6


def test_a_loss_that_is_not_finite(tmp_path):
    with pytest.raises(RuntimeError, match="the loss is nan at step 1; lower the learning rate"):
        problem(tmp_path, 1, target=float("nan"))


def test_the_lora_that_is_saved_is_the_one_that_is_read(unet, tmp_path):
    """Names as peft gives them: diffusers' reader drops part of those that its own converter gives."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    trained, fresh = copy.deepcopy(unet), copy.deepcopy(unet)
    trained.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "conv1", "proj_in"]))
    for parameter in trained.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    StableDiffusionPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(trained))
    fresh.load_lora_adapter(tmp_path / "pytorch_lora_weights.safetensors", prefix="unet")
    inputs = torch.randn(1, 4, 32, 32), 5, torch.randn(1, 8, 64)
    with torch.no_grad():
        wanted, plain = trained(*inputs).sample, unet(*inputs).sample
        assert torch.allclose(fresh(*inputs).sample, wanted, atol=1e-5)
        fresh.fuse_lora()
        assert torch.allclose(fresh(*inputs).sample, wanted, atol=1e-4)
    assert (wanted - plain).abs().max() > 0.01
