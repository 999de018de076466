"""Files: where downloads are kept between runs, and how a result is written."""

import os
import shutil
import uuid
from pathlib import Path


def cache_folder() -> Path:
    """The folder of downloads: `LABKIT_CACHE`, else the user's cache folder on this platform."""
    import platformdirs  # here, so that `labkit doctor` can report that it is missing

    return Path(os.environ.get("LABKIT_CACHE") or platformdirs.user_cache_path("labkit")).expanduser()


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
