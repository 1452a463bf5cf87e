"""Style, ticks, names and SVG of the figures."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from impcore.rg.report import drawing


@given(st.floats(1e-4, 90), st.floats(1.0001, 1e4))
def test_ticks_of_a_percent_axis_lie_in_it_and_are_few(low, ratio):
    high = min(low * ratio, 106.0)
    ticks = drawing._log_ticks(low, high)
    assert all(low <= tick <= min(high, 100.1) for tick in ticks)
    assert len(ticks) <= 9
    assert ticks == sorted(set(ticks))


def test_decades_have_the_usual_ticks():
    np.testing.assert_allclose(drawing._log_ticks(1.5, 105), [2, 5, 10, 20, 50, 100])


@pytest.mark.parametrize(
    "name", ["$x$", "$\\frac{", "_private", "a\nb\x00", "<b>&", "\\$", "", "x" * 300, "$"]
)
def test_any_name_is_drawn_without_being_read_as_a_formula(name):
    with drawing.style():
        figure, axes = drawing.new_figure()
        (line,) = axes.plot([0, 1], [0, 1])
        axes.set_xlabel(drawing.literal(name))
        drawing.legend_below(figure, [line], [name])
    assert drawing.svg(figure, "a").startswith("<svg")
    assert len(figure.legends[0].get_texts()) == 1


def test_literal_names_keep_their_dollars():
    from matplotlib.cbook import is_math_text

    for name in ("$x$", "a$b", "\\$x$", "$$"):
        assert not is_math_text(drawing.literal(name))


def drawn(prefix):
    with drawing.style():
        figure, axes = drawing.new_figure()
        axes.plot([0, 1], [0, 1], marker="o")
        axes.set_xlabel("$M_i$ of x")
    return drawing.svg(figure, prefix)


def test_an_svg_refers_only_to_itself_and_never_to_another_figure():
    first, second = drawn("one"), drawn("two")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', first))
    assert targets
    assert {a or b for a, b in targets} <= ids[0]
    for word in ("http", "<image", "<!--", "<metadata", "<script", "data:"):
        assert word not in first


def test_the_users_settings_neither_matter_nor_change():
    expected = drawn("x")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        assert drawn("x") == expected
        assert dict(matplotlib.rcParams) == before
