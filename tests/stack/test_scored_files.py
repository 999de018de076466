"""A model's row: its file and its accuracy, side by side."""

import numpy as np
import pytest
import torch
from torch import nn

from labkit.measure import Timings, file_sizes
from labkit.record import Record
from labkit.stack.scored_files import ScoredFiles, add_latencies
from labkit.techniques.storage.safetensors import load_weights

INPUTS, LABELS = torch.eye(4), torch.arange(4)
STATE = {"weight": torch.zeros(500)}


def fails_on_the_last(x: torch.Tensor) -> torch.Tensor:
    return x[:, [0, 1, 2, 0]]


@pytest.fixture
def record() -> Record:
    return Record("01_example", "quick", 0)


@pytest.fixture
def rows(record, tmp_path) -> ScoredFiles:
    rows = ScoredFiles(record, tmp_path, INPUTS, LABELS)
    rows.keep("FP32", (), nn.Identity(), STATE)
    return rows


def test_a_row_has_file_and_accuracy(rows, record, tmp_path):
    row = rows.keep("pruned", ("prune",), fails_on_the_last, STATE)
    assert row is record.rows["pruned"] and row.techniques == ("prune",)
    sizes = file_sizes(tmp_path / "pruned.safetensors")
    assert (row.measurements["file"], row.measurements["compressed"]) == (sizes["raw"], sizes["zstd"])
    assert (row.measurements["accuracy"].value, row.measurements["lost"].value) == (75, 25)


def test_the_first_model_loses_nothing_and_all_others_against_it(rows, record):
    assert record.get("FP32", "lost").value == 0
    rows.keep("pruned", (), fails_on_the_last, STATE)
    assert rows.keep("again", (), nn.Identity(), STATE).measurements["lost"].value == 0


def test_one_run_of_training_decides_nothing(rows):
    plain, trained = (rows.keep("x", techniques, fails_on_the_last, STATE) for techniques in ((), ("fine-tuning",)))
    assert plain is trained and not trained.measurements["lost"].decides
    assert rows.keep("y", (), fails_on_the_last, STATE).measurements["lost"].decides


def test_the_model_is_called_in_batches(rows):
    seen = []
    rows.keep("x", (), lambda x: (seen.append(len(x)), x)[1], STATE, batch=3)
    assert seen == [3, 1]


def test_a_module_brings_its_tensors_and_nothing_else_does(rows, tmp_path):
    rows.keep("layer", (), nn.Linear(4, 4))
    assert set(load_weights(tmp_path / "layer.safetensors")) == {"weight", "bias"}
    with pytest.raises(TypeError, match="compiled: give the tensors"):
        rows.keep("compiled", (), fails_on_the_last)


def test_latencies_stand_beside_the_speed_up_over_each_baseline(record):
    timings = Timings({"FP32": np.full(8, 0.004), "INT8": np.full(8, 0.002)})
    add_latencies(record, timings, ", batch 1", speedup="FP32", over_int8="INT8")
    assert list(record.rows) == ["FP32, batch 1", "INT8, batch 1"]
    values = {metric: m.value for metric, m in record.rows["INT8, batch 1"].measurements.items()}
    assert values == {"latency": 2, "speedup": 2, "over_int8": 1}
