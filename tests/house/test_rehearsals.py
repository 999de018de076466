"""The rehearsal of a T4, in small on this CPU."""

import json
import subprocess
import sys

import jupytext
import pytest

from rehearsals import t4


def test_the_cells_are_those_of_the_lab_but_for_the_one_that_installs():
    for source in t4.labs().values():
        lines = source.read_text().splitlines()
        code = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]
        found = [text.partition("\n")[2].strip() for _, _, text in t4.cells(source.read_text())]
        assert found == [each.strip() for each in code if "set_up.py" not in each]
        assert all(lines[line - 1] == text.partition("\n")[0] for _, line, text in t4.cells(source.read_text()))


def test_what_the_gpu_did_is_scaled_by_the_peaks_and_what_the_cpu_did_is_not():
    idle, busy = t4.Cell("", "", 0.0, seconds=10.0), t4.Cell("", "", 10.0, seconds=4.0, busy_seconds=2.0)
    low, high = 67 / 8.1, 989 / 65
    assert t4.estimate([idle, busy], 20.0, "NVIDIA H100 80GB HBM3") == pytest.approx(
        [6 + 10 + 2 * low, 6 + 10 + 2 + 2 * high]
    )
    assert t4.estimate([idle], 20.0, "NVIDIA H200") == [20.0, 20.0]
    assert t4.estimate([idle], 20.0, None) == [20.0, 20.0]


@pytest.mark.slow
def test_a_lab_goes_through_in_float16_and_says_what_it_took(tmp_path):
    command = [sys.executable, t4.__file__, "--toy"]
    subprocess.run([*command, "make-cache", tmp_path], check=True, capture_output=True)
    ran = subprocess.run([*command, "run", tmp_path, "03"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    result = json.loads((tmp_path / "results" / "03_qlora.json").read_text())
    assert (result["state"], result["t4_seconds"]) == ("done", None)
    assert 0 < sum(cell["seconds"] for cell in result["cells"]) < result["seconds"]
    assert len(result["cells"]) == len([*t4.cells(t4.labs()["03"].read_text())])
    assert result["fits_ram"] and result["ram_bytes"] > 1e8
    assert "QLoRA in torch.float16" in (tmp_path / "results" / "03.log").read_text()
    record = json.loads((tmp_path / "records" / "03_qlora.json").read_text())
    assert result["settings"] == record["settings"]
