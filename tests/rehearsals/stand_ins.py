"""What stands in for the models and data that labs fetch: of the same form under the same names, with random weights.

In small for the tests, and at full size for the rehearsal of a GPU. No pickle but where the original is one.
"""

import copy
import hashlib
import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from labkit import scale
from labkit.zoo.data.coloured import END, START


@dataclass(frozen=True)
class Sizes:
    """Configurations of the parts of Stable Diffusion, of its adapter and of CLIP."""

    unet: dict
    autoencoder: dict
    text: dict
    adapted: Sequence[str]  #: layers of the U-Net beside which the adapter stands
    rank: int
    clip_text: dict
    clip_vision: dict
    clip_width: int


_TEXT = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "projection_dim": 8,
}
_LEVELS = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
TINY = Sizes(
    unet=dict(
        sample_size=8,
        **_LEVELS,
        cross_attention_dim=8,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    autoencoder=dict(sample_size=16, **_LEVELS),
    text=_TEXT,
    adapted=("to_q", "conv1", "proj_in"),
    rank=2,
    clip_text=_TEXT,
    clip_vision=_TEXT | {"image_size": 32, "patch_size": 8},
    clip_width=8,
)


def unet(sizes: Sizes = TINY) -> nn.Module:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**sizes.unet)


def save_spelling_tokenizer(folder: Path) -> dict[str, int]:
    """Save one that spells, and reads 77 letters; return what a text encoder needs to know of it."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    tokens = [START, END, *string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    ends = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    CLIPTokenizer.from_pretrained(folder, **ends, model_max_length=77).save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(ends))
    numbers = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return numbers | {"vocab_size": len(tokens), "max_position_embeddings": 77}


def save_pipeline(folder: Path, unet: nn.Module, sizes: Sizes = TINY) -> None:
    """Stable Diffusion as it is published: its safety checker is named, too, but not fetched."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    ends = save_spelling_tokenizer(folder / "tokenizer")
    levels = len(sizes.autoencoder["block_out_channels"])
    vae = AutoencoderKL(
        latent_channels=4,
        **sizes.autoencoder,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    text_encoder = CLIPTextModel(CLIPTextConfig(**(ends | sizes.text)))
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    noise = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    scheduler = PNDMScheduler(skip_prk_steps=True, **noise)
    parts = [vae.half(), text_encoder.half(), tokenizer, copy.deepcopy(unet).half(), scheduler, None, None]
    StableDiffusionPipeline(*parts, requires_safety_checker=False).save_pretrained(folder, variant="fp16")
    index = json.loads((folder / "model_index.json").read_text()) | {"requires_safety_checker": True}
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps({"pad_token": END}))
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    file = folder / "text_encoder" / "model.fp16.safetensors"
    save_file({f"text_model.{name}": tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def save_lora(folder: Path, unet: nn.Module, sizes: Sizes = TINY, std: float = 1.0) -> None:
    """An adapter for the U-Net, which keeps it."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    unet.add_adapter(LoraConfig(r=sizes.rank, lora_alpha=sizes.rank, target_modules=list(sizes.adapted)))
    for parameter in unet.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=std)
    StableDiffusionPipeline.save_lora_weights(folder, get_peft_model_state_dict(unet))


def save_clip(folder: Path, sizes: Sizes = TINY) -> None:
    from transformers import CLIPConfig, CLIPModel

    text = save_spelling_tokenizer(folder) | sizes.clip_text
    config = CLIPConfig(text_config=text, vision_config=sizes.clip_vision, projection_dim=sizes.clip_width)
    CLIPModel(config).save_pretrained(folder)


def save_language_model(folder: Path, sizes: dict, text: str, dtype: torch.dtype) -> None:
    """A Llama with a tokenizer that has learned some thousand pieces of the text, about four letters each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes)).to(dtype).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    ends = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=min(sizes["vocab_size"], 6000), special_tokens=ends, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "</s>"}))


def put_in_hub_cache(cache: Path, repository: str, revision: str, folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Put these files of a folder, as hard links, where a download of the repository leaves them.

    Args:
        cache: of the hub's client.
        names: of files in `folder`.

    Returns:
        The SHA-256 of each, by name.
    """
    place, hashes = cache / f"models--{repository.replace('/', '--')}", {}
    (place / "blobs").mkdir(parents=True)
    for name in names:
        with open(folder / name, "rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        blob, link = place / "blobs" / hashes[name], place / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.hardlink_to(folder / name)
        link.symlink_to(blob)
    return hashes


def smallest_settings(**smallest: object) -> Callable[..., scale.Settings]:
    """What stands in for `scale.settings`: at scale full, what is quick, or what is given here."""

    def settings(**table: tuple) -> scale.Settings:
        values = {name: column[0] for name, column in table.items()} | smallest
        return scale.Settings({name: (value,) * 3 for name, value in values.items()}, "full")

    return settings
