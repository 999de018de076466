"""Show a reader the source of a function, from the one place where it is kept and tested."""

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path


class Source(str):
    """Python source that a notebook displays with highlighting and a terminal prints as it is."""

    def _repr_html_(self) -> str:
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer

        # Colours are written into the tags: an exported page then needs no style sheet of ours, and plain text
        # stays dark on light where the page around it is dark.
        formatter = HtmlFormatter(
            noclasses=True,
            style="default",
            cssstyles="padding: 0.6em; overflow-x: auto",
            prestyles="color: #222222; background: inherit; margin: 0",
        )
        return highlight(self, PythonLexer(), formatter)

    def __repr__(self) -> str:
        return str(self)


def show(*objects: Callable) -> Source:
    """Return the source of functions or classes, each under a comment that names its file.

    Raises:
        TypeError: an object has no Python source, such as a builtin.
    """
    parts = []
    for thing in objects:
        try:
            source, path = inspect.getsource(thing), inspect.getsourcefile(thing)
        except (TypeError, OSError) as error:
            raise TypeError(f"{thing!r} has no Python source to show; pass a function or class") from error
        module = inspect.getmodule(thing)
        name = module.__name__.replace(".", "/") + ".py" if module and "." in module.__name__ else Path(path).name
        parts.append(f"# {name}\n{textwrap.dedent(source)}")
    return Source("\n\n".join(parts))
