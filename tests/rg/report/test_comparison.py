"""What stands beside what: runs of the same blocks, and the published rows of those blocks."""

from __future__ import annotations

import numpy as np
import pytest

from impcore import rg
from impcore.rg.report import curves, joint, maps
from impcore.rg.report.comparison import compare
from impcore.rg.report.drawing import svg
from impcore.rg.report.subject import Options, groups, subject

STAGES = ("stage1", "stage2", "stage3", "stage4", "rest")


def compared(make_run, names, **options):
    one = subject(rg.load(make_run(9, names=names)), Options(**options))
    return compare([one], groups([one]), Options(**options))


def titles(comparison):
    return [label for label, _ in comparison.published]


def test_tables_are_chosen_by_the_blocks(make_run):
    (stages,) = compared(make_run, STAGES)
    assert stages.names == STAGES[:4]
    assert titles(stages) == [f"Table 2: {row}" for row in rg.published.table(2).rows]
    (layers,) = compared(make_run, tuple(f"layer.{i}" for i in range(12)))
    assert len(titles(layers)) == 10
    (other,) = compared(make_run, ("a", "b", "c", "d"))
    assert titles(other) == []
    (forced,) = compared(make_run, ("a", "b", "c", "d"), beside=(2, 4, 7))
    assert titles(forced)[-1] == "Table 4: ResNet-32"
    (none,) = compared(make_run, STAGES, beside=())
    assert titles(none) == []


def test_the_first_block_of_a_stage_is_not_normal(make_run):
    names = tuple(f"layer{s}.{b}" for s in (1, 2, 3) for b in range(3))
    whole, *stages = compared(make_run, names)
    assert titles(whole) == []
    assert [one.names for one in stages] == [(f"layer{s}.1", f"layer{s}.2") for s in (1, 2, 3)]
    assert [titles(one) for one in stages] == [[f"Table {n}: ResNet-20"] for n in (4, 5, 6)]
    np.testing.assert_array_equal(
        stages[1].runs[0][1].sigma_mean, whole.runs[0][1].sigma_mean[[4, 5]]
    )


@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3, 4, 6), (3, 3)])
def test_other_networks_than_those_of_the_tables_stand_alone(make_run, blocks):
    names = tuple(f"layer{s}.{b}" for s, count in enumerate(blocks, 1) for b in range(count))
    assert len(compared(make_run, names)) == 1
    assert len(compared(make_run, names, beside=(4,))) == 1 + (blocks[0] > 1)


def test_published_values_are_shown_as_printed_and_coloured_by_sign(make_run):
    (one,) = compared(make_run, STAGES)
    markup = joint.comparison(one)
    assert '<td class="irrelevant">−0.68</td>' in markup
    assert '<td class="relevant">+0.07</td>' in markup
    (bert,) = compared(make_run, tuple(f"layer.{i}" for i in range(12)))
    assert '<td class="irrelevant">−0.010</td>' in joint.comparison(bert)
    deep = compared(make_run, tuple(f"layer{s}.{b}" for s in (1, 2, 3) for b in range(7)))
    assert '<td class="marginal">−0.00</td>' in joint.comparison(deep[1])


def test_the_heat_map_shows_every_sigma_in_the_order_of_the_tree(make_run):
    (one,) = compared(make_run, STAGES)
    figure = maps.heat_map(one.clusters, one.names)
    (axes,) = figure.axes
    mesh = axes.collections[0]
    order = list(one.clusters.order)
    np.testing.assert_allclose(
        np.asarray(mesh.get_array()).reshape(5, 4), one.clusters.sigma[order]
    )
    low, high = mesh.get_clim()
    assert low == -high  # white is 0
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [one.clusters.labels[i] for i in order]
    assert {text.get_text() for text in axes.texts} >= {"−0.68", "+0.20"}
    assert svg(figure, "x").startswith("<svg")


@pytest.mark.parametrize(
    ("columns", "largest", "shown"),
    [
        (4, 0.2, "+0.20"),
        (12, 0.02, "+0.020"),
        (4, 2e-6, "+0.0000020"),
        (12, 2e-6, ""),
        (4, 0, "0.00"),
    ],
)
def test_the_heat_map_writes_two_digits_of_sigma_where_they_fit(columns, largest, shown):
    rows = {name: [largest] * columns for name in "ab"}
    names = tuple(f"b{i}" for i in range(columns))
    (axes,) = maps.heat_map(rg.cluster(rows), names).axes
    assert {text.get_text() for text in axes.texts} == ({shown} if shown else set())


def test_the_dendrogram_joins_branches_at_their_distance(make_run):
    (one,) = compared(make_run, STAGES)
    (axes,) = maps.dendrogram(one.clusters).axes
    joined = sorted(max(line.get_xdata()) for line in axes.get_lines())
    np.testing.assert_allclose(joined, np.sort(one.clusters.linkage[:, 2]))
    low, high = axes.get_ylim()
    assert low > high  # the first leaf on top, as in the heat map
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [one.clusters.labels[i] for i in one.clusters.order]


@pytest.mark.parametrize("several", [False, True])
def test_fits_are_drawn_with_their_points_and_residuals(make_run, several):
    fit = subject(rg.load(make_run(9)), Options()).fit
    fits = [("a", fit), ("b", fit)] if several else [("a", fit)]
    upper, lower = curves.scaling(fits).axes
    scale = 1 / fit.parameters.eps_np if several else 100
    curve, points = upper.get_lines()[:2]
    np.testing.assert_allclose(points.get_ydata(), scale * fit.error)
    np.testing.assert_allclose(
        curve.get_ydata(), scale * fit.predict(np.asarray(curve.get_xdata()) / 100)
    )
    np.testing.assert_allclose(lower.get_lines()[0].get_ydata(), 100 * fit.residuals)


@pytest.mark.parametrize(
    ("names", "number"),
    [(STAGES[:4], 2), (tuple(f"layer.{i}" for i in range(12)), 3)],
)
def test_published_sigma_stand_beside_their_own_blocks_whatever_the_order(make_run, names, number):
    (straight,), (turned,) = (compared(make_run, some) for some in (names, names[::-1]))
    for (label, one), (other, back) in zip(straight.published, turned.published, strict=True):
        assert label == other
        np.testing.assert_array_equal(back.sigma_mean[::-1], one.sigma_mean)
        assert back.relevance[::-1] == one.relevance
        assert turned.printed[label][::-1] == straight.printed[label]
    assert titles(straight)[0].startswith(f"Table {number}")


def test_normal_blocks_are_in_the_order_of_their_numbers(make_run):
    names = tuple(f"layer{s}.{b}" for s in (1, 2, 3) for b in (2, 0, 1))
    _, *stages = compared(make_run, names)
    assert [one.names for one in stages] == [(f"layer{s}.1", f"layer{s}.2") for s in (1, 2, 3)]
