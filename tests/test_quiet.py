"""What libraries write, and nobody can act on, stays out of a lab."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from labkit import quiet


def test_importing_the_heavy_libraries_after_quiet_prints_nothing():
    code = "from labkit.quiet import quiet; quiet(); import torchao.quantization, bitsandbytes, diffusers, peft"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_reader_has_set_stays(monkeypatch):
    monkeypatch.setenv("KINETO_LOG_LEVEL", "3")
    quiet.quiet()
    assert quiet.os.environ["KINETO_LOG_LEVEL"] == "3"


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_show_on_a_terminal_alone_and_come_back(monkeypatch, terminal):
    shown = [True]
    setting = SimpleNamespace(
        is_progress_bar_enabled=lambda: shown[-1],
        disable_progress_bar=lambda: shown.append(False),
        enable_progress_bar=lambda: shown.append(True),
    )
    monkeypatch.setattr(quiet, "import_module", lambda name: setting)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with quiet.bars_on_terminals_only("transformers"):
        assert shown[-1] == terminal
    assert shown[-1]
