"""What was recorded on a GPU for Lab 03: training to the end, and steps at full size beside the calculator.

`labkit.recipes.fine_tuning` and `labkit.recipes.full_size_qlora` made the records.
"""

from __future__ import annotations

from typing import Literal

from labkit.estimate.block_quantization import bits_per_parameter
from labkit.estimate.training_memory import (
    PRESETS,
    footprint_of,
    full_footprint,
    total,
    training_footprint,
    weight_bytes,
)
from labkit.measure.measurement import Measurement, ratio
from labkit.record import Record
from labkit.runs import gpu_run
from labkit.table import Table

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IN_16, IN_8, IN_4 = (f"1B, {name}, all layers" for name in ("bf16", "int8", "nf4 double"))
CHECKPOINTING = f"{IN_16}, checkpointing"
BOTH = f"{IN_4}, checkpointing"
_ONE_TEXT = "{}, {}, all layers, rank 64, AdamW 8-bit, 1 x 512, checkpointing"
#: rows whose peak claims are about
JUDGED = {
    "1b": IN_4,
    "1b_in_16_bits": IN_16,
    "7b": _ONE_TEXT.format("7B", "nf4 double"),
    "7b_in_16_bits": _ONE_TEXT.format("7B", "bf16"),
    "65b": _ONE_TEXT.format("65B", "nf4 double"),
}

#: findings of the lab → of the run that trained to the end
TRAINED = {
    "few_times_full": "few_times_full",
    "more_times_full": "more_times_full",
    "qlora_times_lora": "qlora_more_times_lora",
    "qlora_times_untouched": "qlora_more_times_untrained",
    "int8_times_lora": "int8_few_times_lora",
    "qlora_learns_less": "qlora_more_learns_less",
}


def fine_tuning(record: Record, lab: str = ".") -> Table:
    """Put what was found by training to the end into a lab's record, print it, and return the table of contestants.

    Args:
        record: of the lab.
        lab: its folder.

    Raises:
        FileNotFoundError: the lab has no such run.
    """
    recorded = gpu_run(lab, "fine_tuning").record
    for key, theirs in TRAINED.items():
        found = record.find(key, recorded.findings[theirs], read_from="fine_tuning")
        print(f"{key.replace('_', ' ')}: {found}")
    for key, name in {"few": "LoRA, q and v, rank 8", "more": "LoRA, all layers, rank 16"}.items():
        record.find(f"{key}_trained", recorded.get(name, "trained"), read_from="fine_tuning")
    return recorded.table("trained", "perplexity", "times_untrained", "learned")


def beside_calculator(recorded: Record) -> Measurement:
    """Add to each row of a recorded run what the calculator says; returns by how many % it is off at most.

    Those of a billion parameters with adapters beside all layers have their share of the peak of 16 bits, too.
    """
    off = 0.0
    for name, row in recorded.rows.items():
        calculated = total(footprint_of(row.settings))
        times = ratio(row.measurements["peak"], calculated)
        off = max(off, abs(times.value - 1))
        recorded.add(name, calculated=calculated, times_calculated=times)
    start = recorded.get(IN_16, "peak").value
    for name in (IN_16, IN_8, IN_4, CHECKPOINTING, BOTH):
        share = 100 * recorded.get(name, "peak").value / start
        recorded.add(name, share_of_peak=Measurement.exact(share, "%"))
    return Measurement.exact(100 * off, "%")


def findings(recorded: Record) -> dict[str, Measurement]:
    """What claims need of a recorded run, which `beside_calculator` then knows, too.

    Peaks, the weights' share of them, what four bits alone and with checkpointing leave of 16 bits, and time.
    """
    found = {"calculator_error": beside_calculator(recorded)}
    for key, name in JUDGED.items():
        peak = recorded.get(name, "peak").value
        adapters = footprint_of(recorded.rows[name].settings)["adapters"].value
        weights = recorded.get(name, "held").value - adapters
        found[f"peak_{key}"] = Measurement.exact(peak / 1e9, "GB")
        found[f"weights_share_{key}"] = Measurement.exact(100 * weights / peak, "%")
    return found | {
        "four_bits_peak_share": recorded.get(IN_4, "share_of_peak"),
        "peak_share": recorded.get(BOTH, "share_of_peak"),
        "slowdown": recorded.get(BOTH, "slowdown"),
    }


def calculated() -> dict[str, Measurement]:
    """What claims need of the calculator: training all of 65 billion, and four bits against 16 of the layers."""
    full = 6 * weight_bytes(PRESETS["65B"], "bf16")  # weights and gradients of two bytes, moments of eight
    return {
        "full_65b": Measurement.exact(full / 1e9, "GB"),
        "four_bits_share_of_layers": Measurement.exact(100 * bits_per_parameter(double=True) / 16, "%"),
    }


def one_text(size: str, format: Literal["bf16", "nf4 double"], checkpointing: bool = True) -> dict[str, Measurement]:
    """Bytes, by part, of a step with rank 64 beside all layers, one text of 512 tokens and 8-bit AdamW.

    >>> print(total(one_text("7B", "nf4 double")))
    5.71 GB
    """
    return training_footprint(PRESETS[size], format, 64, LAYERS, 1, 512, "bf16", "adamw 8-bit", checkpointing)


def by_method() -> Table:
    """Training memory of every size of model: of all parameters, and of adapters beside 16 and 4 bits."""
    rows = []
    for size, config in PRESETS.items():
        steps = (full_footprint(config, 1, 512, True), one_text(size, "bf16"), one_text(size, "nf4 double"))
        rows.append([size, *(str(total(parts)) for parts in steps)])
    return Table(["", "full fine-tuning", "LoRA", "QLoRA"], rows)


def seven_billion() -> list[dict[str, dict[str, Measurement]]]:
    """Steps of a model of 7B on one text: of all parameters beside QLoRA; then QLoRA beside LoRA and checkpointing."""
    full, in_4 = full_footprint(PRESETS["7B"], 1, 512), one_text("7B", "nf4 double", False)
    adapters = {
        "LoRA": one_text("7B", "bf16", False),
        "QLoRA": in_4,
        "with\ncheckpointing": one_text("7B", "nf4 double"),
    }
    return [{"full fine-tuning": full, "QLoRA": in_4}, adapters]
