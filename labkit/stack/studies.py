"""The studies of Lab 05, and the command that recorded them.

    python -m labkit.stack.studies latency --task images --out DIR       # on the processor that latencies are for
    python -m labkit.stack.studies orders --task images --out DIR --device cuda
    python -m labkit.stack.studies search --task images --out DIR --device cuda --trials 240 --worker 0
    python -m labkit.stack.studies front --task images --out DIR --device cuda
    python -m labkit.stack.studies write --task images --out DIR         # one file of rows: DIR/images.jsonl

`search` may run in many processes at once, each with a number of its own as `--worker`; so may `orders` and `front`
with `--part I --parts N`. Rows are kept in DIR/images or DIR/text, and whatever is interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain, permutations, product
from pathlib import Path
from typing import TYPE_CHECKING

from labkit import files
from labkit.environment import environment
from labkit.measure import Measurement
from labkit.stack import image_classifier as images
from labkit.stack import language_model as text
from labkit.stack.rows import Rows
from labkit.stack.runner import Runner, Task
from labkit.stack.steps import Step, is_admissible, orders, read

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


STUDIES: dict[str, tuple[Callable[..., Task], Callable, Callable[[], list[tuple[Step, ...]]]]] = {
    "images": (images.ImageClassifier, image_space, image_stacks),
    "text": (text.LanguageModelling, text_space, text_stacks),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("latency", "orders", "search", "front", "write"))
    parser.add_argument("--task", choices=STUDIES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trials", type=int, default=240)
    parser.add_argument("--worker", type=int, default=0, help="number of this process in a search, for its seed")
    parser.add_argument("--sampler", choices=("nsga2", "tpe"), default="nsga2")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    options = parser.parse_args(arguments)
    make, space, stacks = STUDIES[options.task]
    rows, latencies = Rows(options.out / options.task), options.out / f"{options.task}_latency.json"
    if options.command == "write":
        rows.write(options.out / f"{options.task}.jsonl")
        _write(options.out / f"{options.task}_about.json", _about(options.out / options.task, options))
        return
    known = {k: Measurement(**m) for k, m in json.loads(latencies.read_text()).items()} if latencies.exists() else {}
    task = make(device=options.device, latencies=known)
    runner = Runner(task, rows)
    if options.command == "latency":
        for steps in thinnest(options.task):
            task.latency(runner.model(steps))
        _write(latencies, {key: m.as_dict() for key, m in task.latencies.items()})
    elif options.command == "orders":
        runner.run_all(stacks()[options.part :: options.parts], SEEDS, every_step=False)
    else:
        from optuna.trial import TrialState  # only here: the lab reads these studies without a search

        from labkit.stack.search import finished_trials, search

        log, trials = options.out / f"{options.task}.log", options.trials if options.command == "search" else 0
        if not trials and not log.exists():
            parser.error(f"there is no {log}: run the search first")
        study = search(runner, space, trials, log, options.sampler, seed=1000 * options.worker)
        refused = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
        samplers = Counter(t.user_attrs["sampler"] for t in study.trials if t.state.is_finished())
        found = {
            "trials": finished_trials(study),
            "refused": refused,
            "samplers": dict(samplers),
            "front": len(study.best_trials),
        }
        _write(options.out / f"{options.task}_search.json", found)
        print(found)
        if options.command == "front":
            best = {tuple(t.user_attrs["steps"]) for t in study.best_trials if t.values[0] <= WORTH[options.task]}
            vocabulary = sys.modules[make.__module__]
            for seed, steps in sorted(product(SEEDS, best))[options.part :: options.parts]:
                runner.run([read(step, vocabulary) for step in steps], seed, every_step=False)


def _write(path: Path, data: dict) -> None:
    files.write(path, (json.dumps(data, indent=1) + "\n").encode())


def _about(rows: Path, options: argparse.Namespace) -> dict:
    """How the rows came about: commands, the size of the search, timings, and the machine that wrote them."""
    known = {part: rows.with_name(f"{rows.name}_{part}.json") for part in ("search", "latency")}
    commands = [line.strip() for line in __doc__.splitlines() if line.startswith("    python")]
    return {
        "commands": [command.replace("images", rows.name) for command in commands],
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(options.device),
        **{part: json.loads(path.read_text()) if path.exists() else {} for part, path in known.items()},
    }


def thinnest(task: str) -> list[tuple[Step, ...]]:
    """One stack for each architecture that the studies meet."""
    if task == "images":
        thin = [(), *((images.thin(share),) for share in (0.125, 0.25, 0.375))]
        return [*thin, (images.fold(),), (images.thin(0.125), images.fold())]
    return [(), *((text.cut(layers),) for layers in (1, 2, 3, 4))]


if __name__ == "__main__":
    main()
