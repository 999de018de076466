"""Files: where downloads are kept between runs, and how a result is written."""

import os
import shutil
import uuid
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
    """Write a file whole or not at all, and its folder where that is missing.

    Its permissions are those that the file had, else those that the user's umask leaves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f"{uuid.uuid4().hex}.part"
    try:
        with open(part, "xb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
