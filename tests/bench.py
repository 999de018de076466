"""What labkit's tools cost beside the plain way of doing the same: `make bench`, half a minute.

Both are timed in turn: medians with quartiles, and the ratio of ours to the plain way, round by round.
"""

import copy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.utils import prune as torch_prune

from labkit import zoo
from labkit.measure import predict, time_in_turn
from labkit.record import Record
from labkit.techniques.archive import load_weights, save_weights
from labkit.techniques.prune import global_masks, prunable, pruned

pretrained = zoo.mobilenet_v2_fashion_mnist()
model, state = pretrained.model, pretrained.model.state_dict()
images = torch.randn(100, 3, pretrained.size, pretrained.size)
record = Record("bench", "standard", 0)


def compare(name: str, ours: Callable[[], object], plain: Callable[[], object], rounds: int = 20) -> None:
    timings = time_in_turn({"ours": ours, "plain": plain}, rounds, warmup=2)
    measured = {way: timings.latency(way) for way in timings}
    record.add(name, **measured, ours_to_plain=timings.ratio("ours", "plain"))


def pruned_by_torch() -> torch.nn.Module:
    copied = copy.deepcopy(model)
    layers = [(copied.get_submodule(name.removesuffix(".weight")), "weight") for name in prunable(copied)]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.6)
    for layer, name in layers:
        torch_prune.remove(layer, name)
    return copied


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


torch.testing.assert_close(pruned(model, global_masks(model, 0.6)).state_dict(), dict(pruned_by_torch().state_dict()))
compare("a pruned copy, torch.nn.utils.prune", lambda: pruned(model, global_masks(model, 0.6)), pruned_by_torch)

with tempfile.TemporaryDirectory() as folder:
    theirs = Path(folder, "weights.pt")
    for ending, rounds in ((".safetensors", 20), (".safetensors.zst", 5)):
        path = Path(folder, f"weights{ending}")
        compare(f"save {ending}, torch.save", lambda: save_weights(state, path), lambda: torch.save(state, theirs), rounds)
        compare(f"load {ending}, torch.load", lambda: load_weights(path), lambda: torch.load(theirs, weights_only=True))

compare("predict 100 images by 50, the model alone", lambda: predict(model, images, 50),
        lambda: [model(x) for x in images.split(50)])  # fmt: skip
compare("import labkit, python alone", lambda: python("import labkit"), lambda: python("pass"))

print(f"MobileNetV2, {torch.get_num_threads()} threads", record, sep="\n")
