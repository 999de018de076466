"""Where downloads and compiled kernels are kept between runs."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of downloads: `LABKIT_CACHE`, else the user's cache folder on this platform."""
    import platformdirs  # here, so that `labkit doctor` can report that it is missing

    return Path(os.environ.get("LABKIT_CACHE") or platformdirs.user_cache_path("labkit")).expanduser()
