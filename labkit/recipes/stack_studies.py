"""Run and record the studies of Lab 05, which `labkit.stack` defines.

    python -m labkit.recipes.stack_studies latency --task images --out DIR   # on the CPU that latencies are for
    python -m labkit.recipes.stack_studies orders --task images --out DIR --device cuda
    python -m labkit.recipes.stack_studies search --task images --out DIR --device cuda --trials 240 --worker 0
    python -m labkit.recipes.stack_studies front --task images --out DIR --device cuda
    python -m labkit.recipes.stack_studies write --task images --out DIR     # one file of rows: DIR/images.jsonl

`search` may run in many processes at once, each with a number of its own as `--worker`; so may `orders` and `front`
with `--part I --parts N`. Rows are kept in DIR/images or DIR/text, and whatever is interrupted goes on where it was.
"""

import argparse
import json
from collections import Counter
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from labkit import files
from labkit.environment import environment
from labkit.measure import Measurement
from labkit.stack import image_classifier, language_model
from labkit.stack.rows import Rows
from labkit.stack.runner import Runner
from labkit.stack.steps import read
from labkit.stack.study import SEEDS

STUDIES = {"images": image_classifier.STUDY, "text": language_model.STUDY}


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
    asked = STUDIES[options.task]
    rows, latencies = Rows(options.out / options.task), options.out / f"{options.task}_latency.json"
    if options.command == "write":
        rows.write(options.out / f"{options.task}.jsonl")
        _write(options.out / f"{options.task}_about.json", _about(options.out / options.task, options))
        return
    known = {k: Measurement(**m) for k, m in json.loads(latencies.read_text()).items()} if latencies.exists() else {}
    task = asked.task(device=options.device, latencies=known)
    runner = Runner(task, rows)
    if options.command == "latency":
        for steps in asked.architectures:
            task.latency(runner.model(steps))
        _write(latencies, {key: m.as_dict() for key, m in task.latencies.items()})
    elif options.command == "orders":
        runner.run_all(asked.stacks()[options.part :: options.parts], SEEDS, every_step=False)
    else:
        from optuna.trial import TrialState  # only here: the lab reads these studies without a search

        from labkit.stack.search import finished_trials, search

        log, trials = options.out / f"{options.task}.log", options.trials if options.command == "search" else 0
        if not trials and not log.exists():
            parser.error(f"there is no {log}: run the search first")
        study = search(runner, asked.space, trials, log, options.sampler, seed=1000 * options.worker)
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
            best = {tuple(t.user_attrs["steps"]) for t in study.best_trials if t.values[0] <= asked.worth_repeating}
            for seed, steps in sorted(product(SEEDS, best))[options.part :: options.parts]:
                runner.run([read(step, asked.vocabulary) for step in steps], seed, every_step=False)


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


if __name__ == "__main__":
    main()
