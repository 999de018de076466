"""LoRA and QLoRA: train a product of two thin matrices beside weights that stay.

Sources: LoRA, Hu et al. 2021 (arXiv:2106.09685); QLoRA, the same beside weights of four
bits, Dettmers et al. 2023 (arXiv:2305.14314). `LoRALinear` is the idea; the rest runs
it through the libraries peft and transformers.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from labkit import checks
from labkit.techniques import training

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class LoRALinear(nn.Module):
    """y = W x + b + (alpha / r) B A x, where only A (r, in) and B (out, r) are trained.

    A starts random and B at zero, so that training starts at the model as it was.
    Dividing by r is meant to spare a new learning rate for every rank.

    Raises:
        ValueError: the rank is none, or the weight is held in few bits: `attach_` can
            do that.

    >>> layer = LoRALinear(nn.Linear(100, 50), rank=4, alpha=8)
    >>> [(n, *p.shape) for n, p in layer.named_parameters() if p.requires_grad]
    [('A', 4, 100), ('B', 50, 4)]
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        if rank < 1:
            raise ValueError(f"a rank is 1 or more, got {rank}")
        checks.plain(linear.weight)
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.A = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.B = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # (x Aᵀ) Bᵀ, and never B A: the product would be as large as W.
        return self.linear(x) + self.scale * (x @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer with the same output and the original's cost."""
        linear = checks.copied(self.linear)
        linear.weight += self.scale * self.B @ self.A
        return linear


def attach_(
    model: PreTrainedModel,
    rank: int,
    target_modules: Iterable[str],
    alpha: float,
    dropout: float = 0.0,
) -> PeftModel:
    """Put LoRA beside the layers named `target_modules`, in place, and freeze the rest.

    The adapters are float32 whatever the model is in: peft sees to that, since small
    steps would be lost in 16 bits.

    Raises:
        ValueError: the model lacks one of the names, or they are one string.
    """
    if isinstance(target_modules, str):
        raise ValueError(
            f"target_modules are a list of names, got the one string "
            f"{target_modules!r}: write [{target_modules!r}]"
        )
    from peft import LoraConfig, get_peft_model

    targets = list(target_modules)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    missing = [t for t in targets if not any(f".{n}".endswith(f".{t}") for n in linear)]
    if missing:  # of which peft says nothing if there are others
        known = sorted({name.rpartition(".")[2] for name in linear})
        raise ValueError(
            f"the model has no linear layer called {', '.join(missing)}; some that it "
            f"has: {', '.join(known[:12])}"
        )
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks transformers for a name that is about to change.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def train_(
    model: nn.Module,
    batches: Iterable[torch.Tensor],
    steps: int,
    lr: float,
    progress: training.Progress = lambda step, loss: None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> nn.Module:
    """Train what is trainable, in place; each token is predicted from those before it.

    Args:
        model: a causal language model with adapters.
        batches: token ids, int64 (batch, length).
        steps: batches to take.
        lr: learning rate at the start.
        progress: called with the step and its loss, in nats per token.
        optimizer: makes one of the trainable parameters and `lr`.

    Returns:
        The same model.

    Raises:
        ValueError: nothing is trainable, adapters receive no gradient in the first
            step, or for what `training.train_` refuses.
    """
    trained = _trainable(model)
    if not trained:
        raise ValueError("nothing in the model is trainable: attach adapters first")
    checked = False

    def check_once() -> None:
        nonlocal checked
        if not checked:
            _check_gradients(trained)
            checked = True

    training.train_(
        _NextToken(model),
        ((tokens, None) for tokens in batches),
        steps,
        optimizer(trained.values(), lr=lr),
        loss=lambda value, _: value,
        before_update=check_once,
        progress=progress,
    )
    return model


class _NextToken(nn.Module):
    """The loss of a language model on a batch, as a model to be trained."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        loss = self.model(input_ids=tokens, labels=tokens, use_cache=False).loss
        if not loss.requires_grad:  # so that backward() would refuse, and not say why
            self.model.zero_grad()
            _check_gradients(_trainable(self.model))
        return loss


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _check_gradients(trained: dict[str, nn.Parameter]) -> None:
    # B starts at zero, and so does the gradient of A, which passes through B: that is
    # how it should be. No gradient at all, or one of zero anywhere else, is not.
    idle = [
        name
        for name, p in trained.items()
        if p.grad is None or not (p.grad.any() or "lora_A" in name)
    ]
    if idle:
        raise ValueError(
            f"{len(idle)} of {len(trained)} trainable parameters receive no gradient, "
            f"such as {idle[0]}: they would never learn, and the loss would not say "
            "why. On CPUs with AVX512-BF16 bitsandbytes repacks 4-bit weights in eval "
            "mode, and they stop gradients from then on: load the model anew with "
            "`quantized`, or set `layer.support_avx512bf16_for_cpu = False` on every "
            "4-bit layer before any forward pass. Otherwise look for a detach() or a "
            "no_grad() between the adapters and the loss."
        )


@torch.no_grad()
def merged(
    model: PeftModel, original: PreTrainedModel, into: Literal["original", "unpacked"]
) -> PreTrainedModel:
    """A copy of the original with W + (alpha / r) B A wherever the model has adapters.

    W is the original's weight, or what the bits of the frozen weight, unpacked, stand
    for.

    Raises:
        ValueError: the model has no adapters, or one beside a weight that two layers of
            the original share; more was trained (biases, whole modules, DoRA); or
            `into` is neither.
    """
    from peft import PeftModel
    from peft.utils.integrations import dequantize_module_weight

    if into not in ("original", "unpacked"):
        raise ValueError(f'into is "original" or "unpacked", got {into!r}')
    inside = model.base_model.model if isinstance(model, PeftModel) else nn.Module()
    adapted = {n: m for n, m in inside.named_modules() if _has_adapter(m)}
    if not adapted:
        raise ValueError("the model has no adapters: nothing would be merged")
    config = model.peft_config["default"]
    if config.modules_to_save or config.bias != "none" or config.use_dora:
        raise ValueError("more was trained than B and A, and would be lost")
    whole = checks.copied(original)
    names = Counter(id(p) for _, p in whole.named_parameters(remove_duplicate=False))
    for name, module in adapted.items():
        weight = whole.get_submodule(name).weight
        if names[id(weight)] > 1:
            raise ValueError(f"another layer has the weight of {name}, too: untie them")
        if into == "unpacked":
            weight.data = dequantize_module_weight(module.base_layer).float()
        weight += module.get_delta_weight("default").float()
    return whole


def _has_adapter(module: nn.Module) -> bool:
    return hasattr(module, "get_delta_weight")


def next_token_loss(
    model: PreTrainedModel, tokens: torch.Tensor, checkpointing: bool = False
) -> torch.Tensor:
    """Nats per token of a batch, (batch, length), with or without checkpointing."""
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        model.gradient_checkpointing_disable()
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


@torch.enable_grad()
def step_(
    model: PreTrainedModel, tokens: torch.Tensor, optimizer: torch.optim.Optimizer
) -> None:
    """One training step on a batch, in place."""
    optimizer.zero_grad()
    next_token_loss(model, tokens).backward()
    optimizer.step()
