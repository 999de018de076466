"""A task whose effects are known in closed form, and a handful of steps: for the tests of `labkit.stack`.

The model is a linear layer that starts as the identity. Its file is the product of the diagonal, what it lost is the
sum of the bias, its latency the last entry of the diagonal.
"""

from collections import Counter

import torch
from torch import nn

from labkit.measure import Measurement
from labkit.stack import Step, step

BYTES = 4096.0


class Toy:
    """Counts what was run, by name of the step; `stop_at` interrupts the step of that number."""

    name = "toy"
    facts = frozenset({"plain"})

    def __init__(self, device: str = "cpu", latencies: dict[str, Measurement] | None = None):
        self.ran: Counter[str] = Counter()
        self.measured = self.timed = 0
        self.stop_at: int | None = None
        self.latencies = {} if latencies is None else latencies

    def count(self, name: str) -> None:
        self.ran[name] += 1
        if self.ran.total() == self.stop_at:
            raise KeyboardInterrupt

    @torch.no_grad()
    def start(self) -> nn.Module:
        model = nn.utils.skip_init(nn.Linear, 4, 4)  # which draws no random numbers
        model.weight.copy_(torch.eye(4))
        model.bias.zero_()
        return model

    @torch.no_grad()
    def measure(self, model: nn.Module, facts: frozenset[str]) -> dict[str, Measurement]:
        self.measured += 1
        lost = model.bias.sum().item()
        return {
            "file": Measurement.exact(BYTES * model.weight.diagonal().prod().item(), "bytes"),
            "lost": Measurement(lost, lost - 0.25, lost + 0.5, "points", 100),
            "latency": self.latency(model),
        }

    def latency(self, model: nn.Module) -> Measurement:
        key = f"{model.weight[3, 3].item():g}"
        if key not in self.latencies:
            self.timed += 1
            self.latencies[key] = Measurement.exact(float(key), "×")
        return self.latencies[key]


def scale(model: nn.Module, row: int, times: float, loss: float) -> nn.Module:
    """`times` smaller, and `loss` more lost, in a row of its own: effects multiply and losses add."""
    model.weight.data[row, row] /= times
    model.bias.data[row] += loss
    return model


@step(gives=["small"])
def shrink(model: nn.Module, task: Toy, times: int = 2, loss: float = 0.5) -> nn.Module:
    task.count("shrink")
    return scale(model, 0, times, loss)


@step(gives=["integers"], refuses={"integers": "they are integers already"})
def pack(model: nn.Module, task: Toy, times: int = 4) -> nn.Module:
    task.count("pack")
    return scale(model, 1, times, 1.0)


@step()
def trim(model: nn.Module, task: Toy, to: float = 0.25, how: str = "gently") -> nn.Module:
    """As small as `shrink` at most: what one has removed the other cannot remove again, and costs nothing twice."""
    task.count("trim")
    model.weight.data[0, 0].clamp_(max=to)
    model.bias.data[0].clamp_(min=1 - to)
    return model


@step(takes=["plain"], needs={"plain": "there is nothing to fold"})
def fold(model: nn.Module, task: Toy) -> nn.Module:
    task.count("fold")
    return scale(model, 3, 2, 0.0)


@step(needs={"small": "there is nothing to repair"})
def repair(model: nn.Module, task: Toy) -> nn.Module:
    task.count("repair")
    return scale(model, 2, 1, -0.25)


@step(refuses={"integers": "they have no room for it"})
def noise(model: nn.Module, task: Toy, seed: int, spread: float = 0.125) -> nn.Module:
    """Draws from the stream that the runner has set; `draw` below from its own."""
    task.count("noise")
    model.bias.data += spread * torch.randn(4)
    return model


@step()
def draw(model: nn.Module, task: Toy, seed: int) -> nn.Module:
    task.count("draw")
    model.bias.data[2] += torch.rand((), generator=torch.Generator().manual_seed(seed))
    return model


STEPS = [shrink(), shrink(4, 0.25), pack(), trim(), fold(), repair(), noise(), noise(0.5), draw()]


def space(trial) -> list[Step]:
    """Eighteen stacks. The six that fold twice are refused; four are better than all others in something."""
    times = trial.suggest_categorical("times", [1, 2, 4])
    packed = trial.suggest_categorical("packed", [False, True])
    folded = trial.suggest_categorical("folded", [0, 1, 2])
    steps = []
    if times > 1:
        steps.append(shrink(times))
    if packed:
        steps.append(pack(8))
    return steps + [fold()] * folded
