"""Train a network that ships with labkit, from scratch, on Fashion-MNIST.

    python -m labkit.recipes.classifiers --network NAME --out DIR   # as shipped: one GPU
    python -m labkit.recipes.classifiers --network NAME --out DIR --epochs 1 --limit 512 --device cpu   # a rehearsal

Each scores.json holds the command of the run that ships. The networks are those of
`labkit.zoo.network`; VGG-9 and the LeNets take the 28x28 grey images as they are. For
MobileNetV2 they are enlarged to 48x48 and repeated over three channels, because the network
divides its input by 32: at 28x28 its last feature map would be a single pixel. 48 is the
smallest size that leaves two, with two rows and columns; larger images score higher and cost more.

The run writes `log.csv` (one line an epoch), `checkpoint.pt` (training goes on from
there when it is started again), and at the end `weights.safetensors` (fp16) and
`scores.json`. The weights are those of the last epoch, averaged over the run's last
steps: no epoch is chosen by its test score. Settings are chosen with `--hold-out`,
which keeps the test pictures out of it.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from labkit.recipes.log import write_rows
from labkit.zoo import NETWORKS, fashion_mnist, network, to_input
from labkit.zoo.sources.precision import halved, widened


def augment(images: torch.Tensor, generator: torch.Generator, erasing: bool) -> torch.Tensor:
    """Random shift by up to 2 pixels, mirror, and with `erasing` one erased square of 8x8; uint8 (N, 28, 28)."""
    n, device = len(images), images.device

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, device=device, generator=generator)

    def near(start: torch.Tensor) -> torch.Tensor:
        return (torch.arange(28, device=device) - start).abs() < 4

    padded = F.pad(images, (2, 2, 2, 2))  # (N, 32, 32)
    rows = torch.arange(28, device=device) + draw(5, n, 1)  # (N, 28)
    columns = torch.arange(28, device=device) + draw(5, n, 1)
    columns = torch.where(draw(2, n, 1).bool(), columns, columns.flip(1))
    images = padded[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    if not erasing:
        return images
    # Random erasing (Zhong et al. 2020), on half of the images.
    top, left = draw(28, n, 1), draw(28, n, 1)
    hole = near(top)[:, :, None] & near(left)[:, None, :] & draw(2, n, 1, 1).bool()
    return images.masked_fill(hole, 0)


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, shape: tuple[int, int]) -> float:
    """Share of right answers; `shape` is the input's size and channels."""
    model.eval()
    hits = 0
    for x, y in zip(images.split(1000), labels.split(1000)):
        hits += (model(to_input(x, *shape)).argmax(1) == y).sum().item()
    return hits / len(labels)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="mobilenet_v2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--size", type=int, help="resolution of the input; default: the network's")
    parser.add_argument("--erasing", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out", type=int, help="score on so many of the training images, left out of training")
    parser.add_argument("--limit", type=int, help="use only so many images, for a rehearsal")
    parser.add_argument("--device", default="cuda")
    return parser.parse_args()


def new_optimizer(model: torch.nn.Module, args: argparse.Namespace) -> torch.optim.Optimizer:
    """SGD with Nesterov's momentum; biases and BatchNorm parameters are not decayed."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=args.lr,
        momentum=0.9,
        nesterov=True,
    )


def new_schedule(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A learning rate that rises for `warmup` steps, and falls to zero along half a cosine."""

    def share(step: int) -> float:
        angle = math.pi * max(0, step - warmup) / max(1, total - warmup)
        return min((step + 1) / warmup, 0.5 * (1 + math.cos(angle)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    generator = torch.Generator(device).manual_seed(args.seed)

    train, test = fashion_mnist("train"), fashion_mnist("test")
    images, labels = train.images, train.labels
    test_images, test_labels = test.images, test.labels
    scored = "test"
    if args.hold_out:
        images, test_images = images.tensor_split([-args.hold_out])
        labels, test_labels = labels.tensor_split([-args.hold_out])
        scored = "held_out"
    images, labels = images[: args.limit].to(device), labels[: args.limit].to(device)
    test_images, test_labels = test_images[: args.limit].to(device), test_labels[: args.limit].to(device)

    shape = args.size or NETWORKS[args.network].size, NETWORKS[args.network].channels
    model = network(args.network).to(device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimizer = new_optimizer(model, args)
    steps = math.ceil(len(images) / args.batch)
    schedule = new_schedule(optimizer, warmup=5 * steps, total=args.epochs * steps)

    first, seconds = 0, 0.0
    rows: list[dict] = []
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        generator.set_state(saved["generator"].cpu())
        first, seconds = saved["epoch"], saved["seconds"]
        rows = saved["rows"]

    for epoch in range(first, args.epochs):
        start, losses = time.perf_counter(), []
        model.train()
        for index in torch.randperm(len(images), device=device, generator=generator).split(args.batch):
            x, y = to_input(augment(images[index], generator, args.erasing), *shape), labels[index]
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x), y, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            losses.append(loss.detach())
        loss = torch.stack(losses).mean().item()
        seconds += time.perf_counter() - start
        row = {
            "epoch": epoch + 1,
            "loss": f"{loss:.4f}",
            "lr": f"{schedule.get_last_lr()[0]:.5f}",
            f"{scored}_accuracy": f"{accuracy(average.module, test_images, test_labels, shape):.4f}",
            "seconds": f"{seconds:.1f}",
        }
        rows.append(row)
        print(*row.values(), flush=True)
        if (epoch + 1) % 10 == 0 or epoch + 1 == args.epochs:
            write_rows(args.out / "log.csv", rows)
            torch.save(
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "epoch": epoch + 1,
                    "seconds": seconds,
                    "rows": rows,
                },
                checkpoint,
            )

    state = halved(average.module.state_dict())
    save_file({k: v.contiguous().cpu() for k, v in state.items()}, args.out / "weights.safetensors")
    # Score what ships: the rounded weights, read back, in float32.
    shipped = network(args.network).to(device)
    shipped.load_state_dict(widened(load_file(args.out / "weights.safetensors")))
    scores = {
        f"{scored}_accuracy": accuracy(shipped, test_images, test_labels, shape),
        "train_accuracy": accuracy(shipped, images, labels, shape),
        f"{scored}_images": len(test_labels),
        "train_images": len(labels),
        "epochs": args.epochs,
        "batch": args.batch,
        "lr": args.lr,
        "weight_decay": args.weight_decay,
        "size": shape[0],
        "erasing": args.erasing,
        "seed": args.seed,
        "seconds": round(seconds, 1),
        "command": " ".join(["python", "-m", "labkit.recipes.classifiers", *sys.argv[1:]]),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
