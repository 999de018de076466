"""The rehearsal of Colab sees what a set-up cell does to Colab's packages."""

import json
import re
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from labkit import runs
from labkit.measure import Measurement
from rehearsals import colab

LISTED = {line for line in colab.VERSIONS.read_text().splitlines() if not line.startswith("#")}


def package(folder, name, version):
    """What tells pip, and us, that a package is there."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_what_a_layer_replaces_is_seen_and_what_it_adds_is_no_fault(tmp_path):
    package(tmp_path / "colab", "Torch_AO", "0.10.0")
    package(tmp_path / "colab", "numpy", "2.1.3")
    package(tmp_path / "layer", "torch-ao", "0.18.0")
    package(tmp_path / "layer", "optuna", "5.0.0")
    moves = colab.moved(colab.installed(tmp_path / "colab"), colab.installed(tmp_path / "layer"))
    assert moves == {"torch-ao": ("0.10.0", "0.18.0")}


@pytest.mark.parametrize(
    "moves, wrong",
    [
        ({}, 0),
        ({"torchao": ("0.10.0", "0.18.0")}, 0),
        ({"torchao": ("0.10.0", "0.9.0")}, 1),
        ({"torch": ("2.11.0", "2.15.0")}, 1),
        ({"ipykernel": ("6.17.1", "7.0.0"), "numpy": ("2.1.3", "2.0.0")}, 2),
    ],
)
def test_only_what_nothing_of_colab_needs_may_be_replaced_and_by_something_newer(moves, wrong):
    assert len(colab.faults(moves)) == wrong


def test_a_layer_hides_what_lies_below_it_and_leaves_it_there(tmp_path):
    package(tmp_path / "below", "given", "1.0")
    below = [str(tmp_path / "below"), *colab.site.getsitepackages()]  # of ours: a layer needs ipykernel
    python = colab.layer(tmp_path / "layer", colab.sys.executable, below)
    package(colab.packages_of(python), "given", "2.0")
    code = "from importlib.metadata import version; print(version('given'))"
    assert colab.subprocess.check_output([python, "-c", code], text=True) == "2.0\n"
    assert colab.installed(tmp_path / "below") == {"given": "1.0"}


def test_a_claim_with_another_verdict_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "OWN_RECORDS", tmp_path / "none")
    [lab, *_] = sorted(path.parent for path in colab.ROOT.glob("labs/[0-9][0-9]_*/claims.toml"))
    run = runs.recorded_runs(lab)["quick"]
    record = run.write(tmp_path / "record.json")
    assert colab.other_verdicts(lab.name, record) == []
    data = json.loads(record.read_text())
    data["findings"]["gzip_product_share"] = Measurement.exact(0.5, "×").as_dict()
    record.write_text(json.dumps(data))
    [other] = colab.other_verdicts(lab.name, record)
    assert other == "gzip-rates-multiply: fails (0.500×), elsewhere holds (0.967×)"


def test_the_list_says_when_colab_had_these_versions_and_pins_each():
    assert re.search(r"20\d\d \(Python 3\.\d+", colab.VERSIONS.read_text().splitlines()[0])
    assert [line for line in LISTED if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_the_list_holds_everything_that_the_labs_ask_for_and_colab_has():
    asked = [Requirement(text) for text in metadata.requires("efficiency-stack") or ()]
    labs = {canonicalize_name(r.name) for r in asked if not r.marker or r.marker.evaluate({"extra": "labs"})}
    listed = {canonicalize_name(line.split("==")[0]) for line in LISTED}
    new_there = {"bitsandbytes", "constriction", "gguf", "optuna", "tomesd", "torch-pruning"}
    assert labs - listed == new_there
