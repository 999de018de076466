"""Files: where downloads are kept between runs, and how a result is written."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder of downloads: `LABKIT_CACHE`, else the user's cache folder on this platform."""
    import platformdirs  # here, so that `labkit doctor` can report that it is missing

    return Path(os.environ.get("LABKIT_CACHE") or platformdirs.user_cache_path("labkit")).expanduser()


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
