"""Rows of a record: a classifier's file beside its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from labkit import measure
from labkit.record import Record, Row
from labkit.techniques.storage import safetensors


class ScoredFiles:
    """Writes models to files, measures them, scores the models, and adds a row for each to a record.

    A row has `file` and `compressed` (bytes as it is, and under zstd), `accuracy` (%) and `lost` (points, image by
    image against the first model that was kept). Where "fine-tuning" is among the techniques the loss decides nothing:
    another seed may lose more.

    Args:
        record: gets the rows.
        folder: for the files.
        inputs: test images (N, C, H, W).
        labels: int64 (N,).
    """

    def __init__(self, record: Record, folder: Path, inputs: torch.Tensor, labels: torch.Tensor):
        self.record, self.folder, self.inputs, self.labels = record, folder, inputs, labels
        self._reference: torch.Tensor | None = None

    def keep(
        self,
        name: str,
        techniques: Sequence[str],
        model: Callable[[torch.Tensor], torch.Tensor],
        state: dict[str, torch.Tensor] | None = None,
        batch: int = 100,
    ) -> Row:
        """Write, measure and score one model.

        Args:
            name: of the row and the file.
            techniques: those that it applies, in order.
            model: inputs to logits.
            state: its tensors, which the file holds; None takes the state dictionary of a module.
            batch: inputs of one call.

        Raises:
            TypeError: the model is no module, and no state is given.
        """
        if state is None:
            if not isinstance(model, nn.Module):
                raise TypeError(f"{name}: give the tensors of what is no nn.Module, such as a compiled function")
            state = model.state_dict()
        path = safetensors.save_weights(state, self.folder / f"{name}.safetensors")
        sizes = measure.file_sizes(path, "zstd")
        predictions = measure.predict(model, self.inputs, batch)
        self._reference = predictions if self._reference is None else self._reference
        lost = measure.accuracy_loss(predictions, self._reference, self.labels)
        return self.record.add(
            name,
            techniques,
            file=sizes["raw"],
            compressed=sizes["zstd"],
            accuracy=measure.accuracy(predictions, self.labels),
            lost=measure.averaged([lost]) if "fine-tuning" in techniques else lost,
        )


def add_latencies(record: Record, timings: measure.Timings, ending: str, **baselines: str) -> None:
    """Add a row for each contestant, its latency and how many times as fast as each baseline it is.

    Args:
        record: gets the rows.
        timings: of contestants that ran in turn.
        ending: of the rows' names, after the contestant's: ", batch 50".
        baselines: metric → the contestant to compare with, speedup="FP32".
    """
    for name in timings:
        speedups = {metric: timings.ratio(baseline, name) for metric, baseline in baselines.items()}
        record.add(f"{name}{ending}", (), None, latency=timings.latency(name), **speedups)
