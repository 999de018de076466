"""The training loop of every stage: a whole step as one CUDA graph, a limit of time, checkpoints, a log."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from labkit.recipes.cuda_graph import CudaGraph
from labkit.recipes.log import write_rows

Draw = Callable[[], tuple[torch.Tensor, ...]]

WARMUP = 100  # steps


def train(
    folder: Path,
    loss: Callable[..., torch.Tensor],
    draw: Draw,
    learner: nn.Module,
    *,
    lr: float,
    seconds: float,
    generator: torch.Generator,
    average: nn.Module | None = None,
    decay: float = 0.999,
    weight_decay: float = 0.01,
    evaluate: Callable[[], dict[str, str]] = dict,
    interval: float = 10.0,
    graph: bool = True,
) -> dict[str, float]:
    """Minimise `loss(*draw())` over the trainable parameters of `learner` with AdamW for so many seconds.

    The learning rate rises over 100 steps and falls as half a cosine to zero with the share of `seconds` that is spent:
    a slower machine makes fewer steps of the same schedule. Every minute everything goes to `folder/checkpoint.pt`, and
    a second call goes on from there. Remove the checkpoint once the result is saved.

    Args:
        average: a copy of `learner` that follows it as an exponential moving average, quickly at first.
        decay: of that average, once it is no longer quick.
        generator: draws the batches; its state is kept in the checkpoint.
        evaluate: gives further columns of the log.
        interval: seconds from one line of `folder/log.csv` to the next.
        graph: whether to record a step as a CUDA graph; on a CPU there is none.

    Returns:
        Steps and seconds of all calls together.

    Raises:
        RuntimeError: the loss is no longer finite.
    """
    device = generator.device
    parameters = [p for p in learner.parameters() if p.requires_grad]
    followers = [p for p, q in zip(average.parameters(), learner.parameters()) if q.requires_grad] if average else []
    # Tensors, which a recorded step reads again at every replay: the learning rate, and the average's share of itself.
    rate, kept_share = torch.tensor(0.0, device=device), torch.tensor(1.0, device=device)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), fused=True, capturable=device.type == "cuda")

    def update(*batch: torch.Tensor) -> torch.Tensor:
        value = loss(*batch)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if followers:
            with torch.no_grad():
                torch._foreach_mul_(followers, kept_share)
                torch._foreach_add_(followers, torch._foreach_mul(parameters, 1 - kept_share))
        return value.detach()

    state = {"step": 0, "seconds": 0.0, "rows": []}
    if (checkpoint := folder / "checkpoint.pt").exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        learner.load_state_dict(saved["learner"])
        optimizer.load_state_dict(saved["optimizer"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        if average:
            average.load_state_dict(saved["average"])
        generator.set_state(saved["generator"].cpu())
        state = saved["state"]

    def save() -> None:
        parts = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "state": state}
        parts |= {"average": average.state_dict()} if average else {}
        new = checkpoint.with_suffix(".new")
        torch.save(parts | {"generator": generator.get_state()}, new)
        os.replace(new, checkpoint)  # a run that is cut off in the middle leaves the checkpoint before

    folder.mkdir(parents=True, exist_ok=True)
    learner.train()
    # Recording runs the step three times, at a learning rate of zero and a share of one.
    step = CudaGraph(update, draw()) if graph and device.type == "cuda" else update
    before = logged = kept = state["seconds"]
    start = time.perf_counter()
    while state["seconds"] < seconds:
        losses = []
        # Launches run ahead of the GPU: wait for it every few steps, or the clock means nothing.
        for _ in range(25 if device.type == "cuda" else 1):
            state["step"] += 1
            warmed = min(1.0, state["step"] / WARMUP)
            rate.fill_(lr * warmed * 0.5 * (1 + math.cos(math.pi * state["seconds"] / seconds)))
            # The average must forget where training began.
            kept_share.fill_(min(decay, (1 + state["step"]) / (10 + state["step"])))
            losses.append(step(*draw()).clone())
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise RuntimeError(f"{folder.name}: the loss is {mean} at step {state['step']}; lower the learning rate")
        state["seconds"] = before + time.perf_counter() - start
        if state["seconds"] - logged >= interval or state["seconds"] >= seconds or not state["rows"]:
            logged = state["seconds"]
            row = {"step": state["step"], "seconds": f"{logged:.1f}", "loss": f"{mean:.5f}", "lr": f"{rate.item():.2e}"}
            learner.eval()
            state["rows"].append(row | evaluate())
            learner.train()
            write_rows(folder / "log.csv", state["rows"])
            print(folder.name, *state["rows"][-1].values(), flush=True)
        if state["seconds"] - kept >= 60 or state["seconds"] >= seconds:
            kept = state["seconds"]
            save()
    learner.eval()
    return {"steps": state["step"], "seconds": round(state["seconds"], 1)}
