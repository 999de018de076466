"""What the judge says of pictures: do they show what their prompts ask for, and how far are they from real ones?"""

import time
from collections.abc import Iterator
from pathlib import Path

import tomesd
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from labkit.zoo.data.coloured import PROMPTS, ColouredSet, coloured_fashion_mnist, prompt_index, to_float
from labkit.zoo.models.judges import Judge, Moments, frechet_distance, moments
from labkit.zoo.sources.precision import halved, widened

BATCH = 250  # pictures drawn at once
FEW = (20, 50)  # pictures, as many as somebody may draw who has only a CPU


def save_judge(folder: Path, judge: Judge) -> None:
    """Weights in fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    state = halved(judge.state_dict())
    save_file({k: v.contiguous().cpu() for k, v in state.items()}, folder / "weights.safetensors")


def load_judge(folder: Path, device: torch.device) -> Judge:
    judge = Judge()
    judge.load_state_dict(widened(load_file(folder / "weights.safetensors")))
    return judge.eval().to(device)


def save_reference(folder: Path, pictures: ColouredSet, device: torch.device) -> None:
    """Moments of what the judge that ships sees in real pictures: every Fréchet distance is measured to them."""
    _, features = load_judge(folder, device).read(to_float(pictures.images.to(device)))
    save_file(moments(features.cpu())._asdict(), folder / "reference.safetensors")


def load_reference(folder: Path) -> Moments:
    saved = load_file(folder / "reference.safetensors")
    return Moments(saved["mean"], saved["covariance"])


class Scorer:
    """Scores pictures by the judge in a folder, against the moments beside it."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.judge, self.reference = load_judge(folder, device), load_reference(folder)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor, few: tuple[int, ...] = ()) -> dict[str, float]:
        """Accuracies and Fréchet distance of pictures, float (N, 3, 64, 64) in [0, 1], with the labels (N, 3) wanted.

        What `few` of them would have given is told, too: the middle 95 % of the distances of disjoint groups.
        """
        read, features = self.judge.read(images.float())
        right = read.cpu() == labels.cpu()
        scores = dict(zip(("item", "colour", "background"), right.double().mean(0).tolist()))
        scores["prompt"] = right.all(1).double().mean().item()  # all three
        scores["distance"] = self.distance(features)
        for n in few:
            groups = [self.distance(part) for part in features.split(n) if len(part) == n]
            if groups:
                low, high = torch.tensor(groups).quantile(torch.tensor([0.025, 0.975])).tolist()
                scores |= {f"distance_{n}_low": low, f"distance_{n}_high": high}
        return scores

    def distance(self, features: torch.Tensor) -> float:
        return frechet_distance(moments(features.cpu()), self.reference)


def real_rows(pipeline: StableDiffusionPipeline, scorer: Scorer, n: int, seed: int) -> Iterator[dict]:
    """The judge's own limits: real pictures, the same through the autoencoder, and pictures that training has seen."""
    test, train = (coloured_fashion_mnist(split, n, seed) for split in ("test", "train"))
    for name, pictures in (("test pictures", test), ("training pictures", train)):
        yield {"name": name, "seed": seed, "images": n} | scorer(_on(pipeline, pictures), pictures.labels, FEW)
    with torch.no_grad():
        passed = [
            pipeline.vae(2 * part - 1).sample.clamp(-1, 1) / 2 + 0.5
            for part in _on(pipeline, test).to(pipeline.dtype).split(BATCH)
        ]
    yield {"name": "autoencoder", "seed": seed, "images": n} | scorer(torch.cat(passed), test.labels, FEW)


def _on(pipeline: StableDiffusionPipeline, pictures: ColouredSet) -> torch.Tensor:
    return to_float(pictures.images.to(pipeline.device))


def generated(
    pipeline: StableDiffusionPipeline, labels: torch.Tensor, steps: int, guidance: float, seed: int
) -> torch.Tensor:
    """Pictures (N, 3, 64, 64) in [0, 1] for labels (N, 3); the same starting noise for every sampler and device."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), 4, *[pipeline.unet.config.sample_size] * 2, generator=generator)
    prompts = [PROMPTS[i] for i in prompt_index(labels)]
    parts = [
        pipeline(
            prompts[i : i + BATCH],
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=noise[i : i + BATCH].to(pipeline.device, pipeline.dtype),
            generator=generator,
            output_type="pt",
        ).images.float()
        for i in range(0, len(prompts), BATCH)
    ]
    return torch.cat(parts)


def sampled_row(
    pipeline: StableDiffusionPipeline,
    scorer: Scorer,
    name: str,
    steps: int,
    guidance: float,
    merged: float,
    n: int,
    seed: int,
) -> dict:
    """Scores of `n` generated pictures. Prompts follow the test split's items and random colours.

    `merged` is the share of tokens that tomesd merges (Bolya and Hoffman 2023, arXiv:2303.17604).
    """
    labels = coloured_fashion_mnist("test", n, seed).labels
    if merged:
        tomesd.apply_patch(pipeline, ratio=merged)
    start = time.perf_counter()
    images = generated(pipeline, labels, steps, guidance, seed)
    seconds = round(time.perf_counter() - start, 1)
    tomesd.remove_patch(pipeline)
    # Guidance asks the network twice a step.
    cost = {"steps": steps, "guidance": guidance, "merged": merged, "evaluations": steps * (2 if guidance > 1 else 1)}
    return {"name": name, "seed": seed, "images": n} | cost | scorer(images, labels, FEW) | {"seconds": seconds}


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionPipeline:
    """The pipeline that ships, in fp16 on a GPU and in float32 on a CPU."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device, torch.float16 if device.type == "cuda" else torch.float32)
