"""The buttons above a page: which there are, and where they lead to."""

from types import SimpleNamespace

import pytest

from labkit.authoring import repository
from labkit.authoring.repository import Repository
from labkit.site import buttons

ADA = Repository("ada/lovelace", "v1.2.0")
COLAB, SOURCE = "Open in Colab", "Source of this page"


@pytest.fixture
def links(monkeypatch):
    """A function that gives a page's links by their tooltips, for the repository that is set and what GitHub says."""

    def of(page: str, setting: Repository | None, **github: str) -> dict[str, str]:
        for name in ("GITHUB_REPOSITORY", "GITHUB_SHA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in github.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(repository, "read", lambda root: setting)
        app = SimpleNamespace(srcdir="/source", env=SimpleNamespace(doc2path=lambda page: f"/source/{page}.md"))
        context = {"header_buttons": [], "pathto": lambda file, _: file}
        buttons.add_buttons(app, page, "page.html", context, doctree=object())
        return {button["tooltip"]: button["url"] for button in context["header_buttons"] if "url" in button}

    return of


def test_where_no_repository_is_known_nothing_leads_to_one(links):
    assert links("index", None) == links("labs/01_first", None) == {}


def test_what_is_set_is_opened_and_shown_at_its_tag(links):
    assert links("index", ADA) == {SOURCE: "https://github.com/ada/lovelace/blob/v1.2.0/book/index.md"}
    assert links("labs/01_first", ADA) == {
        COLAB: "https://colab.research.google.com/github/ada/lovelace/blob/v1.2.0/labs/01_first/first.ipynb",
        SOURCE: "https://github.com/ada/lovelace/blob/v1.2.0/labs/01_first/first.py",
    }


@pytest.mark.parametrize(("github", "revision"), [({"GITHUB_SHA": "0a1b"}, "0a1b"), ({}, "HEAD")])
def test_a_workflow_shows_the_sources_that_it_builds_from(links, github, revision):
    for setting in (None, ADA):
        found = links("labs/01_first", setting, GITHUB_REPOSITORY="grace/hopper", **github)
        assert found[SOURCE] == f"https://github.com/grace/hopper/blob/{revision}/labs/01_first/first.py"


def test_a_workflow_adds_no_button_for_a_notebook_that_could_not_fetch_the_rest(links):
    assert COLAB not in links("labs/01_first", None, GITHUB_REPOSITORY="grace/hopper")
    assert links("labs/01_first", ADA, GITHUB_REPOSITORY="grace/hopper")[COLAB] == ADA.colab("01_first")
