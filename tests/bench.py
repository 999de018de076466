"""What labkit's tools cost beside the plain way of doing the same, and what files of weights stand: `make bench`.

Both ways are timed in turn: medians with quartiles, and the ratio of ours to the plain way, round by round. Then files
are damaged, 20,000 of each kind: each must be an error in words, or what was written. All of it takes some minutes.
"""

import copy
import random
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zstandard
from dahuffman import HuffmanCodec
from torch.nn.utils import prune as torch_prune

import containers
from labkit import zoo
from labkit.measure import Measurement, Timings, accuracy, predict, time_in_turn
from labkit.measure.size import ZSTD_LEVEL
from labkit.record import Record
from labkit.stack import Runner, orders
from labkit.stack import image_classifier as images
from labkit.techniques.pruning.magnitude import global_masks, prunable, pruned
from labkit.techniques.quantization.int8 import dynamically_quantized
from labkit.techniques.storage import _huffman_stream, deep_compression
from labkit.techniques.storage.huffman import entropy
from labkit.techniques.storage.safetensors import load_weights, save_weights

pretrained = zoo.fashion_mnist_model("mobilenet_v2")
model, state = pretrained.model, pretrained.model.state_dict()
pictures = torch.randn(100, 3, pretrained.size, pretrained.size)
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
        compare(
            f"save {ending}, torch.save", lambda: save_weights(state, path), lambda: torch.save(state, theirs), rounds
        )
        compare(f"load {ending}, torch.load", lambda: load_weights(path), lambda: torch.load(theirs, weights_only=True))

compare(
    "predict 100 images by 50, the model alone",
    lambda: predict(model, pictures, 50),
    lambda: [model(x) for x in pictures.split(50)],
)
compare("import labkit, python alone", lambda: python("import labkit"), lambda: python("pass"))

print(f"MobileNetV2, {torch.get_num_threads()} threads", record, sep="\n")


# Huffman coding of 10 million symbols of 32 values, distributed as shared weights are. Every coder finds its code from
# the symbols first; dahuffman gets them as a list of int, zlib and zstandard as bytes, each as it is fastest.
SYMBOLS = 10_000_000
normal = np.random.default_rng(0).normal(16, 4, SYMBOLS)
symbols = normal.round().clip(0, 31).astype(np.int64)
as_list, as_bytes = symbols.tolist(), symbols.astype(np.uint8).tobytes()
codec = HuffmanCodec.from_data(as_list)
encoders = {
    "ours": lambda: _huffman_stream.encode(symbols),
    "dahuffman": lambda: HuffmanCodec.from_data(as_list).encode(as_list),
    "zlib 6": lambda: zlib.compress(as_bytes, 6),
    f"zstandard {ZSTD_LEVEL}": lambda: zstandard.compress(as_bytes, ZSTD_LEVEL),
}
streams = {coder: encode() for coder, encode in encoders.items()}
decoders = {
    "ours": lambda: _huffman_stream.decode(streams["ours"]),
    "dahuffman": lambda: codec.decode(streams["dahuffman"]),
    "zlib 6": lambda: zlib.decompress(streams["zlib 6"]),
    f"zstandard {ZSTD_LEVEL}": lambda: zstandard.decompress(streams[f"zstandard {ZSTD_LEVEL}"]),
}


def speed(timings: Timings, coder: str) -> Measurement:
    seconds = timings.latency(coder)
    fast, middle, slow = (SYMBOLS / 1e3 / ms for ms in (seconds.low, seconds.value, seconds.high))
    return Measurement(middle, slow, fast, "M symbols/s", seconds.n)


assert np.array_equal(_huffman_stream.decode(streams["ours"]), symbols)
coding = Record("bench", "standard", 0)
encoding, decoding = (time_in_turn(coders, rounds=3, warmup=0) for coders in (encoders, decoders))
for coder, stream in streams.items():
    coding.add(
        coder,
        bits_a_symbol=Measurement.exact(8 * len(stream) / SYMBOLS, "bits"),
        encode=speed(encoding, coder),
        encode_time_to_ours=encoding.ratio(coder, "ours"),
        decode=speed(decoding, coder),
        decode_time_to_ours=decoding.ratio(coder, "ours"),
    )
print(f"{SYMBOLS:,} symbols, entropy {entropy(symbols):.3f} bits", coding, sep="\n")


# Stacks of steps: what the runner costs over calling the steps, and what it saves by not beginning again. Measured by
# accuracy on 200 pictures alone, so that the steps are what takes the time.
class Light(images.ImageClassifier):
    def measure(self, model: torch.nn.Module, facts: frozenset[str]) -> dict[str, Measurement]:
        return {"accuracy": accuracy(predict(model, self.inputs), self.labels)}


task = Light(test_images=200, source="embedded")
one = (images.prune(0.8), images.recover(20), images.share(4))


def training(function: Callable[[], object]) -> Callable[[], object]:
    """With gradients, which timing switches off."""
    return torch.enable_grad()(function)


def bare() -> None:
    made = task.start()
    for step in one:
        made = step.apply(made, task, 0)
    task.measure(made, task.facts)


stacks = Record("bench", "standard", 0)
turns = time_in_turn(
    {"ours": training(lambda: Runner(task).run(one, every_step=False)), "plain": training(bare)}, 10, warmup=1
)
measured = {way: turns.latency(way) for way in turns}
stacks.add("a stack of three steps, the bare calls", **measured, ours_to_plain=turns.ratio("ours", "plain"))

# The order study of four steps: all beginnings of all orders, 64 rows.
study = {
    order[:n]
    for order in orders((images.prune(0.8), images.distill(5), images.recover(5), images.share(4)), task.facts)
    for n in range(1, 5)
}
turns = time_in_turn(
    {
        "ours": training(lambda: Runner(task).run_all(study, every_step=False)),
        "plain": training(lambda: [Runner(task).run(steps, every_step=False) for steps in study]),
    },
    rounds=3,
    warmup=0,
)
measured = {way: turns.latency(way) for way in turns}
name = f"an order study of {len(study)} rows, each row from the start"
stacks.add(name, **measured, ours_to_plain=turns.ratio("ours", "plain"), saved=turns.ratio("plain", "ours"))
print(stacks)


# Files that are damaged. What is neither an error in words nor what was written is bad.
MUTANTS = 20_000
small = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
held = {**dynamically_quantized(small).state_dict(), "tied": small[0].weight, "again": small[0].weight}
with tempfile.TemporaryDirectory() as folder:
    tried = {}
    for ending in (".safetensors", ".safetensors.zst"):
        path = save_weights(held, Path(folder, f"weights{ending}"))
        tried[ending] = containers.attack_weights(path, random.Random(0), MUTANTS)
    path = deep_compression.save(pruned(small, global_masks(small, 0.5)), Path(folder, "weights.dc"))
    tried[".dc"] = containers.attack_deep_compression(path, small, random.Random(0), MUTANTS)
stream = _huffman_stream.encode(symbols[:300])
tried["a Huffman stream"] = containers.attack(
    stream, _huffman_stream.decode, lambda found: len(found) <= 8 * len(stream) + 64, random.Random(0), MUTANTS
)
for kind, (times, bad) in tried.items():
    print(f"{kind}: {times:,} damaged, {len(bad)} bad", *bad[:10], sep="\n  ")
if any(bad for _, bad in tried.values()):
    sys.exit("damaged files were taken for whole ones")
