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
    ("values", "ticks"),
    [
        ((33.0, 97.0), [40, 60, 80, 100]),  # not 30, 45, 60, 75, 90
        ((60.0, 97.0), [60, 70, 80, 90]),
        ((97.5, 99.9), [97.5, 98, 98.5, 99, 99.5, 100]),
        ((100.0, 100.0), [99, 99.5, 100]),
    ],
)
def test_accuracies_have_round_ticks_up_to_100(values, ticks):
    with drawing.style():
        _, axes = drawing.new_figure()
        drawing.pad(axes, np.array(values), least=2.0)
        drawing.round_ticks(axes, most=100)
    low, high = axes.get_ylim()
    np.testing.assert_allclose(axes.get_yticks(), ticks)
    assert all(low <= tick <= high for tick in ticks)


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


@pytest.mark.parametrize(
    ("names", "limit", "shown"),
    [
        (["stage1", "rest"], 12, ["stage1", "rest"]),
        (["net.blocks.9.proj", "net.blocks.10.proj", "rest"], 12, ["…9…", "…10…", "rest"]),
        (["run_with_settings_seed1", "run_with_settings_seed2"], 18, ["…seed1", "…seed2"]),
        (["alpha of a long name", "omega of a long name"], 12, ["alpha…", "omega…"]),
        (["one name that is long"] * 2, 12, ["one name th…"] * 2),
        (["net.a$x.of.it.all", "net.b$y.of.it.all"], 12, ["…a\\$x…", "…b\\$y…"]),
        (["blocks.of.a.net", "blocks.of.a.net.of.a.net"], 12, ["…net", "…net.of.a.n…"]),
        ([], 12, []),
    ],
)
def test_long_names_are_drawn_by_what_tells_them_apart(names, limit, shown):
    assert drawing.literals(names, limit) == shown


def test_names_below_an_axis_do_not_run_together():
    with drawing.style():
        figure, axes = drawing.new_figure()
        drawing.block_axis(axes, [f"encoder.layers.{i}.proj" for i in range(50)])
        axes.set_xlim(-0.5, 49.5)
    drawing.svg(figure, "x")  # lays it out
    assert [text.get_text() for text in axes.get_xticklabels()][:2] == ["…0…", "…3…"]
    assert list(axes.get_xticks()) == list(range(0, 50, 3))


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
