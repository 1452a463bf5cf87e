"""What each figure shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from impcore import rg
from impcore.rg.report import figures
from impcore.rg.report.drawing import svg


@pytest.fixture
def run(make_run):
    return rg.load(make_run(9))


def line_data(axes):
    return [np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()]


def test_accuracy_is_drawn_against_falling_density(run):
    (axes,) = figures.accuracy([(run.name, run)]).axes
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > 100 > 100 * run.density[-1] > right
    np.testing.assert_allclose(line_data(axes)[1], [100 * row.accuracy for row in run.rows])


def test_an_axis_of_accuracy_is_never_so_short_that_nothing_looks_like_something(run):
    rows = tuple(replace(row, accuracy=0.5 + 1e-4 * row.round) for row in run.rows)
    (axes,) = figures.accuracy([("a", replace(run, rows=rows))]).axes
    low, high = axes.get_ylim()
    assert high - low == pytest.approx(2.0)
    assert low < 50 < 50.08 < high


def test_several_runs_share_the_axes_and_the_legend_names_them(make_run):
    first, second = rg.load(make_run(9)), rg.load(make_run(5))
    figure = figures.accuracy([("a", first), ("b", second)])
    (axes,) = figure.axes
    for line, run in zip(line_data(axes), (first, second), strict=True):
        np.testing.assert_allclose(line, 100 * run.accuracy)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    flows = [(name, rg.analyse(run)["M"]) for name, run in (("a", first), ("b", second))]
    figure = figures.projection(flows, (0, 1))
    points = figure.axes[0].collections
    assert [len(one.get_offsets()) for one in points] == [9, 5]
    np.testing.assert_allclose(points[1].get_offsets(), 100 * second.M[:, [0, 1]])


def test_an_observable_of_the_user_is_not_in_percent(run):
    squares = 7 * np.exp(-np.arange(36.0)).reshape(9, 4)
    analysis = rg.analyse(run, observables={"L2 norm": squares})["L2 norm"]
    (axes,) = figures.flow(analysis).axes
    np.testing.assert_allclose(np.array(line_data(axes)).T, squares)
    assert axes.get_ylabel() == "L2 norm"


def test_flow_draws_every_block(run):
    analysis = rg.analyse(run)["P"]
    (axes,) = figures.flow(analysis).axes
    np.testing.assert_allclose(np.array(line_data(axes)).T, 100 * run.P)


def test_flow_leaves_out_a_rest_that_would_squeeze_the_blocks(make_run):
    M = np.array([[0.33, 0.33, 0.33, 0.01], [0.35, 0.33, 0.31, 0.01]])
    run = rg.load(make_run(2, M=M))
    analysis = rg.analyse(run)["M"]
    assert figures.flow_columns(analysis) == [0, 1, 2]
    (axes,) = figures.flow(analysis).axes
    np.testing.assert_allclose(np.array(line_data(axes)).T, 100 * M[:, :3])


def test_flow_ends_where_a_block_collapses(make_run):
    M = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0]])
    run = rg.load(make_run(3, names=("a", "b"), M=M, P=M))
    (axes,) = figures.flow(rg.analyse(run)["M"]).axes
    np.testing.assert_array_equal(line_data(axes)[1], [50, np.nan, np.nan])


def test_projection_takes_the_most_and_the_least_relevant_block(run):
    analysis = rg.analyse(run)["M"]
    assert figures.projection_blocks(analysis) == (0, 2)  # the rest falls most, but is no block
    axes, bar = figures.projection([("a", analysis)], (0, 2)).axes
    points = axes.collections[0]
    np.testing.assert_allclose(points.get_offsets(), 100 * run.M[:, [0, 2]])
    assert "stage1" in axes.get_xlabel()
    assert "stage3" in axes.get_ylabel()
    points.update_scalarmappable()
    first, last = points.get_facecolors()[[0, -1]]
    assert first[2] > 0.8 > 0.3 > first[0]  # blue
    assert last[0] > 0.8 > 0.3 > last[2]  # red
    assert "round" in bar.get_ylabel()


def test_projection_names_the_rounds_that_are_drawn(run):
    analysis = rg.analyse(run, rounds=[2, 3, 6])["M"]
    axes, bar = figures.projection([("a", analysis)], (0, 2)).axes
    np.testing.assert_array_equal(axes.collections[0].get_array(), [2, 3, 6])
    assert [text.get_text() for text in bar.get_yticklabels()] == ["2", "3", "4", "5", "6"]
    assert bar.get_ylim() == (1.5, 6.5)


def test_projection_needs_two_blocks_and_two_states(make_run):
    single = rg.load(make_run(3, names=("all",)))
    assert figures.projection_blocks(rg.analyse(single)["M"]) is None
    short = rg.load(make_run(1))
    assert figures.projection_blocks(rg.analyse(short)["M"]) is None


def test_sigma_draws_mean_sem_and_interval_of_each_block(run):
    analysis = rg.analyse(run)["M"]
    result = analysis.eigen
    (axes,) = figures.sigma(analysis).axes
    drawn = [np.asarray(line.get_xdata(), dtype=float) for line in axes.get_lines()[1:]]
    for i in range(len(result.names)):
        interval, sem, mean = drawn[3 * i : 3 * i + 3]
        np.testing.assert_allclose(interval, [result.sigma_low[i], result.sigma_high[i]])
        middle, half = result.sigma_mean[i], result.sigma_sem[i]
        np.testing.assert_allclose(sem, [middle - half, middle + half])
        np.testing.assert_allclose(mean, [middle])
        color = axes.get_lines()[1 + 3 * i].get_color()
        assert color == figures.RELEVANCE[result.relevance[i]]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == list(result.names)


def test_labels_of_many_blocks_do_not_overlap(make_run):
    names = tuple(f"stage{s}.block{b}" for s in (1, 2, 3) for b in range(9))
    run = rg.load(make_run(9, names=names))
    analysis = rg.analyse(run)["M"]
    for figure in (figures.sigma(analysis), figures.flow(analysis)):
        svg(figure, "x")  # lays it out
        (axes,) = figure.axes
        texts = [*axes.get_yticklabels(), *axes.get_xticklabels(), *figure.legends[0].get_texts()]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        overlaps = [
            (a, b)
            for i, a in enumerate(boxes)
            for b in boxes[:i]
            if a.shrunk(0.95, 0.8).overlaps(b)
        ]
        assert len(boxes) > 10
        assert not overlaps
