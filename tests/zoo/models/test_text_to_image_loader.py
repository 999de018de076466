"""The text-to-image model that ships, what was recorded of it, and Stable Diffusion in small in a hub's cache."""

import hashlib
import os
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

from labkit.zoo import ZooError, coloured_fashion_mnist, recorded_scores, text_to_image, to_float
from labkit.zoo.data.coloured import BACKGROUNDS, COLOURS, ITEMS
from labkit.zoo.models.judges import ClipJudge
from labkit.zoo.models.text_to_image import CLIP, LCM_LORA, STABLE_DIFFUSION, UNET, TextToImage
from labkit.zoo.sources.origin import ASSETS
from rehearsals import stand_ins

MODULE = sys.modules["labkit.zoo.models.text_to_image"]  # as an attribute of labkit.zoo, the name is the function's
PROMPT = "a red ankle boot on black"


def draw(model: TextToImage, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "pt"} | options
    return model.pipeline(PROMPT, generator=generator, **options).images


def networks(model: TextToImage) -> list[torch.nn.Module]:
    pipeline = model.pipeline
    return [
        module for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, model.judge, model.small) if module
    ]


def flip(file: Path):
    data = file.read_bytes()
    file.unlink()  # it may be a link to the true one
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


# What ships


@pytest.fixture(scope="module")
def shipped() -> TextToImage:
    return text_to_image()


def test_the_model_that_ships_is_small_and_in_float32(shipped, capfd):
    parameters = {type(n).__name__: sum(p.numel() for p in n.parameters()) for n in networks(shipped)[:3]}
    assert sum(parameters.values()) <= 9e6
    assert sum(p.numel() for p in shipped.small.parameters()) < parameters["UNet2DConditionModel"] / 2
    for network in networks(shipped):
        assert ({p.dtype for p in network.parameters()}, network.training) == ({torch.float32}, False)
    assert (shipped.origin.source, shipped.origin.licence, shipped.guidance) == ("embedded", "MIT", 1.5)
    assert shipped.origin.sha256 == hashlib.sha256((ASSETS / "text_to_image" / UNET).read_bytes()).hexdigest()


def test_it_draws_without_a_progress_bar(shipped, capfd):
    picture = draw(shipped)
    assert (picture.shape, picture.dtype) == ((1, 3, 64, 64), torch.float32)
    assert picture.min() >= 0 and picture.max() <= 1
    assert capfd.readouterr().err == ""


def test_its_adapter_is_one_that_the_pipeline_reads(shipped):
    plain = draw(shipped)
    shipped.pipeline.load_lora_weights(shipped.adapter.parent, weight_name=shipped.adapter.name)
    adapted = draw(shipped)
    shipped.pipeline.unload_lora_weights()
    assert (adapted - plain).abs().max() > 0.01
    torch.testing.assert_close(draw(shipped), plain)


def test_its_judge_reads_real_pictures(shipped):
    pictures = coloured_fashion_mnist("test", 100)
    labels, features = shipped.judge.read(to_float(pictures.images))
    item, colour, background = (labels == pictures.labels).double().mean(0)
    assert (colour, background) == (1, 1) and item > 0.8
    assert features.shape == (100, 64)
    assert (shipped.reference.mean.shape, shipped.reference.covariance.shape) == ((64,), (64, 64))


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        (" ", "the prompt is empty"),
        ("a scarlet bag on black", "Unknown in .*: scarlet"),
        ("a red red red bag on black", "has 7 words; the text encoder reads 6"),
    ],
)
def test_prompts_that_it_cannot_draw_are_refused(shipped, prompt, complaint):
    with pytest.raises(ValueError, match=complaint):
        shipped.check(prompt)
    shipped.check(PROMPT)


@pytest.mark.parametrize(
    "name",
    [
        UNET,
        "tokenizer/merges.txt",
        "small/config.json",
        "judge/weights.safetensors",
        "judge/reference.safetensors",
        "lcm_lora/pytorch_lora_weights.safetensors",
        "score/scores.json",
    ],
)
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, name):
    shutil.copytree(ASSETS / "text_to_image", tmp_path / "text_to_image", copy_function=os.symlink)
    shutil.copy(ASSETS / "sha256sums", tmp_path)
    flip(tmp_path / "text_to_image" / name)
    monkeypatch.setattr("labkit.zoo.sources.origin.ASSETS", tmp_path)
    monkeypatch.setattr(MODULE, "_pipeline", lambda folder: None)
    with pytest.raises(ZooError, match=f"{name} is missing or damaged. Install labkit again"):
        recorded_scores() if name.startswith("score") else text_to_image("embedded")


def test_an_unknown_source():
    with pytest.raises(ZooError, match=r"no source 'package'\. Known: embedded, hub\."):
        text_to_image("package")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("labkit.zoo.sources.hub.find_spec", lambda name: name != "diffusers" or None)
    with pytest.raises(ZooError, match=r"diffusers is not installed. Run: labkit doctor"):
        text_to_image()


# What was recorded


@pytest.fixture(scope="module")
def scores() -> dict[tuple, dict[str, float]]:
    """Means over the seeds, by name, steps, guidance and share of merged tokens."""
    rows = defaultdict(list)
    for row in recorded_scores():
        rows[row["name"], row.get("steps"), row.get("guidance"), row.get("merged")].append(row)
    assert all([row["seed"] for row in group] == [4, 5, 6, 7, 8, 9, 10, 11] for group in rows.values())
    metrics = ("item", "colour", "background", "prompt", "distance")
    return {key: {m: mean(row[m] for row in group) for m in metrics} for key, group in rows.items()}


def test_guided_pictures_show_what_was_asked_for(scores):
    real, drawn = scores["test pictures", None, None, None], scores["DPM-Solver++", 25, 1.5, 0.0]
    assert drawn["item"] >= real["item"]
    assert min(drawn["colour"], drawn["background"]) >= 0.99
    assert drawn["distance"] <= 1.5


def test_four_steps_of_the_adapter_follow_as_many_prompts_as_25_guided_ones_and_lie_half_a_unit_farther_at_most(scores):
    slow, fast = scores["DPM-Solver++", 25, 1.5, 0.0], scores["LCM-LoRA", 4, 1.0, 0.0]
    assert fast["distance"] - slow["distance"] <= 0.5  # a difference: distances have no natural zero
    assert fast["prompt"] >= slow["prompt"] - 0.02


def test_no_other_sampler_is_nearer_after_as_few_evaluations(scores):
    for evaluations in (1, 2, 4):
        rivals = {
            (steps, guidance): score["distance"]
            for (name, steps, guidance, _), score in scores.items()
            if name == "DPM-Solver++" and steps * (2 if guidance > 1 else 1) == evaluations
        }
        assert len(rivals) == (1 if evaluations == 1 else 2)
        assert scores["LCM-LoRA", evaluations, 1.0, 0.0]["distance"] < min(rivals.values())


# The hub


HUB = (STABLE_DIFFUSION, LCM_LORA, CLIP)


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Folder of each repository in small."""
    folder, unet = tmp_path_factory.mktemp("tiny"), stand_ins.unet()
    folders = {known["repository"]: folder / known["repository"] for known in HUB}
    stand_ins.save_pipeline(folders[STABLE_DIFFUSION["repository"]], unet)
    stand_ins.save_lora(folders[LCM_LORA["repository"]], unet)
    stand_ins.save_clip(folders[CLIP["repository"]])
    return folders


@pytest.fixture
def no_hub(cache, tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub's client, which is told that there is no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def hub_cache(no_hub, tiny_files, monkeypatch) -> Path:
    """The cache of the hub's client as downloads of the real repositories leave it, with tiny models in place."""
    for known in HUB:
        names = [*known["settings"], *known["weights"]]
        folder = tiny_files[known["repository"]]
        hashes = stand_ins.put_in_hub_cache(no_hub, known["repository"], known["revision"], folder, names)
        for name in known["weights"]:
            monkeypatch.setitem(known["weights"], name, hashes[name])
    return no_hub


def test_stable_diffusion_from_the_cache_of_the_hubs_client(hub_cache, capfd):
    model = text_to_image("hub")
    for network in networks(model):
        assert ({p.dtype for p in network.parameters()}, network.training) == ({torch.float32}, False)
    unet = STABLE_DIFFUSION["weights"]["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert str(model.origin) == (
        f"Stable Diffusion 1.5 (source: hub; licence: CreativeML OpenRAIL-M; SHA-256: {unet[:12]}…)"
    )
    assert (model.pipeline.safety_checker, model.reference, model.small, model.guidance) == (None, None, None, 7.5)

    picture = draw(model, guidance_scale=model.guidance)
    assert (picture.shape, picture.dtype) == ((1, 3, 16, 16), torch.float32)
    assert "%|" not in capfd.readouterr().err  # no bars in a notebook's page
    labels, features = model.judge.read(picture)
    assert (labels.shape, labels.dtype, features.shape) == ((1, 3), torch.int64, (1, 8))

    model.pipeline.load_lora_weights(model.adapter.parent, weight_name=model.adapter.name)
    assert (draw(model, guidance_scale=model.guidance) - picture).abs().max() > 1e-3

    model.check("anything that fits")
    with pytest.raises(ValueError, match="the prompt is empty"):
        model.check(" ")
    with pytest.raises(ValueError, match=r"has 82 tokens with start and end; the text encoder reads 77"):
        model.check("a" * 80)


def test_its_text_encoder_is_the_one_in_the_files(hub_cache, tiny_files):
    """Published by an older transformers, its weights have names that the newest does not use."""
    saved = load_file(tiny_files[STABLE_DIFFUSION["repository"]] / "text_encoder" / "model.fp16.safetensors")
    loaded = text_to_image("hub").pipeline.text_encoder.state_dict()
    loaded = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in loaded.items()}
    for name, tensor in saved.items():
        torch.testing.assert_close(loaded[name], tensor.float(), rtol=0, atol=0, msg=name)


def test_clip_judges_as_transformers_own_functions_do(tiny_files):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    clip, tokenizer = (kind.from_pretrained(tiny_files[CLIP["repository"]]) for kind in (CLIPModel, CLIPTokenizer))
    images = torch.randint(256, (12, 3, 80, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, features = ClipJudge(clip, tokenizer).eval().read(to_float(images), batch=5)
    assert (labels != labels[0]).any()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(images=list(images), return_tensors="pt").pixel_values
    templates = ("a photo of a {}", "something {}", "something on a {} background")
    for i, (template, names) in enumerate(zip(templates, (ITEMS, COLOURS, BACKGROUNDS))):
        texts = tokenizer([template.format(name) for name in names], padding=True, return_tensors="pt")
        with torch.no_grad():
            known = clip(**texts, pixel_values=pixels)
        torch.testing.assert_close(features, known.image_embeds, atol=0.01, rtol=0)  # the processor rounds to 8 bits
        assert labels[:, i].tolist() == (features @ known.text_embeds.T).argmax(1).tolist()


@pytest.mark.parametrize("known", HUB, ids=lambda known: known["repository"])
def test_other_weights_than_expected_are_refused(hub_cache, known):
    name = list(known["weights"])[-1]
    folder = hub_cache / f"models--{known['repository'].replace('/', '--')}" / "snapshots" / known["revision"]
    flip(folder / name)
    with pytest.raises(
        ZooError, match=rf"(?s){name} of {known['repository']} has the wrong SHA-256.*Delete .* and run"
    ):
        text_to_image("hub")


def test_a_hub_that_cannot_be_reached_is_an_error(no_hub):
    with pytest.raises(ZooError, match=r"(?s)hub: stable-diffusion-v1-5/.* could not be fetched.*Check the network"):
        text_to_image("hub")


def test_what_is_asked_of_the_hub_holds_no_pickle_and_no_code():
    for known in HUB:
        assert {Path(name).suffix for name in known["settings"]} <= {".json", ".txt"}
        assert {Path(name).suffix for name in known["weights"]} == {".safetensors"}
        assert len(known["revision"]) == 40
        assert {len(sha256) for sha256 in known["weights"].values()} == {64}


def test_the_lab_goes_through_with_the_models_of_the_hub(hub_cache, go_through):
    go_through("04_lcm_token_merging/lcm_token_merging.py", pictures=4)
