"""What tests of stacks do with a model: take steps on it, compare it, empty it."""

import copy

import torch
from torch import nn

from labkit.stack import Step, Task


def apply(task: Task, *steps: Step, model: nn.Module | None = None, seed: int = 0) -> nn.Module:
    """What the steps make of a copy of a model, or of the start."""
    model = task.start() if model is None else copy.deepcopy(model)
    for step in steps:
        torch.manual_seed(seed)
        model = step.apply(model, task, seed)
    return model


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def is_state(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    now = model.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], tensor) for name, tensor in state.items())


def zeroed(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model
