"""A fit of [R] eq. 15: its parameters with their intervals, and how good it is.

Invariant: the branch is γ < 0 (see `scaling`); |γ| is what the data determine, not its sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.rg.checks import Floats
from impcore.rg.formats import percent, rounded, span
from impcore.rg.scaling import Parameters, curve
from impcore.rg.table import Shown, Table

NAMES = ("ε_np", "ε†", "|γ|", "p")


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Shown):
    """A fitted curve: parameters (γ < 0), their intervals, and how good the fit is."""

    parameters: Parameters
    level: float
    intervals: dict[str, tuple[float, float]]  # by NAMES; 0 or ∞ where the data give no bound
    free: tuple[str, ...]  # of NAMES; a measured or given ε_np is not
    at_bound: tuple[str, ...]  # parameters that the bounds hold, not the data
    deviation: str
    density: Floats
    error: Floats
    residuals: Floats  # (ε̂ - ε) / ε
    dof: int
    agreeing: tuple[int, int]  # starts that reached the best fit, starts made

    @property
    def gamma(self) -> float:
        """|γ|: the data determine it, not the sign."""
        return abs(self.parameters.gamma)

    @property
    def mirror(self) -> Parameters:
        """The identical curve with γ > 0."""
        return self.parameters.mirror

    @property
    def scatter(self) -> float:
        """Root of the summed squared relative deviation per degree of freedom."""
        return math.sqrt(float(np.sum(self.residuals**2)) / self.dof)

    @property
    def r_squared(self) -> float:
        """1 - (squared deviation of the fit) / (that of a constant), on log ε."""
        logs = np.log(self.error)
        total = float(np.sum((logs - logs.mean()) ** 2))
        left = float(np.sum((np.log1p(self.residuals)) ** 2))
        return 1 - left / total if total > 0 else math.nan

    def predict(self, d: npt.ArrayLike) -> Floats:
        """ε̂ at densities `d`."""
        one = self.parameters
        return curve(d, one.eps_np, one.eps_dagger, one.gamma, one.p)

    def table(self) -> Table:
        """One row a parameter, of this branch and the mirrored one."""
        here, there = self.parameters, self.mirror
        both = zip(values(here), values(there), strict=True)
        rows = []
        for name, (value, mirrored) in zip(("ε_np", "ε†", "γ", "p"), both, strict=True):
            key = "|γ|" if name == "γ" else name
            low, high = self.intervals[key]
            bounds = span(low, high) if name == key else f"|γ|: {span(low, high)}"
            shown = bounds if key in self.free else "fixed"
            note = "at its bound" if key in self.at_bound else ""
            rows.append((name, rounded(value, 4), shown, rounded(mirrored, 4), note))
        title = (
            f"Eq. 15, {self.deviation} deviation: scatter {percent(self.scatter)}, "
            f"{self.agreeing[0]} of {self.agreeing[1]} starts agree"
        )
        headers = ("", "γ < 0", f"{100 * self.level:g} % interval", "γ > 0 (same curve)", "note")
        return Table.of(title, headers, rows)


def values(one: Parameters) -> tuple[float, float, float, float]:
    """The parameters, in the order of `NAMES` but with the sign of γ."""
    return one.eps_np, one.eps_dagger, one.gamma, one.p
