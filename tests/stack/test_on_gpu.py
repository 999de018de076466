"""What Lab 03 takes from its runs on a GPU."""

from pathlib import Path

import pytest

from labkit.record import Record
from labkit.runs import gpu_run
from labkit.stack import on_gpu

LAB = Path(__file__).parents[2] / "labs" / "03_qlora"


@pytest.fixture
def recorded():
    return gpu_run(LAB, "nvidia_h200").record


def test_every_row_stands_beside_the_calculator_and_the_worst_is_named(recorded):
    off = on_gpu.beside_calculator(recorded)
    times = [recorded.get(name, "times_calculated").value for name in recorded.rows]
    assert off.unit == "%" and off.value == pytest.approx(100 * max(abs(t - 1) for t in times))
    assert recorded.get(on_gpu.IN_16, "share_of_peak").value == 100


def test_the_findings_are_figures_of_the_recorded_rows(recorded):
    found = on_gpu.findings(recorded)
    for key, row in on_gpu.JUDGED.items():
        peak = recorded.get(row, "peak").value
        assert found[f"peak_{key}"].value == peak / 1e9
        assert 0 < found[f"weights_share_{key}"].value * peak / 100 < recorded.get(row, "held").value
    left = recorded.get(on_gpu.BOTH, "peak").value / recorded.get(on_gpu.IN_16, "peak").value
    assert found["peak_share"].value == pytest.approx(100 * left)
    assert found["slowdown"] == recorded.get(on_gpu.BOTH, "slowdown")


def test_twelve_bytes_for_each_of_65_billion_parameters():
    found = on_gpu.calculated()
    assert found["full_65b"].value == pytest.approx(12 * 65.3, rel=0.01)
    assert found["four_bits_share_of_layers"].value == pytest.approx(4.127 / 16 * 100, rel=1e-3)


def test_the_table_has_every_size_and_the_picture_the_same_qlora_twice():
    assert [row[0] for row in on_gpu.by_method().rows] == ["1B", "7B", "13B", "65B"]
    first, second = on_gpu.seven_billion()
    assert first["QLoRA"] == second["QLoRA"] and list(first)[0] == "full fine-tuning"


def test_what_training_to_the_end_found_is_marked_as_read(capsys):
    record = Record("03_qlora", "quick", 0)
    table = on_gpu.fine_tuning(record, LAB)
    assert set(on_gpu.TRAINED) < record.findings.keys() == record.read.keys()
    assert len(table.rows) >= 6 and "qlora times lora" in capsys.readouterr().out
