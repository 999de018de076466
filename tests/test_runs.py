"""Runs as files: whole or not there, read back as they were, and what the recorded ones say."""

import json
import math

import pytest

from labkit import runs
from labkit.measure import Measurement, averaged, mean_with_interval
from labkit.measure.measurement import CONFIDENCE, QUARTILES, RANGE
from labkit.record import Record
from labkit.runs import RecordedRun


@pytest.fixture
def record():
    record = Record("01_prune_quantize", "quick", 3, headline="12 times smaller", settings={"steps": 3})
    record.add("FP32", (), file=Measurement.exact(8e6, "bytes"), accuracy=Measurement(94, 93, 95, "%", 1000))
    record.add("INT8", ("quantize",), file=Measurement.exact(2e6, "bytes"))
    record.add("both", ("prune", "quantize"), file=Measurement.exact(1.6e6, "bytes"))
    record.add("pruned", ("prune",), {"sparsity": 0.6}, file=Measurement.exact(4e6, "bytes"))
    record.find("smaller", Measurement(5, 4, 6, "×"))
    record.find("of_the_gpu", Measurement.exact(7, "×"), read_from="h200")
    record.keep("a net: pruning × INT8", "file", record.product("file", "FP32", ["pruned", "INT8"], "both"))
    record.verdicts = [{"id": "smaller", "verdict": "holds"}]
    return record


def test_a_saved_record_loads_as_it_was_with_where_it_ran_and_how_to_repeat_it(record, tmp_path):
    run = runs.load(runs.save(record, tmp_path / "new" / "record.json"))
    assert run.record == record
    assert {"python", "packages", "processor", "cores", "threads", "device", "gpu", "commit"} <= run.environment.keys()
    assert run.environment["packages"].keys() >= {"torch", "numpy"}
    assert run.environment["device"] == "cpu"
    assert run.command == "labkit run 01_prune_quantize --scale quick"
    assert (run.seconds, run.peak_bytes, run.date) == (None, None, None)


def test_a_run_on_colab_says_so(record, tmp_path, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    assert "Colab" not in runs.load(runs.save(record, tmp_path / "here.json")).machine
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-2026-08")
    there = runs.load(runs.save(record, tmp_path / "there.json"))
    assert there.environment["colab"] == "release-2026-08" and there.machine.endswith(", Colab")


def test_another_command_can_make_it_again(record, tmp_path):
    path = runs.save(record, tmp_path / "record.json", "python -m labkit.recipes.full_size_qlora")
    assert runs.load(path).command == "python -m labkit.recipes.full_size_qlora"


def test_what_it_took_is_kept(record, tmp_path):
    run = runs.load(runs.save(record, tmp_path / "record.json"))
    run.took(90.0, 2_500_000_000, "2026-11-27").write(tmp_path / "record.json")
    again = runs.load(tmp_path / "record.json")
    assert (again.time, again.memory, again.date, again.record) == ("1.5 min", "2.5 GB", "2026-11-27", record)


def test_the_file_has_the_agreed_form(record, tmp_path):
    data = json.loads(runs.save(record, tmp_path / "record.json").read_text())
    assert " ".join(data) == (
        "lab scale seed device headline settings rows findings read products verdicts guesses command environment run"
    )
    assert next(row for row in data["rows"] if row["name"] == "pruned") == {
        "name": "pruned",
        "techniques": ["prune"],
        "settings": {"sparsity": 0.6},
        "measurements": {"file": Measurement.exact(4e6, "bytes").as_dict()},
    }
    five = {"value": 5, "low": 4, "high": 6, "unit": "×", "n": 1, "kind": "range", "method": ""}
    assert data["findings"]["smaller"] == five
    assert data["read"] == {"of_the_gpu": "h200"}
    assert data["products"][0]["title"] == "a net: pruning × INT8"


def test_without_a_path_a_record_goes_where_the_runner_says(record, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_RECORDS", str(tmp_path / "build"))
    assert runs.save(record) == tmp_path / "build" / "01_prune_quantize.json"
    monkeypatch.delenv("LABKIT_RECORDS")
    monkeypatch.chdir(tmp_path)
    runs.save(record)
    assert (tmp_path / "records" / "01_prune_quantize.json").exists()


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(record, tmp_path):
    path = runs.save(record, tmp_path / "record.json")
    before = path.read_text()
    record.find("endless", Measurement(1, 1, math.inf, "ms"))  # JSON has no infinity
    with pytest.raises(ValueError, match="JSON compliant"):
        runs.save(record, path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_the_file(record, tmp_path):
    assert runs.save(record, tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"lab": "01_prune_quantize"}'])
def test_a_file_that_is_no_run_is_refused_by_name(text, tmp_path):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run.json is not the record of a run .*: fetch it anew, or run the lab"):
        runs.load(tmp_path / "run.json")


@pytest.fixture
def lab(record, tmp_path):
    """A lab's folder with two recorded runs and one on a GPU, as the runner and a recipe leave them."""
    for scale, minutes in (("standard", 4), ("quick", 1.5)):
        record.scale = scale
        path = runs.save(record, tmp_path / "recorded" / f"{scale}.json")
        runs.load(path).took(60 * minutes, 2_500_000_000, "2026-11-27").write(path)
    record.scale = ""
    runs.save(record, tmp_path / "recorded" / "gpu" / "h200.json")
    return tmp_path


def test_recorded_runs_come_from_the_smallest_scale_to_the_largest(lab):
    assert [*runs.recorded_runs(lab)] == ["quick", "standard"]
    assert runs.largest(runs.recorded_runs(lab).values()).scale == "standard"
    assert runs.largest([]) is None


def test_the_run_on_a_gpu_has_no_scale(lab):
    assert runs.gpu_run(lab).scale == ""


def test_of_several_runs_on_a_gpu_one_is_named(record, lab):
    record.scale, record.headline = "", "another"
    runs.save(record, lab / "recorded" / "gpu" / "fine_tuning.json")
    assert runs.gpu_run(lab, "fine_tuning").record.headline == "another"
    assert runs.gpu_run(lab, "h200").record.headline != "another"
    with pytest.raises(FileNotFoundError, match="no run called t4"):
        runs.gpu_run(lab, "t4")


def test_the_estimate_for_a_t4_lies_beside_the_run_on_a_gpu(lab):
    assert runs.t4_estimate(lab) == "—"
    for state, seconds, said in (
        ("done", [245.0, 591.0], "4 to 10 min"),
        ("done", [241.0, 242.0], "4 min"),
        ("running", [10.0, 20.0], "—"),
        ("done", None, "—"),
    ):
        found = {"state": state, "t4_seconds": seconds}
        (lab / "recorded" / "gpu" / runs.REHEARSAL).write_text(json.dumps(found))
        assert runs.t4_estimate(lab) == said
    assert runs.gpu_run(lab).scale == ""


def test_the_needs_of_a_lab_are_those_of_its_recorded_runs(lab):
    table = runs.needs(lab)
    assert [row[:3] for row in table.rows] == [["quick", "1.5 min", "2.50 GB"], ["standard", "4.0 min", "2.50 GB"]]
    assert all("cores, " in row[3] for row in table.rows)


def test_before_any_run_is_recorded_the_needs_are_an_empty_table(tmp_path):
    assert runs.needs(tmp_path).rows == []


def test_findings_stand_beside_those_of_the_recorded_runs(record, lab):
    record.scale = "quick"
    record.find("new_one", Measurement(1, 1, 1, "×"))
    table = runs.beside(record, ["smaller", "new_one"], lab)
    assert table.head == ["finding", "this run (quick)", "quick", "standard"]
    assert table.rows == [["smaller", *["5.00× (4.00 – 6.00)"] * 3], ["new one", "1.00×", "", ""]]


def test_a_run_on_a_gpu_names_it_and_another_the_cpu(record):
    machine = {"device": "cuda", "gpu": "H200", "processor": "Xeon", "cores": 16}
    assert RecordedRun(record, machine, "").machine == "H200, 16 cores"
    assert RecordedRun(record, machine | {"device": "cpu"}, "").machine == "Xeon, 16 cores"


def processes(*values: float, kind: str = QUARTILES, method: str = "", **others: Measurement) -> list[RecordedRun]:
    """Runs that found one figure, with an interval of one to either side, and others."""
    made = []
    for number, value in enumerate(values):
        record = Record("01_prune_quantize", "standard", 0, headline="{figure} faster")
        record.find("figure", Measurement(value, value - 1, value + 1, "×", 40, kind, method))
        for key, measurement in others.items():
            record.find(key, measurement)
        made.append(RecordedRun(record, {}, "labkit run 01", 60.0 + number, 10 + number, "2026-11-28"))
    return made


def test_of_a_latency_each_process_counts_once():
    run = runs.across_processes(processes(3.0, 4.0, 5.0, kind=QUARTILES, method=""))
    assert run.record.findings["figure"] == mean_with_interval([3.0, 4.0, 5.0], "×", "processes")
    assert run.record.summary == "4.00× faster"
    assert (run.command, run.seconds, run.peak_bytes) == ("labkit run 01 --keep", 61.0, 12)


def test_what_decides_nothing_in_one_process_decides_nothing_in_three():
    joined = runs.across_processes(processes(3.0, 4.0, 5.0, kind=RANGE, method="one of the seeds")).record.findings[
        "figure"
    ]
    assert joined == Measurement(4.0, 2.0, 6.0, "×", 40, RANGE, "one of the seeds") and not joined.decides


def test_another_figure_that_differs_has_its_own_interval_too():
    found = processes(3.0, 4.0, 5.0, kind=CONFIDENCE, method="sign test over rounds")
    expected = averaged([run.record.findings["figure"] for run in found], "processes")
    assert runs.across_processes(found).record.findings["figure"] == expected


def test_what_all_processes_share_stays_as_it_is():
    size = Measurement.exact(7, "bytes")
    run = runs.across_processes(processes(3.0, 3.0, 3.0, size=size))
    assert run.record == processes(3.0, size=size)[0].record


def test_one_process_stays_as_it_is():
    [run] = processes(3.0)
    assert runs.across_processes([run]) == run


def test_processes_that_measured_other_things_are_refused():
    with pytest.raises(ValueError, match="the processes differ in record, findings: "):
        runs.across_processes(processes(3.0) + processes(3.0, size=Measurement.exact(7, "bytes")))
    first, second = processes(3.0, 4.0)
    second.record.settings["steps"] = 7
    with pytest.raises(ValueError, match="the processes differ in record, settings"):
        runs.across_processes([first, second])
