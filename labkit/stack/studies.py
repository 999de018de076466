"""The studies of Lab 05: the steps and stacks that `labkit.recipes.stack_studies` runs, and the spaces it searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, permutations
from typing import TYPE_CHECKING

from labkit.stack import images, text
from labkit.stack.runner import Task
from labkit.stack.steps import Step, is_admissible, orders

if TYPE_CHECKING:
    import optuna

SEEDS = (0, 1, 2, 3, 4)
WORTH = {"images": 3.0, "text": 0.5}  # points, nats: stacks of the front that lose more are not run with every seed

# What the order study puts in every admissible order, and the interactions take in pairs.
IMAGE_STEPS = (images.prune(0.85), images.distill(200), images.share(4))
TEXT_STEPS = (text.prune(0.3), text.lora(16, 100), text.quantize("nf4"))
IMAGE_PAIRS = (images.thin(0.125), images.prune(0.7), images.share(4), images.quantize(), images.fold(), images.half())
TEXT_PAIRS = (text.cut(2), text.prune(0.3), text.prune(0.3, "magnitude"), text.quantize("int8"), text.quantize("nf4"))
# The whole of the ablation.
IMAGE_STACK = (images.thin(0.125), images.prune(0.8), images.distill(400), images.share(5), images.half())
TEXT_STACK = (text.prune(0.2), text.quantize("nf4"), text.lora(16, 100))


def image_space(trial: optuna.Trial) -> list[Step]:
    """Channels, zeros, values and training, each from not at all to far too much; sharing before or after training."""
    thin = trial.suggest_categorical("channels removed", [0.0, 0.125, 0.25, 0.375])
    sparsity = trial.suggest_categorical("sparsity", [0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95])
    rule = trial.suggest_categorical("rule", ["global", "lamp"])
    values = trial.suggest_categorical("values", ["float", "int8", "2 bit", "3 bit", "4 bit", "5 bit", "6 bit"])
    train = trial.suggest_categorical("training", ["none", "recover", "distill"])
    steps = trial.suggest_categorical("training steps", [50, 100, 200, 400, 800])
    trained_last = trial.suggest_categorical("training after sharing", [False, True])
    retrain = [] if train == "none" else [getattr(images, train)(steps)]
    share = [] if values == "float" else [images.quantize()] if values == "int8" else [images.share(int(values[0]))]
    first = [images.thin(thin)] * (thin > 0) + [images.prune(sparsity, rule)] * (sparsity > 0)
    return [*first, *(share + retrain if trained_last else retrain + share), images.half()]


def text_space(trial: optuna.Trial) -> list[Step]:
    """Layers, zeros, values and adapters, in any order."""
    layers = trial.suggest_categorical("layers cut", [0, 1, 2, 3, 4])
    sparsity = trial.suggest_categorical("sparsity", [0.0, 0.1, 0.2, 0.3, 0.5])
    by = trial.suggest_categorical("by", ["magnitude", "wanda"])
    values = trial.suggest_categorical("values", ["float", "int8", "nf4"])
    rank = trial.suggest_categorical("rank", [0, 4, 16, 64])
    steps = trial.suggest_categorical("training steps", [25, 50, 100, 200])
    order = trial.suggest_categorical("order", ["PQL", "PLQ", "QPL", "QLP", "LPQ", "LQP"])
    chosen = {
        "P": [text.prune(sparsity, by)] * (sparsity > 0),
        "Q": [text.quantize(values)] * (values != "float"),
        "L": [text.lora(rank, steps)] * (rank > 0),
    }
    return [*[text.cut(layers)] * (layers > 0), *chain.from_iterable(chosen[letter] for letter in order)]


def image_stacks() -> list[tuple[Step, ...]]:
    """Every order, pair and ablation of the recorded study, and the two ways to train at four sparsities."""
    trained = [
        (images.prune(sparsity), train(steps))
        for sparsity in (0.7, 0.8, 0.9, 0.95)
        for train in (images.recover, images.distill)
        for steps in (50, 200)
    ]
    return _stacks(IMAGE_STEPS, IMAGE_PAIRS, IMAGE_STACK, images_facts()) + trained


def text_stacks() -> list[tuple[Step, ...]]:
    """Every order, pair and ablation of the recorded study, and both rules of pruning at three sparsities."""
    pruned = [(text.prune(sparsity, by),) for sparsity in (0.1, 0.3, 0.5) for by in ("magnitude", "wanda")]
    adapted = [(text.lora(16, 100),), (text.quantize("int8"), text.lora(16, 100))]
    return _stacks(TEXT_STEPS, TEXT_PAIRS, TEXT_STACK, frozenset()) + pruned + adapted


def images_facts() -> frozenset[str]:
    return frozenset({"BatchNorm"})


def _stacks(steps: Sequence[Step], pairs: Sequence[Step], whole: Sequence[Step], facts: frozenset[str]):
    wanted = orders(steps, facts) + [(), whole]
    wanted += [(each,) for each in (*pairs, *whole)] + [*permutations(pairs, 2)]
    wanted += [tuple(other for other in whole if other is not each) for each in whole]
    return [stack for stack in wanted if is_admissible(stack, facts)]


def thinnest(task: str) -> list[tuple[Step, ...]]:
    """One stack for each architecture that the studies meet."""
    if task == "images":
        thin = [(), *((images.thin(share),) for share in (0.125, 0.25, 0.375))]
        return [*thin, (images.fold(),), (images.thin(0.125), images.fold())]
    return [(), *((text.cut(layers),) for layers in (1, 2, 3, 4))]


STUDIES: dict[str, tuple[Callable[..., Task], Callable, Callable[[], list[tuple[Step, ...]]]]] = {
    "images": (images.Images, image_space, image_stacks),
    "text": (text.Text, text_space, text_stacks),
}
