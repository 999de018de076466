"""Footprint: from the architecture of a language model to the memory that it takes,
by part, before anything is run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil, prod
from typing import Any, Literal, NamedTuple

from labkit.estimate.block_quantization import storage_bytes
from labkit.measure.measurement import Measurement

Format = Literal["fp32", "fp16", "bf16", "int8", "nf4", "nf4 double"]
Dtype = Literal["fp32", "fp16", "bf16"]
FLOAT = 4  # bytes of a float32, in which adapters, norms and the loss compute
DTYPES = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes
FORMATS = (*DTYPES, "int8", "nf4", "nf4 double")
OPTIMIZERS = ("adamw", "adamw 8-bit")

# What config.json of the models says, under the names of transformers' LlamaConfig.
# LLaMA: Table 2 of Touvron et al. 2023 (arXiv:2302.13971); the inner width is that of
# the released weights, 2/3 of 4 h, rounded up to a multiple of 256.
PRESETS: dict[str, dict[str, Any]] = {
    "1B": dict(
        hidden_size=2048,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        intermediate_size=5632,
        vocab_size=32000,
        source="TinyLlama-1.1B, Zhang et al. 2024, arXiv:2401.02385",
    ),
    "7B": dict(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        intermediate_size=11008,
        vocab_size=32000,
        source="LLaMA-7B, Touvron et al. 2023, arXiv:2302.13971",
    ),
    "13B": dict(
        hidden_size=5120,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=40,
        intermediate_size=13824,
        vocab_size=32000,
        source="LLaMA-13B, Touvron et al. 2023, arXiv:2302.13971",
    ),
    "65B": dict(
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=64,
        intermediate_size=22016,
        vocab_size=32000,
        source="LLaMA-65B, Touvron et al. 2023, arXiv:2302.13971",
    ),
}


def require_memory(parts: Mapping[str, Measurement], available: int) -> None:
    """Say before CUDA does, and with reasons, that a training run does not fit.

    Args:
        parts: of `training_footprint`.
        available: bytes of the device, such as `torch.cuda.mem_get_info()[0]`.

    Raises ValueError if the parts together are more.
    """
    total = Measurement.exact(sum(m.value for m in parts.values()), "bytes")
    if total.value <= available:
        return
    largest = sorted(parts, key=lambda name: parts[name].value, reverse=True)[:3]
    raise ValueError(
        f"training takes {total} at its peak, and "
        f"{Measurement.exact(available, 'bytes')} are there. The largest parts: "
        f"{', '.join(f'{name} {parts[name]}' for name in largest)}. Checkpointing "
        "shrinks activations, a smaller batch or "
        "length activations and logits, fewer bits weights, 8-bit AdamW the optimizer"
    )


class Architecture:
    """The sizes of a Llama architecture under short names."""

    def __init__(self, config: Any) -> None:
        c = config if isinstance(config, Mapping) else config.to_dict()
        if c.get("model_type", "llama") != "llama" or c.get("attention_bias") or c.get("mlp_bias"):
            raise ValueError(
                "the calculator knows the Llama architecture without biases, got "
                f"{c.get('model_type', 'one with them')}"
            )
        self.hidden = c["hidden_size"]
        self.layers = c["num_hidden_layers"]
        self.inner = c["intermediate_size"]
        self.vocabulary = c["vocab_size"]
        self.heads = c["num_attention_heads"]
        self.head = c.get("head_dim") or self.hidden // self.heads
        self.queries = self.heads * self.head
        self.keys = (c.get("num_key_value_heads") or self.heads) * self.head
        self.tied = c.get("tie_word_embeddings", False)
        # (outputs, inputs) of the linear layers of one block
        self.linear = {
            "q_proj": (self.queries, self.hidden),
            "k_proj": (self.keys, self.hidden),
            "v_proj": (self.keys, self.hidden),
            "o_proj": (self.hidden, self.queries),
            "gate_proj": (self.inner, self.hidden),
            "up_proj": (self.inner, self.hidden),
            "down_proj": (self.hidden, self.inner),
        }


def one_of(given: str, choices: Collection[str]) -> str:
    if given not in choices:
        raise ValueError(f"got {given!r}; choose one of {', '.join(choices)}")
    return given


def weight_bytes(config: Any, format: Format, dtype: Dtype = "bf16") -> int:
    """Bytes of the weights.

    Embeddings, norms and the last layer are in `dtype` where `format` is one of 8 or 4
    bits.
    """
    s = Architecture(config)
    other = s.vocabulary * s.hidden * (1 if s.tied else 2) + (2 * s.layers + 1) * s.hidden
    linear = sum(_linear_bytes(shape, one_of(format, FORMATS)) for shape in s.linear.values())
    return s.layers * linear + other * DTYPES[format if format in DTYPES else one_of(dtype, DTYPES)]


def _linear_bytes(shape: tuple[int, int], format: Format) -> int:
    if format in DTYPES:
        return prod(shape) * DTYPES[format]
    if format == "int8":
        return prod(shape) + shape[0] * FLOAT  # a scale for each row
    return sum(storage_bytes(prod(shape), double=format == "nf4 double").values())


def adapter_parameters(config: Any, rank: int, target_modules: Collection[str]) -> int:
    """How many numbers LoRA trains: r (inputs + outputs) for each adapted layer.

    Raises ValueError for target modules that a Llama block does not have.
    """
    s = Architecture(config)
    missing = [name for name in target_modules if name not in s.linear]
    if missing:
        raise ValueError(f"a Llama block has no {', '.join(missing)}; it has {', '.join(s.linear)}")
    return s.layers * sum(rank * sum(s.linear[name]) for name in set(target_modules))


class _Step(NamedTuple):
    format: Format
    size: int  # bytes of an activation
    rank: int
    targets: set[str]
    batch: int
    length: int
    attention: str


def training_footprint(
    config: Any,
    format: Format,
    rank: int,
    target_modules: Collection[str],
    batch: int,
    length: int,
    dtype: Dtype = "bf16",
    optimizer: Literal["adamw", "adamw 8-bit"] = "adamw",
    checkpointing: bool = False,
    attention: Literal["sdpa", "eager"] = "sdpa",
) -> dict[str, Measurement]:
    """Bytes, by part, of training LoRA on a transformers model through peft.

    Their sum is the peak.

    Args:
        config: a LlamaConfig, or a dictionary with its keys, such as one of `PRESETS`.
        format: of the frozen weights. `dtype` is that of activations, embeddings, norms
            and the last layer where `format` is one of 8 or 4 bits; otherwise `format`
            is that of all.
        rank, target_modules: of LoRA, whose parameters are float32.
        optimizer: "adamw" is PyTorch's, "adamw 8-bit" that of bitsandbytes.
        checkpointing: of every block (Chen et al. 2016, arXiv:1604.06174).
        attention: "sdpa" is PyTorch's flash kernel, which on a GPU takes 16 bits;
            "eager" keeps the attention weights.

    Activations and logits are what autograd saves until the backward pass, tensor by
    tensor. The workspace is what else
    is alive at the worst moment: exact if that is the beginning of the backward pass,
    as with large vocabularies, and an estimate if it is in a block. What is left out:
    the cache for generation, which training must be told not to fill
    (`use_cache=False`), what CUDA takes for itself, and what its allocator loses
    between blocks of memory.

    Raises ValueError for another architecture, or names or numbers that cannot be.
    """
    if min(rank, batch, length) < 1:
        raise ValueError(f"rank, batch and length are 1 or more, got {rank}, {batch} and {length}")
    one_of(attention, ("sdpa", "eager"))
    dtype = format if format in DTYPES else one_of(dtype, DTYPES)
    s, targets, tokens = Architecture(config), set(target_modules), batch * length
    step = _Step(format, DTYPES[dtype], rank, targets, batch, length, attention)
    trained = adapter_parameters(config, rank, targets)
    activations, block = _activations(s, step, checkpointing)
    parts = {
        "weights": weight_bytes(config, format, dtype),
        "adapters": trained * FLOAT,
        "gradients": trained * FLOAT,
        "optimizer": s.layers * sum(_optimizer_bytes(rank * n, optimizer) for t in targets for n in s.linear[t]),
        "activations": activations,
        # The logarithms of the probabilities; the targets, as int64, and their weight.
        "logits": tokens * s.vocabulary * FLOAT + tokens * 8 + FLOAT,
    }
    parts["workspace"] = _workspace(s, step, parts, block, roots=trained * FLOAT if optimizer == "adamw" else 0)
    return {name: Measurement.exact(n, "bytes") for name, n in parts.items()}


def _optimizer_bytes(n: int, optimizer: str) -> int:
    """Two moments of one tensor of n numbers.

    PyTorch adds a count of steps. bitsandbytes leaves tensors of fewer than 4,096 in 32
    bits, and has a scale for each block of 256.
    """
    if one_of(optimizer, OPTIMIZERS) == "adamw":
        return 2 * n * FLOAT + FLOAT
    return 2 * n * FLOAT if n < 4096 else 2 * (n + ceil(n / 256) * FLOAT)


def _activations(s: Architecture, step: _Step, checkpointing: bool) -> tuple[int, int]:
    """Bytes kept by blocks and the last norm until the backward pass, and those of
    one block that is computed anew.
    """
    tokens = step.batch * step.length
    last_norm = tokens * (s.hidden + 1) * FLOAT
    # Checkpointing needs an input that asks for a gradient: peft lets the embeddings do
    # so.
    saved, pinned, needs_gradient = [], 0, checkpointing
    for _ in range(s.layers):
        block, more, needs_gradient = _block(s, step, needs_gradient)
        saved.append(block)
        pinned += more
    if checkpointing:
        kept = s.layers * tokens * s.hidden * step.size + pinned
        return kept + last_norm, max(saved)
    positions = 2 * step.length * s.head * step.size  # cosines and sines
    return sum(saved) + positions + last_norm, 0


def _block(s: Architecture, step: _Step, needs_gradient: bool) -> tuple[int, int, bool]:
    """Bytes saved in one block, those that no checkpoint drops, and the output's need.

    The first are what autograd saves; the last is whether the output needs a gradient.

    `needs_gradient` is whether its input does: what comes before the first adapter
    saves nothing.
    """
    pinned = 0
    _, size, rank, targets, batch, length, attention = step
    tokens = batch * length

    def norm(needs_gradient: bool) -> int:
        # In float32 whatever comes in: the input, for its square, and one reciprocal
        # root for each token.
        return needs_gradient * tokens * (s.hidden + 1) * FLOAT

    def inputs(names: tuple[str, ...], width: int, needs_gradient: bool, held: bool = False) -> int:
        """What linear layers with one common input save, which may be held already.

        Frozen ones save nothing, adapters the inputs of A and of B.
        """
        adapted = sum(name in targets for name in names)
        # peft casts the input to float32, for each adapter anew. If it is float32, they
        # all save the same tensor.
        copies = adapted if size != FLOAT else adapted > 0 and not held
        # An 8-bit layer of bitsandbytes holds on to its input, though it has no use for
        # it; and not through autograd, so that checkpointing does not see it.
        nonlocal pinned
        pinned += (step.format == "int8" and needs_gradient) * tokens * width * size
        holds = step.format == "int8" and needs_gradient and not held and (size != FLOAT or not adapted)
        return tokens * (adapted * rank * FLOAT + copies * width * FLOAT + holds * width * size)

    saved = norm(needs_gradient) + inputs(("q_proj", "k_proj", "v_proj"), s.hidden, needs_gradient)
    q, k, v = (needs_gradient or name in targets for name in ("q_proj", "k_proj", "v_proj"))
    attends, flash = q or k or v, attention == "sdpa"
    if flash:
        # q, k, v, the output, and for each token and head the logarithm of softmax's
        # denominator.
        saved += attends * tokens * ((2 * s.queries + 2 * s.keys) * size + s.heads * FLOAT)
    else:
        # A product saves each factor for the gradient of the other. Keys and values are
        # repeated for their queries.
        weights = batch * s.heads * length**2
        saved += (k + q + (q or k)) * tokens * s.queries * size
        saved += (q or k or (v and size == FLOAT)) * weights * FLOAT  # softmax, in float32
        saved += (v and size != FLOAT) * weights * size  # and rounded
    saved += inputs(("o_proj",), s.queries, attends, held=attends and flash)
    needs_gradient = needs_gradient or attends or "o_proj" in targets

    saved += norm(needs_gradient) + inputs(("gate_proj", "up_proj"), s.hidden, needs_gradient)
    gate, up = (needs_gradient or name in targets for name in ("gate_proj", "up_proj"))
    # The gate, for SiLU; SiLU of it and what it gates, for each other's gradient.
    saved += (gate + up + gate) * tokens * s.inner * size
    saved += inputs(("down_proj",), s.inner, gate or up)
    return saved, pinned, needs_gradient or gate or up or "down_proj" in targets


def _workspace(s: Architecture, step: _Step, parts: dict[str, int], block: int, roots: int) -> int:
    """Bytes beyond the other parts at the peak of a step, when some may be gone.

    `block` is what a block computed anew holds, `roots` what AdamW takes for a moment,
    the roots of all second moments at once, on a GPU.
    """
    _, size, rank, targets, batch, length, _ = step
    tokens = batch * length
    gradients, activations, logits = (
        parts["gradients"],
        parts["activations"],
        parts["logits"],
    )
    # The backward pass begins with the gradients of the log-probabilities and of the
    # logits, both at once, and without gradients of parameters.
    in_loss = logits + 2 * tokens * s.vocabulary * FLOAT
    # The logits gone, the last block follows. At worst, the gradients of the gate, SiLU
    # of it and what it gates are there, and down_proj is done; or one of them, and the
    # weight of down_proj out of its 4 or 8 bits; or, on the way there, the adapter of
    # up_proj puts out float32, twice, beside three of the residuals. As much as there
    # is of the parameters' gradients by then, lies where activations were.
    inner = tokens * s.inner * size
    done = ("down_proj" in targets) * tokens * (s.inner + rank) * FLOAT
    unpacked = (step.format not in DTYPES) * s.inner * s.hidden * size
    adapter = tokens * (2 * s.inner * FLOAT + 3 * s.hidden * size) if "up_proj" in targets and size != FLOAT else 0
    in_block = block + max(3 * inner - done, inner + unpacked, adapter - done) + max(0, gradients - activations)
    # At the end all gradients are there, and no activations.
    return max(in_loss - gradients, in_block - gradients, roots - activations, logits) - logits
