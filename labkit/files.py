"""Files: where downloads are kept between runs, and how a result is written."""

import os
import tempfile
from pathlib import Path


class ZooError(RuntimeError):
    """A model or data set could not be had; the message says what was tried and what to do."""


def cache_folder() -> Path:
    """The folder of downloads: `LABKIT_CACHE`, else the user's cache folder on this platform.

    Raises:
        ZooError: LABKIT_CACHE is relative, which would be another folder for each lab, or there is no home folder.
    """
    import platformdirs  # here, so that `labkit doctor` can report that it is missing

    named = os.environ.get("LABKIT_CACHE")
    try:
        folder = Path(named or platformdirs.user_cache_path("labkit")).expanduser()
    except RuntimeError as error:
        raise ZooError(f"{error} Set LABKIT_CACHE to the folder that downloads are to be kept in.") from error
    if not folder.is_absolute():
        raise ZooError(
            f"{'LABKIT_CACHE' if named else 'the cache folder'} is {str(folder)!r}, which would be another folder for "
            f"each lab. Set LABKIT_CACHE to the whole path, such as {Path.cwd() / folder}."
        )
    return folder


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(part, 0o644)  # mkstemp makes files that only their owner may read
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
