"""Search among stacks for several objectives at once, with Optuna, by any number of processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from labkit.stack.runner import Runner
from labkit.stack.steps import Refused, Step

Directions = Mapping[str, Literal["minimize", "maximize"]]
OBJECTIVES: Directions = {"lost": "minimize", "file": "minimize", "latency": "minimize"}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SAMPLERS = {"nsga2": optuna.samplers.NSGAIISampler, "tpe": optuna.samplers.TPESampler}


def search(
    runner: Runner,
    space: Callable[[optuna.Trial], Sequence[Step]],
    trials: int,
    storage: str | Path,
    sampler: Literal["nsga2", "tpe"] = "nsga2",
    objectives: Directions = OBJECTIVES,
    seed: int = 0,
) -> optuna.Study:
    """Try stacks until the study has so many trials, and return it; its `best_trials` are the Pareto front.

    Each trial has the steps it tried as the attribute "steps", its sampler as "sampler", and one value for every
    objective. A stack that is refused counts as a trial and gives nothing. Every process that calls `search` with the
    same storage works on the same study. One that is killed, or finds the disk full, loses the trial that it was at,
    and a search that is called again goes on where it stopped.

    Args:
        runner: runs the stacks.
        space: makes a stack of what a trial suggests.
        trials: of the study, those of other processes included.
        storage: the path of a file, which processes on one machine may share, or the address of a database
            ("postgresql://…") for several machines.
        sampler: "nsga2" (NSGA-II, Deb et al. 2002) or "tpe" (TPE, Bergstra et al. 2011, in several dimensions Ozaki et
            al. 2022).
        objectives: metrics of the rows, each with its direction.
        seed: of the sampler; give each process its own.

    Raises:
        ValueError: the sampler is another; the objectives are not metrics of the rows or not those that the study has;
            or a line of the file is damaged.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"the sampler is {' or '.join(map(repr, SAMPLERS))}, got {sampler!r}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=str(storage) if "://" in str(storage) else _file(Path(storage)),
        study_name=runner.task.name,
        directions=[*objectives.values()],
        load_if_exists=True,
    )
    known = study.user_attrs.get("objectives", objectives)
    if [*known.items()] != [*objectives.items()]:
        raise ValueError(f"the study has the objectives {dict(known)}, got {dict(objectives)}: use another storage")
    study.set_user_attr("objectives", dict(objectives))
    # A sampler starts with its seed, not with where it stopped: so as not to propose the same again, a later one.
    study.sampler = SAMPLERS[sampler](seed=seed + len(study.get_trials(deepcopy=False)))

    def objective(trial: optuna.Trial) -> list[float]:
        steps = space(trial)
        trial.set_user_attr("steps", [str(step) for step in steps])
        trial.set_user_attr("sampler", sampler)
        try:
            measured = runner.run(steps, seed=0, every_step=False)[-1].measurements
        except Refused as error:
            raise optuna.TrialPruned(str(error)) from error
        if missing := objectives.keys() - measured.keys():
            raise ValueError(f"rows have no {', '.join(sorted(missing))}; they have {', '.join(measured)}")
        return [measured[metric].value for metric in objectives]

    if finished_trials(study) < trials:  # the callback would come after one too many
        study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=FINISHED)])
    return study


def finished_trials(study: optuna.Study) -> int:
    """Trials that gave values or were refused; not those that run, or were killed."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def _file(path: Path) -> JournalStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Optuna's lock is a link to the path as it is written: a relative one would lead nowhere, and never grow old.
    return JournalStorage(_Journal(str(path.absolute()), _Lock(str(path.absolute()))))


class _Lock(JournalFileSymlinkLock):
    """Whoever holds it finds whole lines: half of one, which a full disk leaves, would spoil the next."""

    def acquire(self) -> bool:
        acquired = super().acquire()
        try:
            with open(self._lock_target_file, "rb+") as file:
                end = file.seek(0, os.SEEK_END)
                while end and file.seek(end - 1) >= 0 and file.read(1) != b"\n":
                    end -= 1
                file.truncate(end)
        except BaseException:
            self.release()
            raise
        return acquired


class _Journal(JournalFileBackend):
    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise ValueError(f"{self._file_path} is damaged: delete {self._first_damaged()}") from error

    def _first_damaged(self) -> str:
        for number, line in enumerate(Path(self._file_path).read_bytes().split(b"\n"), 1):
            try:
                json.loads(line)
            except ValueError:
                return f"line {number}, {line[:60]!r}"
        return "it"
