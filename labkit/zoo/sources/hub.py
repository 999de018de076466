"""Files from the model hub, through the hub's own client and its cache, which other programs share."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from labkit.quiet import bars_on_terminals_only
from labkit.zoo.sources.fetch import ZooError, is_intact, sha256_of


def require(*modules: str) -> None:
    """Check that modules are installed.

    Raises:
        ZooError: one is missing; it says how to install it.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ZooError(f"{module} is not installed. Run: labkit doctor, which says what is missing, and what to do")


def from_hub(repository: str, revision: str, settings: Sequence[str], weights: Mapping[str, str]) -> Path:
    """Folder of these files of a revision, which a second call finds in the cache.

    Args:
        settings: names of files; the revision says which they are.
        weights: names of files with the SHA-256 of each, which is checked.

    Raises:
        ZooError: the hub does not deliver, or gives other weights.
    """
    from huggingface_hub import hf_hub_download

    files = {}
    try:
        with bars_on_terminals_only():
            for name in (*settings, *weights):
                files[name] = Path(hf_hub_download(repository, name, revision=revision))
    except Exception as error:  # what it is depends on the client's version and its ways of transfer
        raise ZooError(
            f"{repository} could not be fetched from the model hub: {error} "
            "Check the network (a proxy or a firewall may stand between) and run again."
        ) from error
    for name, sha256 in weights.items():
        if not is_intact(files[name], sha256):
            raise ZooError(
                f"{name} of {repository} has the wrong SHA-256: expected {sha256}, got {sha256_of(files[name])}. "
                f"Delete {files[name].resolve()} and run again."
            )
    return files[name].parents[name.count("/")]
