"""The recipe that fine-tunes a language model to the end, rehearsed with a tiny one on a CPU."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from labkit import runs, zoo
from labkit.recipes import fine_tuning
from labkit.recipes.fine_tuning import CONTESTANTS, Task

TOPICS = ["a", "a", "b", "c"]


def task() -> Task:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "vocab_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
    model = LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=16)).eval()
    return Task(model, *torch.randint(32, (12, 8)).split(4), topics=TOPICS, device="cpu")


def run(out: Path, part: str = "1/1") -> None:
    fine_tuning.main(["run", "--out", str(out), "--part", part, "--device", "cpu"])


@pytest.fixture(scope="module", autouse=True)
def small():
    """Two steps, rates and seeds."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"STEPS": 2, "BATCH": 2, "SEEDS": (1, 2), "RATES": (1e-3, 1e-2), "PATIENCE": 0}.items():
            patch.setattr(fine_tuning, name, value)
        patch.setattr(fine_tuning, "load", lambda device: task())
        yield


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory) -> Path:
    """A folder in which everything was run."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder)
    return folder


def test_every_contestant_is_run_at_every_rate_and_then_with_every_seed(finished):
    assert len([*finished.glob("rates/*.json")]) == len([*finished.glob("seeds/*.json")]) == 2 * len(CONTESTANTS) == 12
    rows = [json.loads(path.read_text()) for path in finished.glob("*/QLoRA_all*.json")]
    assert {row["seed"] for row in rows} == {0, 1, 2}
    assert all(row["steps"] == 2 and row["seconds"] > 0 and len(row["held_out"]) == 4 for row in rows)


def test_the_rate_is_the_best_on_the_validation_text(finished):
    for contestant in CONTESTANTS:
        found = fine_tuning.swept(finished, contestant)
        seeds = [json.loads(p.read_text()) for p in finished.glob(f"seeds/{fine_tuning.slug(contestant.name)[:-5]}_*")]
        assert {row["rate"] for row in seeds} == {min(found, key=found.get)}


def test_what_is_there_is_not_run_again(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "runs")
    gone = next(tmp_path.glob("runs/seeds/*.json"))
    gone.unlink()
    ran = []
    monkeypatch.setattr(
        fine_tuning, "trained", lambda task, contestant, rate, seed: ran.append(seed) or {"validation": 1.0}
    )
    run(tmp_path / "runs")
    assert len(ran) == 1 and gone.exists()


def test_parts_share_the_work_and_wait_for_each_other(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(
        fine_tuning, "trained", lambda task, contestant, rate, seed: ran.append((contestant, rate)) or {"validation": 1}
    )
    with pytest.raises(TimeoutError, match="run its part"):
        run(tmp_path, "1/4")
    assert len(ran) == 3
    run(tmp_path)
    assert len(ran) == len([*tmp_path.glob("*/*.json")]) - 3 == 24


def test_a_rate_that_diverges_is_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "RATES", (1e-3, 1e30))
    run(tmp_path)
    for contestant in CONTESTANTS:
        assert fine_tuning.swept(tmp_path, contestant)[contestant.rates[1]] == float("inf")


def test_the_record_has_rows_and_findings_for_the_claims(finished, tmp_path):
    fine_tuning.main(["record", "--out", str(finished), str(tmp_path / "fine_tuning.json")])
    record = runs.load(tmp_path / "fine_tuning.json").record
    assert len(record.rows) == 3 + len(CONTESTANTS)
    row = record.rows["QLoRA, all layers, rank 16"]
    assert {"perplexity", "times_untrained", "times_lora", "times_all", "learned"} <= row.measurements.keys()
    assert [set(losses) for losses in row.settings["losses"]] == [set(TOPICS)] * 2
    assert all(measured.decides for measured in record.findings.values())
    assert record.findings["qlora_more_times_lora"] == row.measurements["times_lora"]
    less = record.findings["qlora_more_learns_less"].value
    learned = [record.get(f"{name}, all layers, rank 16", "learned").value for name in ("LoRA", "QLoRA")]
    assert less == pytest.approx(learned[0] - learned[1])


@pytest.mark.parametrize("wrong", [["run", "--part", "3/2", "--out", "."], ["record", "--out", "."], ["run"]])
def test_a_wrong_command_is_an_error(wrong):
    with pytest.raises(SystemExit):
        fine_tuning.main(wrong)


def test_the_validation_text_shares_no_paragraph_with_the_others():
    corpus = zoo.documentation_corpus()
    texts = [*fine_tuning.without_validation(corpus), corpus.held_out]
    training, validation, held_out = ({p for p in text.split("\n\n") if len(p) >= 25} for text in texts)
    assert not training & validation and not validation & held_out and not training & held_out
    assert len(texts[0]) > 5 * len(texts[1]) > 50_000
