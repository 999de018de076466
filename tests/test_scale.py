"""Scale: one word in the environment chooses a column of every lab's settings."""

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from labkit import scale


@pytest.mark.parametrize("name", ["quick", "standard", "full"])
def test_the_environment_chooses(monkeypatch, name):
    monkeypatch.setenv("LABKIT_SCALE", name)
    assert scale.current() == name
    expected = {"quick": 100, "standard": 1000, "full": 10_000}[name]
    assert scale.settings(images=(100, 1000, 10_000)).images == expected


def test_an_unknown_name_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("LABKIT_SCALE", "huge")
    with pytest.raises(ValueError, match="LABKIT_SCALE is 'huge'; it must be one of quick, standard, full"):
        scale.current()


@pytest.mark.parametrize("gpu, hub, expected", [(1, 1, "full"), (1, 0, "standard"), (0, 1, "standard")])
def test_unset_it_is_full_only_with_a_gpu_and_a_hub(monkeypatch, gpu, hub, expected):
    monkeypatch.delenv("LABKIT_SCALE", raising=False)
    monkeypatch.setattr(scale, "_gpu", lambda: bool(gpu))
    monkeypatch.setattr(scale, "hub_reachable", lambda: bool(hub))
    assert scale.current() == expected


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that answers every request with `hub.status`."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status, reachable", [(200, True), (503, False)])
def test_a_hub_that_answers_is_reachable(hub, status, reachable):
    hub.status = status
    assert scale.hub_reachable() is reachable


def test_a_hub_that_answers_is_not_asked_where_its_client_is_to_stay_offline(hub, monkeypatch):
    hub.status = 200
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert scale.hub_reachable() is False


@pytest.mark.parametrize("address", ["hub.example", "http://[::1", "http://", ""])
def test_an_address_that_is_none_is_not_reachable(monkeypatch, address):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    assert scale.hub_reachable() is False


def test_a_hub_where_nobody_listens_is_not(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert scale.hub_reachable() is False


def test_every_setting_has_a_value_for_each_scale(monkeypatch):
    monkeypatch.setenv("LABKIT_SCALE", "quick")
    with pytest.raises(
        ValueError, match="setting 'images' has 2 values; it needs one for each of quick, standard, full"
    ):
        scale.settings(images=(100, 1000))


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setenv("LABKIT_SCALE", "standard")
    return scale.settings(images=(11, 22, 33), training_steps=(44, 55, 66))


def test_a_notebook_shows_all_columns_and_marks_the_one_in_force(settings):
    page = settings._repr_html_()
    for value in (11, 33, 44, 66):
        assert f">{value}</td>" in page
    assert "<b>22</b>" in page and "<b>55</b>" in page
    assert "<b>standard (this run)</b>" in page
    assert "training steps" in page


def test_a_terminal_shows_all_columns_and_marks_the_one_in_force(settings):
    head, *rows = repr(settings).splitlines()
    assert re.split(r"  +", head) == ["setting", "quick", "standard (this run)", "full"]
    assert [re.split(r"  +", row) for row in rows] == [
        ["images", "11", "22", "33"],
        ["training steps", "44", "55", "66"],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1


def test_short_names_stay_aligned(monkeypatch):
    monkeypatch.setenv("LABKIT_SCALE", "quick")
    assert len({len(line) for line in repr(scale.settings(n=(1, 2, 3))).splitlines()}) == 1
