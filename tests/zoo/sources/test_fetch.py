import contextlib
import errno
import hashlib
import io
import os
import random
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time

import pytest

from labkit.files import cache_folder
from labkit.zoo.sources.fetch import ZooError, fetch

BODY = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def target(cache, server):
    """Where the file goes, in a cache that already holds another file."""
    server.files["/weights.pth"] = BODY
    (cache / "models").mkdir(parents=True)
    (cache / "models" / "other.pth").write_bytes(b"another model")
    return cache / "models" / "weights.pth"


@pytest.fixture
def get(server, target):
    """Fetch the file with the time-outs of a test."""

    def get(url=f"{server.url}/weights.pth", sha256=SHA256, **options):
        return fetch(url, target, sha256, connect_timeout=1, stall_timeout=0.2, **options)

    return get


def part_of(target):
    return target.with_name(target.name + ".part")


def test_cache_folder_is_the_one_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LABKIT_CACHE")
    assert cache_folder().name == "labkit"


def test_a_file_is_downloaded_once(get, target, server, cache, contents):
    before = contents(cache)
    assert get() == target
    assert get() == target
    assert contents(cache) == before | {"models/weights.pth": SHA256}
    assert len(server.requests) == 1


def test_the_first_digits_of_a_hash_are_enough(get, target):
    assert get(sha256=SHA256[:8]) == target


def test_a_damaged_file_in_the_cache_is_replaced(get, target):
    target.write_bytes(BODY[:-1])
    assert get().read_bytes() == BODY


def test_a_cut_download_goes_on_where_it_stopped(get, server):
    server.faults["/weights.pth"] += ["cut", "cut"]
    assert get().read_bytes() == BODY
    assert [asked for _, asked in server.requests] == [None, "bytes=150000-", "bytes=225000-"]
    assert server.bytes_sent == len(BODY)


def test_a_later_call_asks_only_for_the_missing_bytes(get, target, server, cache, contents):
    server.faults["/weights.pth"] += ["cut"]
    before = contents(cache)
    with pytest.raises(ZooError, match=r"(?s)weights\.pth.*cut.*run again.*after the 150,000 bytes"):
        get(attempts=1)
    half = hashlib.sha256(BODY[:150_000]).hexdigest()
    assert contents(cache) == before | {"models/weights.pth.part": half}

    get(attempts=1)
    assert contents(cache) == before | {"models/weights.pth": SHA256}
    assert server.bytes_sent == len(BODY)


def test_a_server_that_knows_no_ranges_sends_the_whole_again(get, target, server):
    server.honours_range = False
    server.faults["/weights.pth"] += ["cut"]
    assert get().read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_complete_part_needs_no_byte_more(get, target, server):
    part_of(target).write_bytes(BODY)
    assert get().read_bytes() == BODY
    assert server.bytes_sent == 0


@pytest.mark.parametrize("stale", [b"of another file", BODY + b"too long"])
def test_a_part_of_something_else_is_thrown_away(get, target, server, stale):
    part_of(target).write_bytes(stale)
    assert get().read_bytes() == BODY
    assert not part_of(target).exists()


def test_wrong_bytes_are_refused_and_removed(get, server, cache, contents):
    server.faults["/weights.pth"] += ["corrupt"]
    before = contents(cache)
    with pytest.raises(ZooError, match=f"wrong SHA-256: expected {SHA256}, got [0-9a-f]{{64}}"):
        get()
    assert contents(cache) == before
    assert len(server.requests) == 1


def test_a_stalled_download_is_given_up_and_kept_for_later(get, target, server):
    server.faults["/weights.pth"] += ["stall", "stall"]
    start = time.monotonic()
    with pytest.raises(ZooError, match=r"stalled: nothing came for 0\.2 s; stalled.*it will go on after"):
        get(attempts=2)
    assert time.monotonic() - start < 2  # the server itself would go on after 30 s
    assert not target.exists()
    kept = part_of(target).read_bytes()
    assert len(kept) > len(BODY) // 2  # the second attempt went on after the first
    assert BODY.startswith(kept)


def test_a_missing_file_is_asked_for_once(get, server, cache, contents):
    server.files.clear()
    before = contents(cache)
    with pytest.raises(ZooError, match="the server answered 404"):
        get()
    assert contents(cache) == before
    assert len(server.requests) == 1


def test_a_server_that_fails_for_a_moment_is_asked_again(get, server):
    server.faults["/weights.pth"] += [503]
    assert get().read_bytes() == BODY


def test_no_network_is_one_clear_error(get, dead_url, cache, contents):
    before = contents(cache)
    with pytest.raises(ZooError, match=r"(?s)/x could not be fetched.*no connection.*refused.*Check the network"):
        get(f"{dead_url}/x")
    assert contents(cache) == before


def test_a_cache_that_cannot_be_written(server, tmp_path):
    # Below a regular file nobody can write, not even root.
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="The cache cannot be written .*file/cache.*LABKIT_CACHE"):
        fetch(f"{server.url}/weights.pth", tmp_path / "file" / "cache" / "weights.pth", SHA256)
    assert server.requests == []


def test_a_file_that_is_there_needs_no_writable_cache(get, target, monkeypatch):
    target.write_bytes(BODY)
    monkeypatch.setattr(os, "open", None)  # no lock, no directory, no part can be made
    assert get() == target


def test_a_full_disk_leaves_the_cache_as_it_was(get, cache, contents, monkeypatch):
    class FullDisk(io.FileIO):
        """A file on a disk that has room for ten bytes."""

        def write(self, data):
            super().write(data[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("labkit.zoo.sources.fetch.open", lambda file, mode: FullDisk(file, mode), raising=False)
    before = contents(cache)
    with pytest.raises(ZooError, match=r"The disk is full .*models.*No space left.*LABKIT_CACHE"):
        get()
    assert contents(cache) == before


HTML = b"<html>Please log in</html>"
ANSWERS = {  # what a server may send, as it stands on the line
    "a length said twice": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\nnine byte",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\nnine byte",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nnine byte",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -9\r\n\r\nnine byte",
    "no head": b"nine byte",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + HTML,
    "chunks without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnine ",
    "chunks of no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nnine ",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "a redirect to nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/x\r\nContent-Length: 0\r\n\r\n",
    "a redirect to a file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n",
    "a redirect to itself": b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(HTML) + HTML,
    "another part": b"HTTP/1.1 206 OK\r\nContent-Range: bytes 7-15/16\r\nContent-Length: 9\r\n\r\nnine byte",
    "a part of what": b"HTTP/1.1 206 OK\r\nContent-Range: bytes all\r\nContent-Length: 9\r\n\r\nnine byte",
    "no such part": b"HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n",
    "the part, wrong": b"HTTP/1.1 206 OK\r\nContent-Range: bytes 150000-150003/150004\r\nContent-Length: 4\r\n\r\nfour",
    "a number that is none": b"HTTP/1.1 9999 ?\r\n\r\n",
    "busy": b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture
def raw():
    """A server that says the same bytes to everybody, waits, and hangs up."""

    class Say(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            with contextlib.suppress(OSError):
                for piece in self.server.pieces():
                    self.request.sendall(piece)
            if self.server.resets:  # without a farewell
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Say)
    server.daemon_threads, server.block_on_close, server.resets = True, False, False
    server.url = f"http://127.0.0.1:{server.server_address[1]}/x"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_any_answer_ends_in_a_zoo_error_and_costs_no_byte_that_came_before(raw, get, target, server, answer, resumed):
    raw.pieces = lambda: [answer]
    if resumed:
        part_of(target).write_bytes(BODY[:150_000])
    with pytest.raises(ZooError, match=f"{raw.url} could not be fetched. Tried: .+ Check the network"):
        get(raw.url)
    assert not target.exists() and not list(target.parent.glob("*.new"))
    if resumed:
        assert part_of(target).read_bytes() == BODY[:150_000]
        assert get().read_bytes() == BODY and server.bytes_sent == 150_000


@pytest.mark.parametrize("length", ["300000, 300000", "abc", ""])
def test_a_right_file_under_an_odd_length_is_taken(raw, get, length):
    raw.pieces = lambda: [f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode(), BODY]
    assert get(raw.url).read_bytes() == BODY


def test_what_came_before_a_stall_is_kept_to_the_last_byte(raw, get, target):
    def pieces():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + BODY[:60_001]
        time.sleep(0.5)

    raw.pieces = pieces
    with pytest.raises(ZooError, match="stalled.*after the 60,001 bytes"):
        get(raw.url, attempts=1)
    assert part_of(target).read_bytes() == BODY[:60_001]


def test_what_is_cut_without_a_length_is_gone_on_with(raw, get, target, server):
    raw.pieces = lambda: [b"HTTP/1.1 200 OK\r\n\r\n", BODY[:1000]]
    with pytest.raises(ZooError, match="cut: the connection was closed after 1,000 bytes; .*after the 1,000 bytes"):
        get(raw.url)
    assert get().read_bytes() == BODY and server.requests == [("/weights.pth", "bytes=1000-")]


@pytest.mark.parametrize("before", [[], [b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", BODY[:9]]])
def test_a_connection_that_is_reset_is_tried_again(raw, get, before):
    whole = [b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", BODY]
    answers = [before, whole]

    def pieces():
        found = answers.pop(0)
        raw.resets = found is before
        return found

    raw.pieces = pieces
    assert get(raw.url).read_bytes() == BODY


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["head", "body", "size of a chunk"],
)
def test_a_byte_now_and_then_does_not_last_for_ever(raw, get, head):
    def pieces():
        yield head or b"HTTP/1.1 200 OK\r\nX: "
        for _ in range(40):
            yield b"1"
            time.sleep(0.05)

    raw.pieces = pieces
    start = time.monotonic()
    with pytest.raises(ZooError, match=r"too slow: not done within 0\.4 s"):
        get(raw.url, longest=0.4)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("length", [b"Content-Length: 300000", b"Transfer-Encoding: identity"])
def test_more_than_the_file_can_be_is_refused(raw, get, cache, contents, length):
    raw.pieces = lambda: [b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n", *[BODY] * 9]
    before = contents(cache)
    with pytest.raises(ZooError, match="larger than 100,000 bytes, so it is not this file"):
        get(raw.url, largest=100_000)
    assert contents(cache) == before


def test_a_part_that_is_a_link_is_not_written_through(get, target, tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    part_of(target).symlink_to(tmp_path / "mine")
    assert get().read_bytes() == BODY and (tmp_path / "mine").read_bytes() == b"mine"


@pytest.mark.parametrize("named", ["cache", "./cache", "../cache"])
def test_a_cache_that_would_be_another_one_for_each_lab_is_refused(monkeypatch, named):
    monkeypatch.setenv("LABKIT_CACHE", named)
    with pytest.raises(ZooError, match="Set LABKIT_CACHE to the whole path, such as /"):
        cache_folder()


def test_without_a_home_folder_the_variable_that_helps_is_named(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "LABKIT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a user that the machine does not know
    with pytest.raises(ZooError, match="Set LABKIT_CACHE"):
        cache_folder()


def test_a_second_process_waits_and_then_finds_the_file(server, target):
    script = (  # the module alone, as a file: the package would import torch
        "import runpy, sys; fetch = runpy.run_path(sys.argv[1])['fetch']\n"
        "print('ready', flush=True); sys.stdin.readline(); print(fetch(*sys.argv[2:]), flush=True)"
    )
    module = sys.modules[fetch.__module__].__file__
    command = [sys.executable, "-c", script, module, f"{server.url}/weights.pth", str(target), SHA256]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server.faults["/weights.pth"] += ["stall"]
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:
        for process in (first, second):
            assert process.stdout.readline() == "ready\n"
        print(file=first.stdin, flush=True)
        assert server.stalling.wait(10)  # the first has half of the file
        print(file=second.stdin, flush=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.3)
        server.released.set()
        assert first.stdout.read() == second.stdout.read() == f"{target}\n"
    assert target.read_bytes() == BODY
    assert len(server.requests) == 1
