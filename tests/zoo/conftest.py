"""A local web server that cuts, corrupts, stalls and refuses on demand, and a cache of its own for every test."""

import hashlib
import os
import socket
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.datasets import FashionMNIST

from labkit import claims, runs, scale
from labkit.recipes.fashion_mnist_subset import idx_gz
from labkit.zoo.data.fashion_mnist import SHA256 as FASHION
from rehearsals import stand_ins


class Server(ThreadingHTTPServer):
    """Serves `files`; `faults[path]` says what goes wrong at the next requests for that path, one each.

    Faults: "cut" (half of what was asked for, then the end), "stall" (half, then nothing), "corrupt" (one wrong byte),
    or a status such as 503.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, deque] = defaultdict(deque)
        self.honours_range = True
        self.requests: list[tuple[str, str | None]] = []  # (path, Range header)
        self.bytes_sent = 0
        self.stalling = threading.Event()  # set while a stalled answer waits
        self.released = threading.Event()  # lets it go on


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        fault = server.faults[self.path].popleft() if server.faults[self.path] else None
        if isinstance(fault, int) or self.path not in server.files:
            self.send_error(fault or 404)
            return
        body, start = server.files[self.path], 0
        if asked and server.honours_range:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        first = body[: len(body) // 2] if fault in ("cut", "stall") else body
        self._send(first)
        if fault == "stall":
            server.stalling.set()
            server.released.wait(30)
            self._send(body[len(first) :])
        self.close_connection = True

    def _send(self, data: bytes):
        self.server.bytes_sent += len(data)  # before the client can have them, so that a test finds the count complete
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except ConnectionError:  # the client gave up: some tests want that
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def dead_url() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def index(server, monkeypatch, tmp_path):
    """The local server as the only package index that pip knows."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    return server


@pytest.fixture
def no_index(monkeypatch, dead_url):
    monkeypatch.setenv("PIP_INDEX_URL", f"{dead_url}/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


@pytest.fixture
def tiny_archives() -> dict[str, bytes]:
    """Four archives in MNIST's format: 30 training and 20 test pictures."""
    generator = torch.Generator().manual_seed(0)
    archives = {}
    for prefix, n in {"train": 30, "t10k": 20}.items():
        images = torch.randint(256, (n, 28, 28), dtype=torch.uint8, generator=generator)
        archives[f"{prefix}-images-idx3-ubyte.gz"] = idx_gz(images)
        archives[f"{prefix}-labels-idx1-ubyte.gz"] = idx_gz(torch.arange(n, dtype=torch.uint8) % 10)
    return archives


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and a process to which no source has failed yet."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("labkit.zoo.sources.origin._failed", {})
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a cache, by name; the empty lock file is no content."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(name="contents")
def contents_fixture():
    return contents


@pytest.fixture
def tiny(request, tiny_archives, cache, monkeypatch) -> dict[str, bytes]:
    """Small archives in place of the official ones of a test module, with their hashes."""
    for name, data in tiny_archives.items():
        monkeypatch.setitem(request.module.SHA256, name, hashlib.sha256(data).hexdigest())
    return tiny_archives


@pytest.fixture
def hub(request, tiny, server, monkeypatch):
    """The local server as the mirror of the module's data set, with the tiny archives."""
    monkeypatch.setattr(request.module.DATASET, "mirrors", [f"{server.url}/"])
    server.files |= {f"/{name}": data for name, data in tiny.items()}
    return server


@pytest.fixture
def no_hub(request, dead_url, monkeypatch):
    monkeypatch.setattr(request.module.DATASET, "mirrors", [f"{dead_url}/"])


@pytest.fixture
def data_sets(server, cache, tiny_archives, monkeypatch):
    """The local server as the mirror of Fashion-MNIST, with the tiny archives."""
    monkeypatch.setattr(FashionMNIST, "mirrors", [f"{server.url}/FashionMNIST/"])
    for name, data in tiny_archives.items():
        server.files[f"/FashionMNIST/{name}"] = data
        monkeypatch.setitem(FASHION, name, hashlib.sha256(data).hexdigest())


@pytest.fixture
def go_through(monkeypatch, tmp_path):
    """Run a lab, every line of it, at scale full with the models of the hub and the smallest of settings.

    What a figure is worth there, random weights cannot say: that each claim gets its verdict is what is asserted.
    """

    def run(script: str, **smallest: object) -> None:
        lab = Path(__file__).parents[2] / "labs" / script
        smallest = {"source": "hub", "timing_rounds": 1} | smallest
        monkeypatch.setattr(scale, "settings", stand_ins.smallest_settings(**smallest))
        monkeypatch.setattr(scale, "current", lambda: "full")
        monkeypatch.setenv("LABKIT_RECORDS", str(tmp_path))
        monkeypatch.setenv("KINETO_LOG_LEVEL", "99")  # which a lab may set
        monkeypatch.chdir(lab.parent)
        exec(compile(lab.read_text(), str(lab), "exec"), {"__name__": "lab"})
        record = runs.load(tmp_path / f"{lab.parent.name}.json").record
        assert record.scale == "full"
        ids = [claim.id for claim in claims.load_claims(lab.with_name("claims.toml"))]
        assert [verdict["id"] for verdict in record.verdicts] == ids

    return run
