"""Sphinx extension: the buttons above a page. A lab opens in Colab and is downloaded as notebook or script; every page
of the book leads to its source, and can be printed. Where no repository is known, nothing leads to it.
"""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx

from labkit.authoring import repository
from labkit.site.source_tree import ROOT


def add_buttons(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Add this page's buttons to those of the theme."""
    if doctree is None:
        return  # search, index, code: pages without a source of their own
    buttons = context["header_buttons"]
    folder, _, lab = page.rpartition("/")
    if folder == "labs":
        files = [f"labs/{lab}/{lab[3:]}{ending}" for ending in (".ipynb", ".py")]
        if published := repository.read(ROOT):  # else its set-up cell, opened alone, has nothing to fetch
            url = published.colab(lab)
            buttons.append(_link("Open in Colab", "fas fa-rocket", url, "launch-colab-button", "Colab"))
        links = [
            _link(f"Download the {kind}", icon, context["pathto"](file, 1), f"download-{kind}-button", ending)
            for file, (kind, icon, ending) in zip(
                files, [("notebook", "fas fa-book", ".ipynb"), ("script", "fas fa-file-code", ".py")]
            )
        ]
        label = {"tooltip": "Download this lab", "icon": "fas fa-download", "label": "download-buttons"}
        buttons.append({"type": "group", "buttons": links, **label})
        source = files[1]
    else:
        source = f"book/{Path(app.env.doc2path(page)).relative_to(app.srcdir).as_posix()}"
    if built_from := source_repository():
        url = built_from.source(source)
        buttons.append(_link("Source of this page", "fab fa-github", url, "source-button"))
    print_it = {"type": "javascript", "javascript": "window.print()", "tooltip": "Print this page, or save it as PDF"}
    buttons.append({**print_it, "icon": "fas fa-print", "label": "print-button"})


def source_repository() -> repository.Repository | None:
    """Where GitHub shows what the site is built from: in a workflow, its repository; elsewhere the one that is set."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return repository.Repository(name, os.environ.get("GITHUB_SHA", "HEAD"))
    return repository.read(ROOT)


def _link(tooltip: str, icon: str, url: str, label: str, text: str = "") -> dict:
    return {"type": "link", "tooltip": tooltip, "icon": icon, "url": url, "label": label, "text": text}


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", add_buttons, priority=502)  # after the theme's own, 501
    return {"parallel_read_safe": True}
