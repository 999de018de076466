"""The study of the language model that Lab 05 reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.stack.language_model import steps
from labkit.stack.language_model.steps import cut, lora, prune, quantize
from labkit.stack.language_model.task import LanguageModelling
from labkit.stack.steps import Step
from labkit.stack.study import Study

if TYPE_CHECKING:
    import optuna


def space(trial: optuna.Trial) -> list[Step]:
    """Layers, zeros, values and adapters, in any order."""
    layers = trial.suggest_categorical("layers cut", [0, 1, 2, 3, 4])
    sparsity = trial.suggest_categorical("sparsity", [0.0, 0.1, 0.2, 0.3, 0.5])
    by = trial.suggest_categorical("by", ["magnitude", "wanda"])
    values = trial.suggest_categorical("values", ["float", "int8", "nf4"])
    rank = trial.suggest_categorical("rank", [0, 4, 16, 64])
    batches = trial.suggest_categorical("training steps", [25, 50, 100, 200])
    order = trial.suggest_categorical("order", ["PQL", "PLQ", "QPL", "QLP", "LPQ", "LQP"])
    chosen = {}
    if sparsity:
        chosen["P"] = prune(sparsity, by)
    if values != "float":
        chosen["Q"] = quantize(values)
    if rank:
        chosen["L"] = lora(rank, batches)
    first = [cut(layers)] if layers else []
    return first + [chosen[letter] for letter in order if letter in chosen]


STUDY = Study(
    task=LanguageModelling,
    vocabulary=steps,
    facts=frozenset(),
    steps=(prune(0.3), lora(16, 100), quantize("nf4")),
    pairs=(cut(2), prune(0.3), prune(0.3, "magnitude"), quantize("int8"), quantize("nf4")),
    whole=(prune(0.2), quantize("nf4"), lora(16, 100)),
    others=[
        *((prune(sparsity, by),) for sparsity in (0.1, 0.3, 0.5) for by in ("magnitude", "wanda")),
        (lora(16, 100),),
        (quantize("int8"), lora(16, 100)),
        # The most training of this study, without anything that makes the file smaller and with little.
        (lora(64, 200),),
        *((quantize(kind), lora(64, 200)) for kind in ("int8", "nf4")),
        *((lora(64, 200), quantize(kind)) for kind in ("int8", "nf4")),
        *((cut(2), quantize(kind), lora(16, 100)) for kind in ("int8", "nf4")),
    ],
    space=space,
    architectures=[(), *((cut(layers),) for layers in (1, 2, 3, 4))],
    worth_repeating=0.5,
)
