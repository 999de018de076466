"""The study of the image classifier that Lab 05 reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.stack.image_classifier import steps
from labkit.stack.image_classifier.steps import distill, fold, half, prune, quantize, recover, share, thin
from labkit.stack.image_classifier.task import ImageClassifier
from labkit.stack.steps import Step
from labkit.stack.study import Study

if TYPE_CHECKING:
    import optuna


def space(trial: optuna.Trial) -> list[Step]:
    """Channels, zeros, values and training, each from not at all to far too much; sharing before or after training."""
    removed = trial.suggest_categorical("channels removed", [0.0, 0.125, 0.25, 0.375])
    sparsity = trial.suggest_categorical("sparsity", [0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95])
    rule = trial.suggest_categorical("rule", ["global", "lamp"])
    values = trial.suggest_categorical("values", ["float", "int8", "2 bit", "3 bit", "4 bit", "5 bit", "6 bit"])
    training = trial.suggest_categorical("training", ["none", "recover", "distill"])
    batches = trial.suggest_categorical("training steps", [50, 100, 200, 400, 800])
    trained_last = trial.suggest_categorical("training after sharing", [False, True])
    train = {"none": [], "recover": [recover(batches)], "distill": [distill(batches)]}[training]
    if values == "float":
        few_values = []
    else:
        few_values = [quantize() if values == "int8" else share(int(values[0]))]
    first = [thin(removed)] if removed else []
    if sparsity:
        first.append(prune(sparsity, rule))
    return [*first, *(few_values + train if trained_last else train + few_values), half()]


STUDY = Study(
    task=ImageClassifier,
    vocabulary=steps,
    facts=frozenset({"BatchNorm"}),
    steps=(prune(0.85), distill(200), share(4)),
    pairs=(thin(0.125), prune(0.7), share(4), quantize(), fold(), half()),
    whole=(thin(0.125), prune(0.8), distill(400), share(5), half()),
    others=[
        *(
            (prune(sparsity), train(batches))
            for sparsity in (0.7, 0.8, 0.9, 0.95)
            for train in (recover, distill)
            for batches in (50, 200)
        ),
        # What either way to train does to the network that is not pruned.
        *((train(200),) for train in (recover, distill)),
        # Whether few values cost more, the more is pruned.
        *((prune(sparsity), distill(200)) for sparsity in (0.85,)),
        *((prune(sparsity), distill(200), share(4)) for sparsity in (0.7, 0.9)),
    ],
    space=space,
    architectures=[
        (),
        *((thin(removed),) for removed in (0.125, 0.25, 0.375)),
        (fold(),),
        (thin(0.125), fold()),
    ],
    worth_repeating=3.0,
)
