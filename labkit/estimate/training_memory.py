"""From the architecture of a language model to the memory that training takes, by part, before anything is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil, prod
from typing import Any, Literal, NamedTuple, TypeVar

from labkit.estimate.block_quantization import storage_bytes
from labkit.measure.measurement import Measurement

Format = Literal["fp32", "fp16", "bf16", "int8", "nf4", "nf4 double"]
Dtype = Literal["fp32", "fp16", "bf16"]
Choice = TypeVar("Choice", bound=str)
FLOAT = 4  # bytes of a float32, in which adapters, norms and the loss compute
DTYPES = {"fp32": 4, "fp16": 2, "bf16": 2}  # bytes
FORMATS = (*DTYPES, "int8", "nf4", "nf4 double")
OPTIMIZERS = ("adamw", "adamw 8-bit")


def _llama(hidden: int, layers: int, heads: int, key_heads: int, inner: int, source: str) -> dict[str, Any]:
    """What config.json of a model says, under the names of transformers' LlamaConfig."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "intermediate_size": inner,
        "vocab_size": 32000,
        "source": source,
    }


# LLaMA: Table 2 of Touvron et al. 2023; the inner width is that of the released weights, 2/3 of 4 h, rounded up to a
# multiple of 256.
PRESETS = {
    "1B": _llama(2048, 22, 32, 4, 5632, "TinyLlama-1.1B, Zhang et al. 2024, arXiv:2401.02385"),
    "7B": _llama(4096, 32, 32, 32, 11008, "LLaMA-7B, Touvron et al. 2023, arXiv:2302.13971"),
    "13B": _llama(5120, 40, 40, 40, 13824, "LLaMA-13B, Touvron et al. 2023, arXiv:2302.13971"),
    "65B": _llama(8192, 80, 64, 64, 22016, "LLaMA-65B, Touvron et al. 2023, arXiv:2302.13971"),
}


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


def one_of(given: Choice, choices: Collection[str]) -> Choice:
    """The given word; raises ValueError for one that is not among the choices."""
    if given not in choices:
        raise ValueError(f"got {given!r}; choose one of {', '.join(choices)}")
    return given


def weight_bytes(config: Any, format: Format, dtype: Dtype = "bf16") -> int:
    """Bytes of the weights.

    Embeddings, norms and the last layer are in `dtype` where `format` is one of 8 or 4 bits.
    """
    s = Architecture(config)
    linear = sum(_linear_bytes(shape, one_of(format, FORMATS)) for shape in s.linear.values())
    embeddings = s.vocabulary * s.hidden
    last_layer = 0 if s.tied else s.vocabulary * s.hidden
    norms = (2 * s.layers + 1) * s.hidden
    return s.layers * linear + (embeddings + last_layer + norms) * _unquantized(format, dtype)


def _unquantized(format: Format, dtype: Dtype) -> int:
    """Bytes of a number that is never in 8 or 4 bits: an embedding, a norm, an activation."""
    return DTYPES[format if format in DTYPES else one_of(dtype, DTYPES)]


def _linear_bytes(shape: tuple[int, int], format: Format) -> int:
    if format in DTYPES:
        return prod(shape) * DTYPES[format]
    if format == "int8":
        return prod(shape) + shape[0] * FLOAT  # a scale for each row
    return sum(storage_bytes(prod(shape), double=format == "nf4 double").values())


def adapter_parameters(config: Any, rank: int, target_modules: Collection[str]) -> int:
    """How many numbers LoRA trains: r (inputs + outputs) for each adapted layer.

    Raises:
        ValueError: a Llama block does not have one of the target modules.
    """
    s = Architecture(config)
    missing = [name for name in target_modules if name not in s.linear]
    if missing:
        raise ValueError(f"a Llama block has no {', '.join(missing)}; it has {', '.join(s.linear)}")
    return s.layers * sum(rank * sum(s.linear[name]) for name in set(target_modules))


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

    Activations and logits are what autograd saves until the backward pass, tensor by tensor. The workspace is
    everything else allocated at the peak: exact if that is the beginning of the backward pass, as with large
    vocabularies, and an estimate if it is in a block. What is left out: the cache for generation, which training must
    be told not to fill (`use_cache=False`), what CUDA takes for itself, and what its allocator loses between blocks of
    memory.

    Args:
        config: a LlamaConfig, or a dictionary with its keys, such as one of `PRESETS`.
        format: of the frozen weights. `dtype` is that of activations, embeddings, norms and the last layer where
            `format` is one of 8 or 4 bits; otherwise `format` is that of all.
        rank, target_modules: of LoRA, whose parameters are float32.
        optimizer: "adamw" is PyTorch's, "adamw 8-bit" that of bitsandbytes.
        checkpointing: of every block (Chen et al. 2016, arXiv:1604.06174).
        attention: "sdpa" is PyTorch's flash kernel, which on a GPU takes 16 bits; "eager" keeps the attention weights.

    Returns:
        The parts by name. Their sum is the peak.

    Raises:
        ValueError: another architecture, or names or numbers that cannot be.
    """
    if min(rank, batch, length) < 1:
        raise ValueError(f"rank, batch and length are 1 or more, got {rank}, {batch} and {length}")
    one_of(attention, ("sdpa", "eager"))
    s = Architecture(config)
    targets = set(target_modules)
    step = _Step(format, _unquantized(format, dtype), rank, targets, batch, length, attention)
    trained = adapter_parameters(config, rank, targets)
    activations, recomputed = _activations(s, step, checkpointing)
    parts = {
        "weights": weight_bytes(config, format, dtype),
        "adapters": trained * FLOAT,
        "gradients": trained * FLOAT,
        "optimizer": s.layers * sum(_optimizer_bytes(rank * n, optimizer) for t in targets for n in s.linear[t]),
        "activations": activations,
        # The logarithms of the probabilities; the targets, as int64, and their weight.
        "logits": step.tokens * s.vocabulary * FLOAT + step.tokens * 8 + FLOAT,
    }
    # On a GPU, AdamW takes for a moment the roots of all second moments at once.
    roots = trained * FLOAT if optimizer == "adamw" else 0
    parts["workspace"] = _workspace(s, step, parts, recomputed, roots)
    return {name: Measurement.exact(n, "bytes") for name, n in parts.items()}


def _optimizer_bytes(n: int, optimizer: str) -> int:
    """Two moments of one tensor of n numbers.

    PyTorch adds a count of steps. bitsandbytes leaves tensors of fewer than 4,096 in 32 bits, and has a scale for each
    block of 256.
    """
    if one_of(optimizer, OPTIMIZERS) == "adamw":
        return 2 * n * FLOAT + FLOAT
    return 2 * n * FLOAT if n < 4096 else 2 * (n + ceil(n / 256) * FLOAT)


class _Step(NamedTuple):
    format: Format
    size: int  # bytes of an activation
    rank: int
    targets: set[str]
    batch: int
    length: int
    attention: str

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    def adapted(self, names: Collection[str]) -> int:
        """How many of these layers have an adapter."""
        return len(self.targets.intersection(names))


class _Needs(NamedTuple):
    """Which tensors of a block need a gradient: autograd saves nothing for the others."""

    input: bool
    q: bool
    k: bool
    v: bool
    attended: bool  # the output of attention, before o_proj
    middle: bool  # the sum of the input and of what attention adds to it
    gate: bool
    up: bool
    gated: bool  # the product of SiLU of the gate and of up
    output: bool


class _Linear(NamedTuple):
    """Linear layers of a block with one common input."""

    names: tuple[str, ...]
    width: int  # of the input
    needs_gradient: bool  # whether the input does
    saved: bool = False  # whether another operation saves the input already


def _activations(s: Architecture, step: _Step, checkpointing: bool) -> tuple[int, int]:
    """Bytes kept until the backward pass, and those of one block that is computed anew."""
    # Checkpointing needs an input that asks for a gradient: peft lets the embeddings do so. Without it, what comes
    # before the first adapter saves nothing.
    blocks = []
    needs_gradient = checkpointing
    for _ in range(s.layers):
        blocks.append(_needs(needs_gradient, step.targets))
        needs_gradient = blocks[-1].output
    saved = [_block(s, step, needs) for needs in blocks]
    last_norm = _norm(s, step)
    if checkpointing:
        inputs = s.layers * step.tokens * s.hidden * step.size
        return inputs + sum(_held_by_8_bits(s, step, needs) for needs in blocks) + last_norm, max(saved)
    return sum(saved) + _positions(s, step) + last_norm, 0


def _needs(input: bool, targets: set[str]) -> _Needs:
    """A tensor needs a gradient if the one that it comes from does, or if an adapter comes between."""
    q = input or "q_proj" in targets
    k = input or "k_proj" in targets
    v = input or "v_proj" in targets
    attended = q or k or v
    middle = input or attended or "o_proj" in targets
    gate = middle or "gate_proj" in targets
    up = middle or "up_proj" in targets
    gated = gate or up
    output = middle or gated or "down_proj" in targets
    return _Needs(input, q, k, v, attended, middle, gate, up, gated, output)


def _block(s: Architecture, step: _Step, needs: _Needs) -> int:
    """Bytes that autograd saves in one block."""
    saved = sum(_inputs(step, layers) for layers in _linears(s, step, needs)) + _mlp(s, step, needs)
    if needs.input:
        saved += _norm(s, step)
    if needs.middle:
        saved += _norm(s, step)
    if step.attention == "eager":
        saved += _eager_attention(s, step, needs)
    elif needs.attended:
        saved += _flash_attention(s, step)
    return saved


def _positions(s: Architecture, step: _Step) -> int:
    """Cosines and sines, which all blocks share."""
    return 2 * step.length * s.head * step.size


def _norm(s: Architecture, step: _Step) -> int:
    """In float32 whatever comes in: the input, for its square, and one reciprocal root for each token."""
    return step.tokens * (s.hidden + 1) * FLOAT


def _linears(s: Architecture, step: _Step, needs: _Needs) -> list[_Linear]:
    flash = step.attention == "sdpa"
    return [
        _Linear(("q_proj", "k_proj", "v_proj"), s.hidden, needs.input),
        _Linear(("o_proj",), s.queries, needs.attended, saved=flash and needs.attended),
        _Linear(("gate_proj", "up_proj"), s.hidden, needs.middle),
        _Linear(("down_proj",), s.inner, needs.gated),
    ]


def _inputs(step: _Step, layers: _Linear) -> int:
    """What linear layers with one common input save: frozen ones nothing, adapters the inputs of A and of B."""
    adapted = step.adapted(layers.names)
    inputs_of_b = step.tokens * adapted * step.rank * FLOAT
    return _inputs_of_a(step, layers) + inputs_of_b + _inputs_of_8_bits(step, layers)


def _inputs_of_a(step: _Step, layers: _Linear) -> int:
    adapted = step.adapted(layers.names)
    if step.size != FLOAT:
        return adapted * step.tokens * layers.width * FLOAT  # peft casts the input to float32, for each adapter anew
    if adapted and not layers.saved:
        return step.tokens * layers.width * FLOAT  # it is float32: the adapters all save the same tensor
    return 0


def _inputs_of_8_bits(step: _Step, layers: _Linear) -> int:
    """The input that an 8-bit layer of bitsandbytes holds on to, though it has no use for it."""
    if step.format != "int8" or not layers.needs_gradient:
        return 0
    saved_by_adapters = step.size == FLOAT and step.adapted(layers.names)
    if layers.saved or saved_by_adapters:
        return 0
    return step.tokens * layers.width * step.size


def _held_by_8_bits(s: Architecture, step: _Step, needs: _Needs) -> int:
    """Bytes of one block that no checkpoint drops: 8-bit layers hold on to their inputs, and not through autograd."""
    if step.format != "int8":
        return 0
    widths = [layers.width for layers in _linears(s, step, needs) if layers.needs_gradient]
    return step.tokens * sum(widths) * step.size


def _flash_attention(s: Architecture, step: _Step) -> int:
    queries_and_output = 2 * s.queries * step.size
    keys_and_values = 2 * s.keys * step.size
    denominators = s.heads * FLOAT  # the logarithm of softmax's, for each token and head
    return step.tokens * (queries_and_output + keys_and_values + denominators)


def _eager_attention(s: Architecture, step: _Step, needs: _Needs) -> int:
    """A product saves each factor for the gradient of the other."""
    factor = step.tokens * s.queries * step.size  # keys and values are repeated for their queries
    weights = step.batch * s.heads * step.length**2
    scores = needs.q or needs.k
    saved = 0
    if needs.k:
        saved += factor  # the queries
    if needs.q:
        saved += factor  # the keys
    if scores:
        saved += factor  # the values
    if step.size == FLOAT:
        if scores or needs.v:
            saved += weights * FLOAT  # softmax, for its own gradient and for that of the values
    else:
        if scores:
            saved += weights * FLOAT  # softmax, in float32
        if needs.v:
            saved += weights * step.size  # and rounded
    return saved


def _mlp(s: Architecture, step: _Step, needs: _Needs) -> int:
    inner = step.tokens * s.inner * step.size
    saved = 0
    if needs.gate:
        saved += inner  # the gate, for SiLU
        saved += inner  # up, for the gradient of SiLU of the gate
    if needs.up:
        saved += inner  # SiLU of the gate, for the gradient of up
    return saved


def _workspace(s: Architecture, step: _Step, parts: dict[str, int], recomputed: int, roots: int) -> int:
    """Bytes beyond the other parts at the peak of a step, when some of the parts may be gone.

    Args:
        parts: the others, in bytes.
        recomputed: bytes of a block that is computed anew.
        roots: bytes that AdamW takes for a moment.
    """
    gradients = parts["gradients"]
    activations = parts["activations"]
    logits = parts["logits"]
    # The backward pass begins with the gradients of the log-probabilities and of the logits, both at once, and without
    # gradients of parameters.
    in_loss = logits + 2 * step.tokens * s.vocabulary * FLOAT - gradients
    # The logits gone, the last block follows. As much as there is of the parameters' gradients by then, lies where
    # activations were.
    in_block = recomputed + _backward_of_mlp(s, step) + max(0, gradients - activations) - gradients
    # At the end all gradients are there, and no activations.
    in_optimizer = roots - activations
    return max(in_loss, in_block, in_optimizer, logits) - logits


def _backward_of_mlp(s: Architecture, step: _Step) -> int:
    """Bytes at the worst moment of a block's backward pass, in the MLP."""
    gradient = step.tokens * s.inner * step.size
    freed = 0  # what down_proj saved, which is done
    if "down_proj" in step.targets:
        freed = step.tokens * (s.inner + step.rank) * FLOAT
    # The gradients of the gate, of SiLU of it and of what it gates.
    moments = [3 * gradient - freed]
    # One of them, and the weight of down_proj out of its 4 or 8 bits.
    unpacked = 0 if step.format in DTYPES else s.inner * s.hidden * step.size
    moments.append(gradient + unpacked)
    # On the way there, the adapter of up_proj puts out float32, twice, beside three of the residuals.
    if "up_proj" in step.targets and step.size != FLOAT:
        moments.append(step.tokens * (2 * s.inner * FLOAT + 3 * s.hidden * step.size) - freed)
    return max(moments)


def full_footprint(config: Any, batch: int, length: int, checkpointing: bool = False) -> dict[str, Measurement]:
    """Bytes, by part, of training all parameters in 16 bits with AdamW, beside those of `training_footprint`.

    Weights and gradients take two bytes per parameter, and AdamW keeps two float32 moments: twelve bytes per parameter
    before the first token is read. Activations and logits are what autograd saves, tensor by tensor. There is no
    workspace here: the sum is a lower bound of the peak.

    >>> parts = full_footprint(PRESETS["7B"], 1, 512)
    >>> print(parts["weights"], parts["optimizer"])
    13.5 GB 53.9 GB
    """
    s = Architecture(config)
    half, tokens = DTYPES["bf16"], batch * length
    step = _Step("bf16", half, 1, set(), batch, length, "sdpa")
    parameters = weight_bytes(config, "bf16") // half
    hidden, inner = tokens * s.hidden * half, tokens * s.inner * half
    # Beside what a frozen norm saves: its result before the weight. Beside attention and the MLP: inputs of the layers,
    # where one tensor is not saved already.
    norm = _norm(s, step) + hidden
    block = 2 * norm + 2 * hidden + _flash_attention(s, step) + 3 * inner + inner
    last = norm + hidden + tokens * 8  # the inputs of the last layer, and the token ids
    kept = s.layers * hidden if checkpointing else s.layers * block + _positions(s, step)
    parts = {
        "weights": half * parameters,
        "gradients": half * parameters,
        "optimizer": 2 * FLOAT * parameters,
        "activations": kept + last,
        "logits": tokens * s.vocabulary * FLOAT + tokens * 8 + FLOAT,
    }
    return {name: Measurement.exact(n, "bytes") for name, n in parts.items()}


def footprint_of(settings: Mapping[str, Any]) -> dict[str, Measurement]:
    """`training_footprint` of a recorded configuration, whose model is one of `PRESETS`.

    A paged optimizer lies in pages of the computer's memory, which the peak of a GPU does not hold: its part is 0.
    """
    given = dict(settings)
    optimizer = given.pop("optimizer")
    parts = training_footprint(PRESETS[given.pop("model")], **given, optimizer=optimizer.removeprefix("paged "))
    return parts | ({"optimizer": Measurement.exact(0, "bytes")} if optimizer.startswith("paged ") else {})


def total(parts: Mapping[str, Measurement]) -> Measurement:
    """All parts together."""
    return Measurement.exact(sum(part.value for part in parts.values()), "bytes")


def largest_error(parts: Mapping[str, Measurement], counted: Mapping[str, Measurement]) -> Measurement:
    """Of what is calculated against what `labkit.measure.training_memory` counted, part by part, in %."""
    pairs = {
        "weights": parts["weights"].value + parts["adapters"].value,
        "gradients": parts["gradients"].value,
        "optimizer state": parts["optimizer"].value,
        "activations": parts["activations"].value + parts["logits"].value,
    }
    return Measurement.exact(max(100 * abs(value / counted[name].value - 1) for name, value in pairs.items()), "%")
