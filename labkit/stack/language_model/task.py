"""Language modelling as a task: SmolLM2 on the language reference of Python."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from labkit import measure, zoo
from labkit.measure import Measurement
from labkit.stack.steps import Facts
from labkit.techniques.storage import safetensors


class LanguageModelling:
    """A small language model and the language reference of Python, of which a tenth is held out.

    Rows have `file` (bytes of safetensors in zstd that load again; 16 bits for what is not quantized), `smaller` (times
    smaller than two bytes per parameter, in which the model ships), `perplexity` on the held-out blocks, `lost` (nats
    per token, paired with the model at the start) and `latency` (times that of the model at the start, one block, in
    turn, weights unpacked; a property of the number of layers, timed once for each). The blocks of one topic are alike:
    of `perplexity` and `lost` each topic counts once, and of a long topic the first few blocks are enough.

    Raises:
        ZooError: as `zoo.language_model`.
    """

    def __init__(
        self,
        held_out_blocks: int | None = None,
        blocks_of_a_topic: int = 3,
        length: int = 256,
        batch: int = 2,
        source: Literal["package", "hub"] | None = "package",
        device: str = "cpu",
        latencies: dict[str, Measurement] | None = None,
    ):
        self.pretrained, corpus = zoo.language_model(source), zoo.documentation_corpus()
        self.device, self.batch = device, batch
        tokenizer = self.pretrained.tokenizer
        self.training = zoo.blocks(corpus.training, tokenizer, length).to(device)
        topics = zoo.block_topics(corpus, tokenizer, length)
        few = [i for i, topic in enumerate(topics) if topics[:i].count(topic) < blocks_of_a_topic][:held_out_blocks]
        self.held_out = zoo.blocks(corpus.held_out, tokenizer, length).to(device)[few]
        self.topics = [topics[i] for i in few]  #: that of each held-out block
        self.name = (
            f"language model from {self.pretrained.origin.source}, "
            f"{len(self.held_out)} held-out blocks of {length} tokens from {len(set(self.topics))} topics, "
            f"{len(self.training)} for training"
        )
        self.facts: Facts = frozenset()
        self.latencies = {} if latencies is None else latencies

    def start(self) -> nn.Module:
        """The model with its weights rounded to 16 bits, in which files store it, computing in 32."""
        return round_to_16_bits_(copy.deepcopy(self.pretrained.model)).to(self.device)

    def batches(self, seed: int) -> Iterator[torch.Tensor]:
        """Random batches of training blocks, (batch, length), without end."""
        return zoo.random_blocks(self.training, self.batch, seed)

    def measure(self, model: nn.Module, facts: Facts) -> dict[str, Measurement]:
        """The measurements of a row; its file is written, to know its size, and removed."""
        losses = self.losses(model)
        with tempfile.TemporaryDirectory() as folder:
            file = self.save(model, Path(folder, "model.safetensors.zst")).stat().st_size
        whole = 2 * measure.parameters(self.pretrained.model).value
        return {
            "file": Measurement.exact(file, "bytes"),
            "smaller": Measurement.exact(whole / file, "×"),
            "perplexity": measure.perplexity(losses, self.topics),
            "lost": measure.loss_difference(losses, self.reference, self.topics),
            "latency": self.latency(model),
        }

    @cached_property
    def reference(self) -> torch.Tensor:
        """What the model at the start loses on each held-out block, as `losses`."""
        return self.losses(self.start())

    def losses(self, model: nn.Module) -> torch.Tensor:
        """What the model loses on each held-out block, nats per token, float64 (blocks,)."""
        with parametrize.cached():  # unpack once, not for every block
            return measure.block_losses(model, self.held_out)

    def save(self, model: nn.Module, path: Path) -> Path:
        """Write the model as safetensors in zstd, with 16 bits for what is not quantized."""
        return safetensors.save_weights(self._stored(model), path)

    def load(self, path: Path, like: nn.Module) -> nn.Module:
        """What `save` wrote, into a copy of a model of the same layers and grids.

        Raises:
            ValueError: the model is any other.
        """
        model, state = copy.deepcopy(like), safetensors.load_weights(path)
        here, there = ({(name, t.shape, t.dtype) for name, t in s.items()} for s in (self._stored(model), state))
        if wrong := here ^ there:
            name = min(name for name, *_ in wrong)
            raise ValueError(f"{path} and the model differ in the form of {name!r}: load it into what was saved")
        model.load_state_dict(state, strict=False)  # of tied weights the file has one
        return model

    def _stored(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The state, with 16 bits for what was rounded to them, and what is tied once."""
        once = {tensor.data_ptr(): (name, tensor) for name, tensor in reversed(model.state_dict().items())}
        state = {name: tensor.cpu() for name, tensor in once.values()}
        return {name: tensor.half() if _is_rounded(name, tensor) else tensor for name, tensor in state.items()}

    def latency(self, model: nn.Module) -> Measurement:
        """How many times the time of the model at the start this one takes, for one block on the CPU."""
        key = f"{len(model.model.layers)} layers"
        if key not in self.latencies:
            full, fewer = (copy.deepcopy(self.pretrained.model).cpu() for _ in range(2))
            fewer.model.layers = fewer.model.layers[: len(model.model.layers)]
            block = self.held_out[:1].cpu()
            timings = measure.time_in_turn({"model": lambda: fewer(block), "start": lambda: full(block)}, 15)
            self.latencies[key] = timings.ratio("model", "start")
        return self.latencies[key]


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the blocks; not the last one, whose weight is the embedding's."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name != "lm_head"}


def _is_rounded(name: str, tensor: torch.Tensor) -> bool:
    """Whether 16 bits hold it: everything but integers and the constants that belong to them."""
    return tensor.is_floating_point() and not re.search(r"\.original\d", name)


def round_to_16_bits_(model: nn.Module) -> nn.Module:
    """With 16 bits for what no grid holds, so that the file has what was measured."""
    for name, tensor in model.state_dict().items():
        if _is_rounded(name, tensor):
            tensor.copy_(tensor.half())
    return model
