"""Fine-tune SmolLM2-135M to the end, in 16, 8 and 4 bits, each way at the best of five learning rates.

    python -m labkit.recipes.fine_tuning run --out DIR [--part K/N]
    python -m labkit.recipes.fine_tuning record --out DIR labs/03_qlora/recorded/gpu/fine_tuning.json

N processes at the same time, with a part each, share the work, and may share a GPU. A run is a file in DIR, and what is
there is not run again. The rate is chosen on topics that are held out of the training text; the text that is reported
chooses nothing.
"""

import argparse
import copy
import gc
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labkit import files, measure, zoo
from labkit.environment import environment
from labkit.measure import Measurement
from labkit.record import Record
from labkit.runs import RecordedRun
from labkit.techniques.adapters import lora, qlora
from labkit.techniques.training import compute_dtype

STEPS, BATCH, LENGTH = 300, 8, 256
SEEDS = (1, 2, 3, 4, 5)  # of what is reported; the rate is chosen with another
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
FEW = (8, ("q_proj", "v_proj"))
MORE = (16, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
VALIDATION = (1, 2)  # of ten shares of the topics; 0 is held out
PATIENCE = 900  # seconds without a file of the other parts


@dataclass(frozen=True)
class Contestant:
    """A way to fine-tune: what holds the weights, and what is trained (None: all of them)."""

    base: str
    adapters: tuple[int, tuple[str, ...]] | None

    @property
    def name(self) -> str:
        if self.adapters is None:
            return "all parameters"
        where = "q and v" if self.adapters == FEW else "all layers"
        return f"{METHODS[self.base]}, {where}, rank {self.adapters[0]}"

    @property
    def rates(self) -> tuple[float, ...]:
        return RATES if self.adapters else tuple(rate / 10 for rate in RATES)

    @property
    def seeds(self) -> tuple[int, ...]:
        return SEEDS[:3] if self.base == "int8" else SEEDS


METHODS = {"bf16": "LoRA", "nf4 double": "QLoRA", "int8": "8 bits"}
ALL = Contestant("bf16", None)
# 8 bits stand beside few adapters only: with the library's kernels a run takes five times as long.
CONTESTANTS = [ALL, *(Contestant(base, FEW) for base in METHODS)]
CONTESTANTS += [Contestant(base, MORE) for base in ("bf16", "nf4 double")]


@dataclass(frozen=True)
class Task:
    """A model in float32 on the CPU, and blocks of text on the device."""

    model: nn.Module
    training: torch.Tensor
    validation: torch.Tensor
    held_out: torch.Tensor
    topics: Sequence[str]  #: of the blocks held out
    device: str

    @cached_property
    def dtype(self) -> torch.dtype:
        return compute_dtype(self.device)

    def base(self, contestant: Contestant) -> nn.Module:
        """The weights as the contestant holds them: float32 where all are trained, else in 16, 8 or 4 bits."""
        if contestant.adapters is None:
            return copy.deepcopy(self.model).to(self.device)
        if contestant.base == "bf16":
            return copy.deepcopy(self.model).to(self.device, self.dtype)
        kind, _, double = contestant.base.partition(" ")
        return qlora.quantized(self.model, kind, bool(double), self.dtype, self.device).eval()


def load(device: str) -> Task:
    """The packaged model and Python's language reference."""
    loaded, corpus = zoo.language_model("package"), zoo.documentation_corpus()
    training, validation = without_validation(corpus)
    blocks = {
        name: zoo.blocks(text, loaded.tokenizer, LENGTH).to(device)
        for name, text in (("training", training), ("validation", validation), ("held_out", corpus.held_out))
    }
    topics = zoo.block_topics(corpus, loaded.tokenizer, LENGTH)
    return Task(loaded.model, **blocks, topics=topics, device=device)


def without_validation(corpus: zoo.Corpus) -> tuple[str, str]:
    """The training text without some of its topics, and those: paragraphs that both have stay with the latter."""
    from pydoc_data.topics import topics

    def words(paragraph: str) -> str:
        return " ".join(paragraph.split())

    def long(texts: Sequence[str]) -> set[str]:
        return {words(paragraph) for paragraph in texts if len(paragraph) >= 25}

    chosen = [name for name in sorted(topics) if int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 in VALIDATION]
    reported = long(corpus.held_out.split("\n\n"))
    validation = [p for name in chosen for p in topics[name].strip().split("\n\n") if words(p) not in reported]
    theirs = long(validation)
    training = [p for p in corpus.training.split("\n\n") if words(p) not in theirs]
    return "\n\n".join(training), "\n\n".join(validation)


def trained(task: Task, contestant: Contestant, rate: float, seed: int) -> dict[str, Any]:
    """One training run: losses on both texts, time and memory. Its validation is None where it diverged."""
    on_gpu = task.device == "cuda"
    gc.collect()
    held = torch.cuda.memory_allocated() if on_gpu else 0
    torch.manual_seed(seed)
    model = task.base(contestant)
    if contestant.adapters is None:
        model.requires_grad_()
    else:
        rank, targets = contestant.adapters
        model = lora.attach_(model, rank, targets, alpha=2 * rank)
    row: dict[str, Any] = {"contestant": contestant.name, "rate": rate, "seed": seed, "steps": STEPS}
    row["trained"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    history: list[float] = []
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    # Without the cache: it would keep the weights as they were cast in the first step.
    whole = contestant.adapters is None and task.dtype != torch.float32
    with torch.autocast(task.device, task.dtype, whole, cache_enabled=False):
        try:
            batches = zoo.random_blocks(task.training, BATCH, seed)
            lora.train_(model, batches, STEPS, rate, progress=lambda step, loss: history.append(loss))
        except ValueError as error:
            if "try a smaller lr" not in str(error):
                raise
            return row | {"validation": None, "diverged": str(error)}
        row["seconds"] = time.perf_counter() - begin
        row["peak"] = torch.cuda.max_memory_allocated() - held if on_gpu else None
        row["training"] = sum(history[-20:]) / len(history[-20:])
        try:
            return row | losses(task, model)
        except ValueError as error:  # they are not finite
            return row | {"validation": None, "diverged": str(error)}


def losses(task: Task, model: nn.Module) -> dict[str, Any]:
    """Nats per token: the mean on the validation text, and block by block on the text that is reported."""
    validation = measure.block_losses(model, task.validation).mean().item()
    return {"validation": validation, "held_out": measure.block_losses(model, task.held_out).tolist()}


def slug(*parts: object) -> str:
    return "_".join(str(part).replace(", ", "_").replace(" ", "_") for part in parts) + ".json"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def swept(out: Path, contestant: Contestant) -> dict[float, float]:
    """Loss on the validation text by learning rate; infinite where training diverged."""
    rows = {rate: read(out / "rates" / slug(contestant.name, rate)) for rate in contestant.rates}
    return {rate: math.inf if row["validation"] is None else row["validation"] for rate, row in rows.items()}


def run(out: Path, part: int, parts: int, device: str) -> None:
    """Train whatever is this part's and not there yet: first every rate with one seed, then every seed."""
    task = load(device)

    def make(path: Path, make_row) -> None:
        if path.exists():
            return
        row = make_row() | {"environment": environment(device)}
        files.write(path, (json.dumps(row, indent=1, allow_nan=False) + "\n").encode())
        print(path.stem, row["validation"], f"{row.get('seconds', 0):.0f} s", flush=True)

    def start(base: Contestant) -> dict[str, Any]:
        about = {"topics": list(task.topics), "parameters": sum(p.numel() for p in task.model.parameters())}
        return losses(task, task.base(base)) | about

    if part == 0:
        for base in METHODS:
            make(out / "untrained" / slug(base), lambda: start(Contestant(base, MORE)))
    sweep = [(contestant, index) for index in range(len(RATES)) for contestant in CONTESTANTS]
    for contestant, index in sweep[part::parts]:
        rate = contestant.rates[index]
        make(out / "rates" / slug(contestant.name, rate), lambda: trained(task, contestant, rate, seed=0))
    for contestant, seed in [(c, seed) for seed in SEEDS for c in CONTESTANTS if seed in c.seeds][part::parts]:
        wait([out / "rates" / slug(contestant.name, rate) for rate in contestant.rates])
        found = swept(out, contestant)
        best = min(found, key=found.__getitem__)
        make(out / "seeds" / slug(contestant.name, seed), lambda: trained(task, contestant, best, seed))


def wait(paths: list[Path]) -> None:
    """Until the other parts have made these files.

    Raises:
        TimeoutError: they do not come.
    """
    begin = time.monotonic()
    while missing := [path for path in paths if not path.exists()]:
        if time.monotonic() - begin > PATIENCE:
            raise TimeoutError(f"{missing[0]} does not come: run its part, then this one again")
        time.sleep(1)


def record(out: Path) -> Record:
    """What was found, as rows; and findings for the claims."""
    untrained = {base: read(out / "untrained" / slug(base)) for base in METHODS}
    topics, parameters = untrained["bf16"]["topics"], untrained["bf16"]["parameters"]
    start = {base: torch.tensor(row["held_out"], dtype=torch.float64) for base, row in untrained.items()}
    runs = {c: [read(out / "seeds" / slug(c.name, seed)) for seed in c.seeds] for c in CONTESTANTS}
    held_out = {c: [torch.tensor(row["held_out"], dtype=torch.float64) for row in rows] for c, rows in runs.items()}

    def compared(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Measurement:
        """Nats above another, seed by seed: intervals over topics and over seeds."""
        return measure.averaged([measure.loss_difference(a, b, topics) for a, b in zip(ours, theirs)])

    def times(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> Measurement:
        return compared(ours, theirs).through(math.exp, "×")

    settings = {"steps": STEPS, "batch": BATCH, "length": LENGTH, "seeds": list(SEEDS)}
    result = Record("03_qlora", "", 0, "cuda" if runs[ALL][0]["peak"] else "cpu", settings=settings)
    for base, losses in start.items():
        result.add(
            f"{base}, untrained",
            settings={"losses": by_topic(losses, topics)},
            perplexity=measure.perplexity(losses, topics),
            times_untrained=measure.perplexity_ratio(losses, start["bf16"], topics),
        )
    for c, rows in runs.items():
        found, many = swept(out, c), len(c.seeds)
        best = rows[0]["rate"]
        settings = {
            "rate": best,
            "rates": {f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in found.items()},
            "best_at_an_end": best in (c.rates[0], c.rates[-1]),
            "seconds": [row["seconds"] for row in rows],
            "training": [row["training"] for row in rows],
            "losses": [by_topic(losses, topics) for losses in held_out[c]],
        }
        measured = {
            "trained": Measurement.exact(100 * rows[0]["trained"] / parameters, "%"),
            "perplexity": measure.averaged([measure.perplexity(losses, topics) for losses in held_out[c]]),
            "times_untrained": times(held_out[c], [start["bf16"]] * many),
            "learned": compared([start[c.base]] * many, held_out[c]),
        }
        if c != ALL:
            measured["times_all"] = times(held_out[c], held_out[ALL])
        if c.base != "bf16":
            measured["times_lora"] = times(held_out[c], held_out[Contestant("bf16", c.adapters)])
        if rows[0]["peak"]:
            measured["peak"] = Measurement.exact(max(row["peak"] for row in rows), "bytes")
        result.add(c.name, settings=settings, **measured)
    for key, adapters in (("few", FEW), ("more", MORE)):
        in_16, in_4, in_8 = (Contestant(base, adapters) for base in METHODS)
        result.find(f"{key}_times_full", result.get(in_16.name, "times_all"))
        for name, c in (("qlora", in_4), ("int8", in_8)):
            if c not in CONTESTANTS:
                continue
            result.find(f"{name}_{key}_times_lora", result.get(c.name, "times_lora"))
            result.find(f"{name}_{key}_times_untrained", result.get(c.name, "times_untrained"))
        # What 16 bits gain above what 4 bits gain, each from its own start.
        ours, theirs = (
            [run + start["bf16"] for run in held_out[in_4]],
            [run + start[in_4.base] for run in held_out[in_16]],
        )
        result.find(f"qlora_{key}_learns_less", compared(ours, theirs))
    return result


def by_topic(losses: torch.Tensor, topics: Sequence[str]) -> dict[str, float]:
    """Mean loss of each topic's blocks."""
    names = dict.fromkeys(topics)
    return {name: losses[[topic == name for topic in topics]].mean().item() for name in names}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "record"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="the K-th of N processes that share the work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("file", type=Path, nargs="?", help="of the record")
    options = parser.parse_intermixed_args(arguments)
    if options.command == "run":
        part, parts = map(int, options.part.split("/"))
        if not 1 <= part <= parts:
            parser.error(f"--part is K/N with K from 1 to N, got {options.part}")
        run(options.out, part - 1, parts, options.device)
        return
    if options.file is None:
        parser.error("record needs the file to write")
    where = read(options.out / "seeds" / slug(ALL.name, SEEDS[0]))["environment"]
    command = "python -m labkit.recipes.fine_tuning run --out DIR, then record --out DIR FILE"
    result = record(options.out)
    print(RecordedRun(result, where, command).write(options.file))
    print(result)


if __name__ == "__main__":
    main()
