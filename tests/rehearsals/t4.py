"""Rehearse the labs at scale full on a GPU: do they fit the T4 that Colab lends, and how long would they take there?

    python tests/rehearsals/t4.py make-cache FOLDER        # models of full size with random weights
    python tests/rehearsals/t4.py run FOLDER [01 03 ...]   # each lab that is not done yet, or these

FOLDER/results gets a JSON for each lab, written anew after every cell: a run that is cut off leaves what it knows.
Each lab is run in a process of its own: two cores, no bfloat16, no TensorFloat-32, no FlashAttention, and no more
GPU memory than a T4 has. A cell that asks for more is noted, and run again without that limit. RAM is watched. Quality
means nothing with random weights. The last of the results is an estimate, no measurement: what the GPU did is scaled
by the ratios of published peaks, what the CPU did is not.

`--toy`, before the command, rehearses everything in small on a CPU. What is installed must be able to run the labs; a
notebook's kernel is not needed.
"""

import argparse
import ast
import gc
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
CORES = 2
GPU_BYTES, RAM_BYTES = 14.6e9, 12.7e9  # what Colab's T4 leaves to PyTorch's allocator, and its machine's memory
MINUTES = 15  # that a lab may take
# Dense tensor cores in float16, float32 (both operations a second) and memory (bytes a second), of data sheets.
T4 = {"fp16": 65e12, "fp32": 8.1e12, "memory": 320e9}
PEAKS = {
    "H100": {"fp16": 989e12, "fp32": 67e12, "memory": 3350e9},
    "H200": {"fp16": 989e12, "fp32": 67e12, "memory": 4800e9},
}
TOY_SETTINGS = {
    "03": dict(source="hub", timing_rounds=1, length=32, held_out_blocks=2, seeds=1, steps=2),
    "04": dict(source="hub", timing_rounds=1, pictures=4),
}


def labs() -> dict[str, Path]:
    """The source of each lab, by its number."""
    folders = sorted(ROOT.glob("labs/[0-9][0-9]_*"))
    return {folder.name[:2]: folder / f"{folder.name[3:]}.py" for folder in folders}


# The cache: what labs would download


def make_cache(folder: Path, toy: bool) -> None:
    """Fill FOLDER/hub and FOLDER/labkit, and say in FOLDER/hashes.json what the files' SHA-256 are."""
    import torch

    os.environ["LABKIT_CACHE"] = str(folder / "labkit")
    hashes, began = {}, time.monotonic()
    for make in (_language_models, _text_to_image, _pictures, _imagenet_model):
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            hashes |= make(folder, toy)
        print(f"{make.__name__.strip('_').replace('_', ' ')}: made after {time.monotonic() - began:.0f} s", flush=True)
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1))


def _language_models(folder: Path, toy: bool) -> dict[str, dict[str, str]]:
    import torch

    from labkit.estimate.training_memory import PRESETS
    from labkit.zoo import documentation_corpus
    from labkit.zoo.models import language
    from rehearsals import stand_ins

    tiny = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    llama = PRESETS["1B"] | dict(max_position_embeddings=2048, rms_norm_eps=1e-5)
    smollm2 = dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9)
    smollm2 |= dict(num_key_value_heads=3, vocab_size=49152, max_position_embeddings=8192, tie_word_embeddings=True)
    llama.pop("source")
    text = documentation_corpus().training
    made = folder / "made" / "llama"
    stand_ins.save_language_model(made, llama | tiny if toy else llama, text, torch.bfloat16)
    known = language.TINYLLAMA
    hashes = stand_ins.put_in_hub_cache(
        folder / "hub", known["repository"], known["revision"], made, language.HUB_FILES
    )
    converted = language._smollm2_folder()
    stand_ins.save_language_model(converted, smollm2 | tiny if toy else smollm2, text, torch.float32)
    files = {file.name: language.sha256_of(file) for file in converted.iterdir()}
    (converted / language.MANIFEST).write_text(json.dumps(files))
    return {known["repository"]: hashes}


def _text_to_image(folder: Path, toy: bool) -> dict[str, dict[str, str]]:
    from labkit.zoo.models.text_to_image import CLIP, LCM_LORA, STABLE_DIFFUSION
    from rehearsals import stand_ins

    sizes, made, hashes = stand_ins.TINY if toy else full_sizes(), folder / "made", {}
    unet = stand_ins.unet(sizes)
    stand_ins.save_pipeline(made / "pipeline", unet, sizes)
    stand_ins.save_lora(made / "lora", unet.half(), sizes, std=0.01)
    stand_ins.save_clip(made / "clip", sizes)
    for known, name in ((STABLE_DIFFUSION, "pipeline"), (LCM_LORA, "lora"), (CLIP, "clip")):
        names = [*known["settings"], *known["weights"]]
        hashes[known["repository"]] = stand_ins.put_in_hub_cache(
            folder / "hub", known["repository"], known["revision"], made / name, names
        )
    return hashes


def full_sizes():
    """Those of Stable Diffusion 1.5, of its LCM-LoRA and of CLIP ViT-B/32."""
    from labkit.recipes.full_size_diffusion import FULL
    from rehearsals import stand_ins

    layers = "to_q to_k to_v to_out.0 proj_in proj_out ff.net.0.proj ff.net.2 conv1 conv2 conv_shortcut time_emb_proj"
    words = dict(vocab_size=49408)
    return stand_ins.Sizes(
        unet=dict(sample_size=64, **FULL.unet),
        autoencoder=dict(sample_size=FULL.pixels, **FULL.autoencoder),
        text=FULL.text | words,
        adapted=(*layers.split(), "downsamplers.0.conv", "upsamplers.0.conv"),
        rank=64,
        clip_text=words,
        clip_vision={},
        clip_width=512,
    )


def _pictures(folder: Path, toy: bool) -> dict[str, dict[str, str]]:
    """The pictures that ship, as often as it takes to be as many as the official archives hold."""
    import torch

    from labkit.recipes.fashion_mnist_subset import PREFIX, idx_gz
    from labkit.zoo import fashion_mnist

    hashes = {}
    with torch.device("cpu"):
        for split, prefix in PREFIX.items():
            shipped = fashion_mnist(split, "embedded")
            times = 1 if toy else (60_000 if split == "train" else 10_000) // len(shipped.images)
            archives = {
                f"{prefix}-images-idx3-ubyte.gz": idx_gz(shipped.images.repeat(times, 1, 1), level=1),
                f"{prefix}-labels-idx1-ubyte.gz": idx_gz(shipped.labels.to(torch.uint8).repeat(times), level=1),
            }
            for name, data in archives.items():
                hashes[name] = _sha256(data)
                path = folder / "labkit" / "fashion_mnist" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return {"fashion_mnist": hashes}


def _imagenet_model(folder: Path, toy: bool) -> dict[str, dict[str, str]]:
    """MobileNetV2 as torchvision's hub has it: a pickle of tensors, named by its hash."""
    import torch
    from torchvision.models import mobilenet_v2

    with io.BytesIO() as file, torch.device("cpu"):
        torch.save(mobilenet_v2().state_dict(), file)
        data = file.getvalue()
    name = f"mobilenet_v2-{_sha256(data)[:8]}.pth"
    path = folder / "labkit" / "imagenet" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"imagenet": {name: name}}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The lab's process


@dataclass
class Cell:
    """What a cell of code took."""

    part: str  #: the heading above it
    code: str  #: its first line
    began: float  #: seconds since the epoch
    seconds: float = 0.0
    gpu_bytes: int = 0  #: most that tensors took
    gpu_reserved: int = 0  #: most that PyTorch's allocator held
    too_large: bool = False  #: for the T4: it was run again without the limit
    busy_seconds: float = 0.0  #: in which the GPU worked


def cells(source: str) -> Iterator[tuple[str, int, str]]:
    """Heading, line and code of each cell of a lab's .py, but for the cell that installs labkit."""
    part, line = "", 1
    for text in re.split(r"^(?=# %%)", source, flags=re.MULTILINE):
        first = text.partition("\n")[0]
        if headings := re.findall(r"^# #+ (.*)", text, re.MULTILINE) if "[markdown]" in first else []:
            part = headings[-1]
        elif first.startswith("# %%") and "[markdown]" not in first and "hide-input" not in first:
            yield part, line, text
        line += text.count("\n")


def execute(number: str, folder: Path, toy: bool) -> None:
    """Execute a lab's cells in this process; a line of JSON for each goes to FOLDER/results/NN.jsonl."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])

    import torch

    as_on_a_t4(toy)
    expect_stand_ins(folder)
    from labkit import scale

    scale.hub_reachable = lambda: True  # by its cache
    if toy:
        from rehearsals import stand_ins

        scale.settings = stand_ins.smallest_settings(**TOY_SETTINGS.get(number, {}))
    source, gpu = labs()[number], torch.cuda.is_available()
    module = sys.modules["lab"] = types.ModuleType("lab")
    os.chdir(source.parent)
    with open(results(folder) / f"{number}.jsonl", "w") as log:
        for part, line, text in cells(source.read_text(encoding="utf-8")):
            code = next((row for row in text.splitlines()[1:] if row and not row.startswith("#")), "")
            cell = Cell(part, code, time.time())
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            tree = ast.parse("\n" * (line - 1) + text)
            try:
                _run(tree, source, module)
            except RuntimeError as error:  # of PyTorch, or of a library that allocates by itself
                if "out of memory" not in str(error):
                    raise
                traceback.print_exc()
                cell.too_large = True
            if cell.too_large:  # beyond the handler, which holds on to the tensors of the stack
                _forget_tensors()
                torch.cuda.set_per_process_memory_fraction(1.0)
                _run(tree, source, module)
            if gpu:
                torch.cuda.synchronize()
                cell.gpu_bytes = torch.cuda.max_memory_allocated()
                cell.gpu_reserved = torch.cuda.max_memory_reserved()
                if cell.too_large:
                    _forget_tensors()
                    _limit_gpu_memory()
            cell.seconds = time.time() - cell.began
            print(json.dumps(asdict(cell)), file=log, flush=True)


def _run(tree: ast.Module, source: Path, module: types.ModuleType) -> None:
    """Execute a cell, and make what a notebook would show of its last expression."""
    last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = ast.Module(tree.body[:-1] if last else tree.body, [])
    exec(compile(body, str(source), "exec"), vars(module))
    if last:
        show(eval(compile(ast.Expression(last.value), str(source), "eval"), vars(module)))


def show(*things: object, **_) -> None:
    """What IPython's `display` makes of an object, without a notebook to put it in."""
    from matplotlib.figure import Figure

    for thing in things:
        if isinstance(thing, Figure):
            thing.savefig(io.BytesIO())
        elif hasattr(thing, "_repr_html_"):
            thing._repr_html_()
        elif thing is not None:
            print(thing)


def _forget_tensors() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _limit_gpu_memory() -> None:
    import torch

    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, GPU_BYTES / whole))


def as_on_a_t4(toy: bool) -> None:
    """Take from PyTorch what a T4 has not."""
    import torch

    from labkit.techniques import training

    torch.cuda.is_bf16_supported = lambda including_emulation=True: False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    sys.modules["IPython.display"] = types.SimpleNamespace(display=show)  # which may not be installed
    if toy:  # also on a CPU in what a T4 trains in
        training.compute_dtype = lambda device: torch.float16
    elif torch.cuda.is_available():
        _limit_gpu_memory()
        torch.cuda.mem_get_info = lambda device=None: (
            int(GPU_BYTES) - torch.cuda.memory_reserved(),
            int(GPU_BYTES),
        )


def expect_stand_ins(folder: Path) -> None:
    """Let the zoo take what stands in for its files: it checks their hashes all the same."""
    from torchvision.models import MobileNet_V2_Weights

    from labkit.zoo.data import fashion_mnist
    from labkit.zoo.models.language import TINYLLAMA

    text_to_image = import_module("labkit.zoo.models.text_to_image")  # in labkit.zoo the name is a function's
    hashes = json.loads((folder / "hashes.json").read_text())
    TINYLLAMA["sha256"] = hashes[TINYLLAMA["repository"]]["model.safetensors"]
    for known in (text_to_image.STABLE_DIFFUSION, text_to_image.LCM_LORA, text_to_image.CLIP):
        known["weights"].update({name: hashes[known["repository"]][name] for name in known["weights"]})
    fashion_mnist.SHA256.update(hashes["fashion_mnist"])
    for name in hashes["imagenet"]:
        MobileNet_V2_Weights.IMAGENET1K_V1.value.url = f"nowhere/{name}"


# The process that watches


def results(folder: Path) -> Path:
    (folder / "results").mkdir(exist_ok=True)
    return folder / "results"


def rehearse(number: str, folder: Path, toy: bool) -> bool:
    """Run a lab in a process of its own, and write its result after every cell; whether it went through."""
    log = results(folder) / f"{number}.jsonl"
    log.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
        "LABKIT_SCALE": "full",
        "LABKIT_CACHE": str(folder / "labkit"),
        "LABKIT_RECORDS": str(folder / "records"),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        **dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), str(1 if toy else CORES)
        ),
    }
    command = [sys.executable, __file__, *["--toy"] * toy, "execute", str(folder), number]
    began, peak = time.time(), 0
    with open(results(folder) / f"{number}.log", "w") as output, _watched_gpu() as busy:
        process = psutil.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        done = -1
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.1)
            lines = log.read_text().splitlines() if log.exists() else []
            if len(lines) > done:
                done = len(lines)
                write(number, folder, "running", lines, busy, began, peak, toy)
    state = "done" if process.returncode == 0 else f"failed with exit code {process.returncode}"
    lines = log.read_text().splitlines() if log.exists() else []
    result = write(number, folder, state, lines, busy, began, peak, toy)
    minutes = " to ".join(f"{s / 60:.1f}" for s in result["t4_seconds"]) if result["t4_seconds"] else "?"
    print(
        f"{result['lab']}: {state}, {result['seconds']:.0f} s, GPU {result['gpu_bytes'] / 1e9:.1f} GB, "
        f"RAM {peak / 1e9:.1f} GB; a T4 would take {minutes} min",
        flush=True,
    )
    if process.returncode:
        print("\n".join((results(folder) / f"{number}.log").read_text().splitlines()[-25:]), flush=True)
    return process.returncode == 0


def _resident(process: psutil.Popen) -> int:
    """Bytes that a process and its children hold; shared pages count in each."""
    total = 0
    with suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_info().rss
    return total


class _watched_gpu:
    """Pairs of a time and the share of the moment before in which the GPU ran a kernel; none without a GPU."""

    def __enter__(self) -> list[tuple[float, float]]:
        self.samples, self.over = [], threading.Event()
        try:
            import pynvml

            pynvml.nvmlInit()
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
            self.card = pynvml.nvmlDeviceGetHandleByIndex(int(visible))
            self.read = pynvml.nvmlDeviceGetUtilizationRates
        except Exception:  # no card is to be seen, or NVIDIA's library or its package is not there
            return self.samples
        threading.Thread(target=self._sample, daemon=True).start()
        return self.samples

    def _sample(self) -> None:
        while not self.over.wait(0.1):
            self.samples.append((time.time(), self.read(self.card).gpu / 100))

    def __exit__(self, *_) -> None:
        self.over.set()


def write(
    number: str, folder: Path, state: str, lines: list[str], busy: list, began: float, peak: int, toy: bool
) -> dict:
    """Write what is known of a lab's rehearsal, and return it."""
    from labkit import files
    from labkit.environment import environment

    lab, ran = labs()[number].parent.name, [Cell(**json.loads(line)) for line in lines]
    for cell in ran:
        shares = [share for at, share in list(busy) if cell.began <= at <= cell.began + cell.seconds]
        cell.busy_seconds = cell.seconds * sum(shares) / max(1, len(shares))
    where = environment("cpu")
    if where["gpu"]:
        where["device"] = "cuda"
    unseen = where["gpu"] and not busy  # nobody looked whether the GPU worked
    result = {
        "lab": lab,
        "scale": "full",
        "toy": toy,
        "state": state,
        "seconds": time.time() - began,
        "busy_seconds": sum(cell.busy_seconds for cell in ran),
        "gpu_bytes": max((cell.gpu_bytes for cell in ran), default=0),
        "gpu_reserved": max((cell.gpu_reserved for cell in ran), default=0),
        "gpu_limit": GPU_BYTES,
        "fits_gpu": not any(cell.too_large for cell in ran),
        "ram_bytes": peak,
        "ram_limit": RAM_BYTES,
        "fits_ram": peak <= RAM_BYTES,
        "cores": CORES,
        "t4_seconds": None if toy or unseen else estimate(ran, time.time() - began, where["gpu"]),
        "t4_seconds_allowed": 60 * MINUTES,
        "peaks": {"T4": T4} | PEAKS,
        "environment": where,
        "command": f"python tests/rehearsals/t4.py run FOLDER {number}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "settings": _settings(folder, lab),
        "cells": [asdict(cell) for cell in ran],
    }
    files.write(results(folder) / f"{lab}.json", (json.dumps(result, indent=1) + "\n").encode())
    return result


def _settings(folder: Path, lab: str) -> dict[str, object] | None:
    """Those that the lab's record holds; None before the lab has saved it."""
    record = folder / "records" / f"{lab}.json"
    return json.loads(record.read_text())["settings"] if record.exists() else None


def estimate(ran: list[Cell], seconds: float, gpu: str | None) -> list[float] | None:
    """Between which two times a lab would take on a T4; None where it used a card whose peaks are not listed.

    A kernel takes longer by the ratio of whichever peak bounds it. At worst all are bounded by that of the largest
    ratio, and the CPU waits for the GPU; at best by that of the smallest, and they work at the same time. The CPU is
    taken to be as fast as the one here.
    """
    if gpu is None:
        return [seconds, seconds]
    here = next((peaks for name, peaks in PEAKS.items() if name in gpu), None)
    if here is None:
        return None
    ratios = [here[kind] / T4[kind] for kind in T4]
    rest = seconds - sum(cell.seconds for cell in ran)  # imports, and what a cell that runs has taken so far
    best = sum(max(cell.seconds, cell.busy_seconds * min(ratios)) for cell in ran)
    worst = sum(cell.seconds + cell.busy_seconds * (max(ratios) - 1) for cell in ran)
    return [best + rest, worst + rest]


def run(folder: Path, numbers: list[str], toy: bool) -> int:
    """Rehearse these labs, or those that are not done yet."""
    states = {}
    for number, source in labs().items():
        result = results(folder) / f"{source.parent.name}.json"
        states[number] = json.loads(result.read_text())["state"] if result.exists() else ""
    todo = numbers or [number for number, state in states.items() if state != "done"]
    return int(not all([rehearse(number, folder, toy) for number in todo]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small models, and the smallest settings")
    parser.add_argument("command", choices=["make-cache", "run", "execute"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("labs", nargs="*", help="numbers of labs")
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if given.command == "make-cache":
        make_cache(folder, given.toy)
    elif given.command == "execute":
        execute(given.labs[0], folder, given.toy)
    else:
        return run(folder, given.labs, given.toy)
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main())
