"""Stacks of techniques: which order, how much of each, and what each one adds.

steps    a technique as a step: what it needs, refuses and leaves behind
runner   runs stacks, and keeps what was computed
effects  a step left out, added alone, and together with another
archive  what a study has recorded, beside the same stacks on this machine
search   many stacks against several objectives, with Optuna
images   MobileNetV2 on Fashion-MNIST, and its steps
text     SmolLM2 on the documentation of Python, and its steps
"""

from labkit.stack.archive import (
    Repeat,
    ablation,
    candidates,
    every_order,
    every_pair,
    gain,
    latencies,
    named,
    origin,
    product,
    recorded,
    repeat,
    smallest_file,
)
from labkit.stack.effects import Effect, Interaction, ablate, interactions, largest, smallest
from labkit.stack.rows import Rows, StackResult
from labkit.stack.runner import Recorded, Runner, Task
from labkit.stack.steps import Refused, Step, admit, is_admissible, orders, read, step
from labkit.stack.study import FRESH, SEEDS, Study

__all__ = [
    "FRESH",
    "SEEDS",
    "Effect",
    "Interaction",
    "Recorded",
    "Refused",
    "Repeat",
    "Rows",
    "Runner",
    "StackResult",
    "Step",
    "Study",
    "Task",
    "ablate",
    "ablation",
    "admit",
    "candidates",
    "every_order",
    "every_pair",
    "gain",
    "interactions",
    "is_admissible",
    "largest",
    "latencies",
    "named",
    "orders",
    "origin",
    "product",
    "read",
    "recorded",
    "repeat",
    "smallest",
    "smallest_file",
    "step",
]
