"""The recipe that times Stable Diffusion at full size on a GPU, rehearsed in small on a CPU."""

import sys
from dataclasses import replace

import pytest
import torch

from labkit import runs
from labkit.recipes import full_size_diffusion
from labkit.recipes.full_size_diffusion import BASE, LCM
from labkit.record import Record

SMALL = replace(LCM, unet="Small", merged=True)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The recipe with few configurations, as a function of its blocks; returns its record."""

    def call(*blocks: str) -> Record:
        arguments = ["--toy", "--device", "cpu", "--out", str(tmp_path / "run.json"), "--blocks", *blocks]
        monkeypatch.setattr(sys, "argv", ["full_size_diffusion", *arguments])
        full_size_diffusion.main()
        return runs.load(tmp_path / "run.json").record

    monkeypatch.setattr(full_size_diffusion, "EAGER", [BASE, LCM, SMALL])
    monkeypatch.setattr(full_size_diffusion, "GRAPHS", [BASE, replace(BASE, cached=True, run="graph")])
    yield call
    torch.set_grad_enabled(True)  # the recipe turns gradients off for good


def test_whole_generations_stand_beside_the_product_of_their_parts(run):
    record = run("eager")
    assert [*record.rows] == [str(BASE), str(LCM), str(SMALL)]
    assert record.get(str(BASE), "speedup").value == 1
    assert record.get(str(LCM), "speedup").value > 1
    assert record.findings["fastest_batch_1_speedup"] == max(
        (record.get(name, "speedup") for name in record.rows), key=lambda speedup: speedup.value
    )


def test_every_contestant_of_a_session_is_timed_beside_a_baseline_that_is_timed_twice(run):
    record = run("eager")
    assert record.findings["eager_aa"].value > 0
    rows = [record.rows[str(c)].measurements for c in (BASE, LCM, SMALL)]
    base = rows[0]["latency"].value
    # One round: the two columns of a row can differ by nothing, whatever the machine did before.
    assert [m["speedup"].value for m in rows] == pytest.approx([base / m["latency"].value for m in rows])


def test_another_session_leaves_the_latency_of_the_baseline_as_it_was(run):
    before = run("eager").get(str(BASE), "latency")
    record = run("graphs")
    assert record.get(str(BASE), "latency") == before and "graphs_aa" in record.findings


def test_a_product_is_of_one_session_in_which_all_parts_run_alike(run, monkeypatch):
    parts = [replace(BASE, steps=4), replace(BASE, guided=False)]
    monkeypatch.setattr(full_size_diffusion, "EAGER", [BASE, LCM, *parts])
    record = run("eager")
    product = record.get(str(parts[0]), "speedup").value * record.get(str(parts[1]), "speedup").value
    assert record.get(str(LCM), "predicted").value == pytest.approx(product)
    assert "predicted" not in record.rows[str(parts[0])].measurements


def test_a_second_call_goes_on_with_the_record(run):
    run("eager")
    record = run("graphs")
    assert str(SMALL) in record.rows and "25 steps, guided, DeepCache, graph" in record.rows


def test_predictions_need_all_their_parts():
    assert SMALL.parts(BASE) == [
        replace(BASE, steps=4),
        replace(BASE, guided=False),
        replace(BASE, unet="Small"),
        replace(BASE, merged=True),
    ]
    assert (BASE.rows, LCM.rows, replace(BASE, batch=8).rows) == (2, 1, 16)
