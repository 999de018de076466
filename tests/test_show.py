"""Show: the source of a function, from the place where it is tested."""

import functools
import inspect
import re

import pytest

import labkit
from labkit._show import show
from labkit.measure import Measurement, predict


def test_show_is_what_labkit_offers_at_the_top():
    assert labkit.show is show


def test_it_shows_its_own_source_under_the_name_of_its_file():
    text = str(show(show))
    assert text == f"# labkit/_show.py\n{inspect.getsource(show)}"
    assert repr(show(show)) == text


def test_a_decorated_function_and_a_class_are_shown_whole():
    text = str(show(predict, Measurement))
    assert "@torch.no_grad()\ndef predict(" in text
    assert "@dataclass(frozen=True)\nclass Measurement:" in text
    assert text.index("# labkit/measure/quality.py") < text.index("# labkit/measure/measurement.py")


def test_an_inner_function_is_shown_from_the_margin():
    def inner():
        return 1

    assert "\ndef inner():\n    return 1\n" in show(inner)


@pytest.mark.parametrize("thing", [len, int, functools.partial(print), 3])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(TypeError, match="has no Python source to show; pass a function or class"):
        show(thing)


def test_a_page_needs_no_style_sheet():
    page = show(show)._repr_html_()
    assert not re.search(r"<style|<link", page)
    assert set(re.findall(r'class="([^"]*)"', page)) == {"highlight"}
    assert re.search(r'style="color: #\w+; font-weight: bold">def<', page)


def test_code_stays_dark_on_light_in_a_dark_page():
    page = show(show)._repr_html_()
    assert re.match(
        r'<div [^>]*style="background: #f8f8f8;[^>]*><pre style="color: #222222; background: inherit;', page
    )


def test_the_source_is_escaped():
    def smaller(a, b):
        return a < b > 0

    page = show(smaller)._repr_html_()
    assert re.sub(r"<[^>]*>", "", page).count("a &lt; b &gt; 0") == 1
