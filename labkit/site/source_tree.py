"""The source tree: the book's texts, the labs, and the folder of results. An installed wheel has none of them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
BOOK, LABS, BUILD = ROOT / "book", ROOT / "labs", ROOT / "build"


class BookError(RuntimeError):
    """The site cannot be built; the message says what to do."""


def require(book: Path = BOOK) -> None:
    """Raise BookError where the texts are missing."""
    if not (book / "_toc.yml").is_file():
        raise BookError(
            f"there is no {book / '_toc.yml'}: pages are made from the source tree, "
            "so clone the repository and type `make labs` there"
        )
