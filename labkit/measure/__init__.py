"""What a model costs and what it is worth.

Every tool returns a Measurement, or a dictionary of them: a value with its interval,
its unit and the number of observations behind it.
"""

from labkit.measure.by_kind import time_by_kind
from labkit.measure.flop_count import flops
from labkit.measure.latency import Timings, quartiles, time_in_turn
from labkit.measure.measurement import (
    Measurement,
    averaged,
    difference,
    mean_with_interval,
    median_with_interval,
    ratio,
)
from labkit.measure.memory import peak_memory, training_memory
from labkit.measure.pareto import pareto_front
from labkit.measure.quality import (
    accuracy,
    accuracy_loss,
    agreement,
    block_losses,
    loss_difference,
    perplexity,
    perplexity_ratio,
    predict,
)
from labkit.measure.roofline import Ceilings, ceilings, rate
from labkit.measure.size import file_sizes, nonzeros, parameters, sparsity

__all__ = [
    "Ceilings",
    "Measurement",
    "Timings",
    "accuracy",
    "accuracy_loss",
    "agreement",
    "averaged",
    "block_losses",
    "ceilings",
    "difference",
    "file_sizes",
    "loss_difference",
    "mean_with_interval",
    "median_with_interval",
    "nonzeros",
    "flops",
    "parameters",
    "pareto_front",
    "peak_memory",
    "perplexity",
    "perplexity_ratio",
    "predict",
    "quartiles",
    "rate",
    "ratio",
    "sparsity",
    "time_by_kind",
    "time_in_turn",
    "training_memory",
]
