"""Error against density with its fits of [R] eq. 15, and the residuals below.

Invariant: one run shows its error in percent; several are overlaid as in [R] Fig. 3, each over its
own fitted ε_np, so that the curves can be compared where their levels differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from impcore.rg.fitted import Fit
from impcore.rg.report.drawing import block_colors, legend_below, log_axis, percent_axis, style
from impcore.rg.report.drawing import new_figure_with_residuals as new_figure


def scaling(fits: Sequence[tuple[str, Fit]]) -> Figure:
    """Points, fitted curves and relative deviations of one or several runs."""
    labels = [label for label, _ in fits]
    colors = ["#1f4fd8"] if len(fits) == 1 else block_colors(labels)
    with style():
        figure, upper, lower = new_figure()
        handles, shown = [], []
        for (_, fit), color in zip(fits, colors, strict=True):
            scale = 100.0 if len(fits) == 1 else 1 / fit.parameters.eps_np
            dense = np.geomspace(fit.density.min(), fit.density.max(), 200)
            upper.plot(100 * dense, scale * fit.predict(dense), "-", color=color, linewidth=1.1)
            (points,) = upper.plot(100 * fit.density, scale * fit.error, "o", color=color, ms=4)
            lower.plot(100 * fit.density, 100 * fit.residuals, "o", color=color, ms=3)
            handles.append(points)
            shown.append(scale * fit.error)
        everything = np.concatenate(shown)
        upper.set_xscale("log")
        upper.set_yscale("log")
        if len(fits) == 1:
            percent_axis(upper, "y", everything)
            upper.set_ylabel("test error (%)")
        else:
            log_axis(upper, "y", everything)
            upper.set_ylabel("error / fitted $\\epsilon_{np}$")
            legend_below(figure, handles, labels)
        density = np.concatenate([100 * fit.density for _, fit in fits])
        percent_axis(upper, "x", density)
        upper.invert_xaxis()
        _residual_axis(lower)
    return figure


def _residual_axis(axes: Axes) -> None:
    axes.axhline(0, color="#555555", linewidth=0.9)
    axes.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes.set_xlabel("density (% of weights remaining)")
    axes.set_ylabel("fit − point (%)")
