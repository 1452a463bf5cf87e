from __future__ import annotations

from impcore.rg.report import grid_figures
from impcore.rg.report.drawing import svg

from ..tasks_harness import SLOPES, experiment, made


def test_figures_draw_every_run(tmp_path):
    drawn = grid_figures.drawn(made(experiment(tmp_path / "x")))
    assert [one.name for one in drawn] == [
        "sigma-side-by-side", "score-of-task-0", "score-of-task-1",
    ]  # fmt: skip
    axes = drawn[0].figure.axes[0]
    assert len(axes.containers) == len(SLOPES)
    for one in drawn:
        assert "<svg" in svg(one.figure, one.name)
