"""A text-to-image model that ships with labkit, or Stable Diffusion 1.5 from the model hub, each with its judge."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safetensors.torch import load_file

from labkit.quiet import bars_on_terminals_only
from labkit.zoo.data.coloured import check_prompt
from labkit.zoo.models.judges import ClipJudge, Judge, Moments
from labkit.zoo.sources.fetch import sha256_of
from labkit.zoo.sources.hub import from_hub, require
from labkit.zoo.sources.origin import Origin, embedded, from_first
from labkit.zoo.sources.precision import widened

if TYPE_CHECKING:  # slow to import: at run time, each function imports what it needs of diffusers and transformers
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from transformers import PreTrainedTokenizerBase

# From the model hub: settings, then weights with the SHA-256 of each. Neither pickles nor code.
TOKENIZER = ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")
STABLE_DIFFUSION = {
    "repository": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "revision": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "settings": (
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "unet/config.json",
        "vae/config.json",
        *(f"tokenizer/{name}" for name in TOKENIZER),
    ),
    "weights": {
        "text_encoder/model.fp16.safetensors": "77795e2023adcf39bc29a884661950380bd093cf0750a966d473d1718dc9ef4e",
        "vae/diffusion_pytorch_model.fp16.safetensors": "4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c",  # noqa: E501
        "unet/diffusion_pytorch_model.fp16.safetensors": "c83908253f9a64d08c25fc90874c9c8aef9a329ce1ca5fb909d73b0c83d1ea21",  # noqa: E501
    },
}
LCM_LORA = {
    "repository": "latent-consistency/lcm-lora-sdv1-5",
    "revision": "cf2fced511dbe7e26c8d1d397e728fbab875db4b",
    "settings": (),
    "weights": {"pytorch_lora_weights.safetensors": "8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4"},
}
CLIP = {
    "repository": "openai/clip-vit-base-patch32",
    # Of the hub's own conversion to safetensors (refs/pr/15): the main branch has its weights as a pickle only.
    "revision": "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",
    "settings": ("config.json", "tokenizer.json", *TOKENIZER),
    "weights": {"model.safetensors": "99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d"},
}


@dataclass(frozen=True, eq=False)
class TextToImage:
    """A StableDiffusionPipeline (float32, eval, on the CPU, without a progress bar) and what belongs to it."""

    pipeline: "StableDiffusionPipeline"
    origin: Origin
    adapter: Path  #: LCM-LoRA; `pipeline.load_lora_weights(adapter.parent, weight_name=adapter.name)` reads it
    judge: "Judge | ClipJudge"  #: reads pictures, float (N, 3, H, W) in [0, 1], by its method `read`
    reference: Moments | None  #: of the judge's features of real pictures, where there are any
    guidance: float  #: with which the model is meant to be sampled
    small: "UNet2DConditionModel | None"  #: distilled from `pipeline.unet` with blocks removed, where there is one

    def check(self, prompt: str) -> None:
        """Refuse a prompt that the model cannot draw.

        Raises:
            ValueError: it is empty, too long, or has words that the embedded model was never shown.
        """
        if self.origin.source == "embedded":
            check_prompt(prompt)
        else:
            _check_length(prompt, self.pipeline.tokenizer)


def text_to_image(source: Literal["embedded", "hub"] | None = None) -> TextToImage:
    """Load a model that draws pictures from text, its LCM-LoRA (Luo et al. 2023, arXiv:2311.05556), and a judge.

    Args:
        source: "embedded" (None as well: coloured Fashion-MNIST, 64x64 pixels, trained from scratch by
            `labkit.recipes.text_to_image`) or "hub" (Stable Diffusion 1.5, Rombach et al. 2022, arXiv:2112.10752,
            512x512 pixels, judged by CLIP; 2.9 GB).

    Weights are fp16 in the files and are widened to float32.

    Raises:
        ZooError: unknown source, or it does not deliver, or diffusers is not installed.
    """
    require("diffusers", "transformers")
    return from_first("The text-to-image model", {"embedded": _embedded, "hub": _hub}, source or "embedded")[1]


def _pipeline(folder: Path, **options: object) -> "StableDiffusionPipeline":
    """A pipeline in float32, whatever the precision of its files."""
    from diffusers import StableDiffusionPipeline

    with bars_on_terminals_only("diffusers", "transformers"):
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, **options
        )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.text_encoder.float()  # diffusers widens what it loads; transformers 5 keeps the precision of its files
    return pipeline


# What ships with labkit


FOLDER = "text_to_image"
UNET = "unet/diffusion_pytorch_model.safetensors"
PIPELINE_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    UNET,
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
SMALL_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def recorded_scores() -> list[dict]:
    """Accuracies and Fréchet distances of the embedded model under many samplers, 2,000 pictures each, eight seeds.

    A row holds the sampler's `name` and `seed`, its cost (`steps`, `guidance`, `merged` share of tokens, `evaluations`
    of the U-Net) and its scores; rows of real pictures have no cost. They are those of `labkit.recipes.text_to_image`.

    Raises:
        ZooError: the file that ships is missing or damaged.
    """
    return json.loads(embedded(f"{FOLDER}/score/scores.json").read_text())["rows"]


def _embedded() -> TextToImage:
    folder = _intact_folder(FOLDER, PIPELINE_FILES)
    return TextToImage(
        pipeline=_pipeline(folder),
        origin=Origin("Coloured Fashion-MNIST diffusion", "embedded", "MIT", sha256_of(folder / UNET)),
        adapter=embedded(f"{FOLDER}/lcm_lora/pytorch_lora_weights.safetensors"),
        judge=_judge(embedded(f"{FOLDER}/judge/weights.safetensors")),
        reference=Moments(**load_file(embedded(f"{FOLDER}/judge/reference.safetensors"))),
        guidance=1.5,
        small=_unet(_intact_folder(f"{FOLDER}/small", SMALL_FILES)),
    )


def _intact_folder(folder: str, names: Sequence[str]) -> Path:
    """Path of a folder of assets, after a look at each of these files in it."""
    files = [embedded(f"{folder}/{name}") for name in names]
    return files[0].parent  # the first of them lies at the top


def _unet(folder: Path) -> "UNet2DConditionModel":
    from diffusers import UNet2DConditionModel

    with bars_on_terminals_only("diffusers", "transformers"):
        return UNet2DConditionModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)


def _judge(weights: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict(widened(load_file(weights)))
    return judge.eval()


# The model hub


def _hub() -> TextToImage:
    from diffusers import DPMSolverMultistepScheduler

    folder = from_hub(**STABLE_DIFFUSION)
    sha256 = STABLE_DIFFUSION["weights"]["unet/diffusion_pytorch_model.fp16.safetensors"]
    # Stable Diffusion's safety checker would be another 0.6 GB and a forward pass in every timing; it blacks out
    # what it takes for indecent, and the judge would score the black. The prompts here name clothes.
    pipeline = _pipeline(
        folder, variant="fp16", safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    # It comes with an older solver that needs twice the steps.
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    return TextToImage(
        pipeline=pipeline,
        origin=Origin("Stable Diffusion 1.5", "hub", "CreativeML OpenRAIL-M", sha256),
        adapter=from_hub(**LCM_LORA) / "pytorch_lora_weights.safetensors",
        judge=_clip_judge(from_hub(**CLIP)),
        reference=None,
        guidance=7.5,
        small=None,
    )


def _check_length(prompt: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    if not prompt.strip():
        raise ValueError("the prompt is empty; say what to draw, such as 'a red ankle boot on black'")
    length, limit = len(tokenizer(prompt, verbose=False).input_ids), tokenizer.model_max_length
    if length > limit:
        raise ValueError(f"{prompt!r} has {length} tokens with start and end; the text encoder reads {limit}")


def _clip_judge(folder: Path) -> ClipJudge:
    from transformers import CLIPModel, CLIPTokenizer

    with bars_on_terminals_only("diffusers", "transformers"):
        clip = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return ClipJudge(clip.float(), tokenizer).eval()
