"""Prune a network that ships with labkit, while it trains on from its shipped weights.

    python -m labkit.recipes.pruned_classifiers --network NAME --sparsity S --out DIR   # one GPU

To rehearse, add `--steps 40 --limit 512 --device cpu`.

Each `pruned_SEED.json` holds the command of the run that ships. Weights are dropped gradually by LAMP score
(`labkit.techniques.pruning.recovery.prune_gradually_`). By default the dense network is the teacher (Hinton, Vinyals
and Dean 2015, arXiv:1503.02531): nine tenths of the loss are the divergence from its softened answers, one tenth is the
cross-entropy with the labels. LeNet-5 learned so; VGG-9 and LeNet-300-100 learned from the labels alone
(`--no-teacher`). Dropout is weaker than in training, 0.2 for VGG-9, because pruning has already taken capacity from the
network (Han et al. 2015, arXiv:1506.02626, section 3.2).

Writes `pruned_SEED.dc` (fp16, by `labkit.techniques.storage.deep_compression`) and `pruned_SEED.json` (scores and
command).
"""

import argparse
import copy
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from labkit.recipes.classifiers import accuracy, augment
from labkit.techniques.distillation import soft_targets
from labkit.techniques.pruning import recovery
from labkit.techniques.storage import deep_compression
from labkit.zoo import NETWORKS, fashion_mnist, fashion_mnist_model, network, random_batches

TEMPERATURE, TEACHERS_SHARE = 3.0, 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--sparsity", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--augment", action="store_true", help="shift, mirror and erase, as VGG-9 was trained")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--teacher", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use only so many images, for a rehearsal")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device, shape = torch.device(args.device), (NETWORKS[args.network].size, NETWORKS[args.network].channels)
    torch.manual_seed(args.seed)  # dropout

    train, test = fashion_mnist("train"), fashion_mnist("test")
    train = replace(train, images=train.images[: args.limit].to(device), labels=train.labels[: args.limit].to(device))
    test_images, test_labels = test.images[: args.limit].to(device), test.labels[: args.limit].to(device)
    teacher = fashion_mnist_model(args.network).model.to(device)
    model = copy.deepcopy(teacher)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = args.dropout

    change = partial(augment, erasing=True) if args.augment else None
    batches = random_batches(train, args.batch, args.seed, shape, change, device)
    loss = partial(F.cross_entropy, label_smoothing=0.05)  # as in classifiers.py
    if args.teacher:
        batches = soft_targets.with_teacher(batches, teacher)
        loss = partial(soft_targets.distillation_loss, temperature=TEMPERATURE, weight=TEACHERS_SHARE)

    start = time.perf_counter()

    def progress(step: int, loss: float) -> None:
        if step % 1000 == 0:
            print(args.network, args.seed, step, f"{loss:.4f}", f"{time.perf_counter() - start:.0f} s", flush=True)

    recovery.prune_gradually_(model, batches, args.steps, args.sparsity, args.lr, loss=loss, progress=progress)
    seconds = time.perf_counter() - start
    args.out.mkdir(parents=True, exist_ok=True)
    file = deep_compression.save(model.half().cpu(), args.out / f"pruned_{args.seed}.dc")
    # Score what ships: the rounded weights, read back, in float32.
    shipped = deep_compression.load_(file, network(args.network).half()).float().to(device).eval()
    scores = {
        "test_accuracy": accuracy(shipped, test_images, test_labels, shape),
        "teacher_test_accuracy": accuracy(teacher, test_images, test_labels, shape),
        "test_images": len(test_labels),
        "train_images": len(train.labels),
        "sparsity": args.sparsity,
        "steps": args.steps,
        "batch": args.batch,
        "lr": args.lr,
        "augment": args.augment,
        "dropout": args.dropout,
        "teacher": args.teacher,
        "seed": args.seed,
        "seconds": round(seconds, 1),
        "command": " ".join(["python", "-m", "labkit.recipes.pruned_classifiers", *sys.argv[1:]]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    (args.out / f"pruned_{args.seed}.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
