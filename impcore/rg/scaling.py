"""The scaling law of the error, [R] eq. 15 (after Rosenfeld et al., 2020), without overflow.

    ε̂(d) = ε_np [ (d² + p² (ε†/ε_np)^(2/γ)) / (d² + p²) ]^(γ/2)

d → ∞ gives ε_np, the error without pruning; d → 0 gives ε†, the error when nearly nothing is left;
between the two scales p and q = p (ε†/ε_np)^(1/γ) the error is a power law, ε ∝ d^(-|γ|).

Invariant: exact symmetry. (γ, p) and (-γ, q) are the same curve: the sign of γ cannot be
identified. The documented branch is γ < 0, as [R] Table 7 prints it; there p is the larger scale,
the density at which the error leaves ε_np, and q < p the one at which it arrives at ε†.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from impcore.rg.checks import Floats


@dataclass(frozen=True)
class Parameters:
    """ε_np, ε†, γ and p of one branch; ε as fractions, p in units of d."""

    eps_np: float
    eps_dagger: float
    gamma: float
    p: float

    @property
    def mirror(self) -> Parameters:
        """The other branch: the identical curve with γ of the other sign."""
        return Parameters(self.eps_np, self.eps_dagger, -self.gamma, self.other_scale)

    @property
    def other_scale(self) -> float:
        """q = p (ε†/ε_np)^(1/γ), the second transition density."""
        return self.p * math.exp(math.log(self.eps_dagger / self.eps_np) / self.gamma)


def curve(d: npt.ArrayLike, eps_np: float, eps_dagger: float, gamma: float, p: float) -> Floats:
    """ε̂ at densities `d` > 0, [R] eq. 15. All arguments positive, γ of either sign but not 0.

    Raises:
        ValueError: an argument is not positive, or γ is 0.
    """
    density = np.asarray(d, dtype=np.float64)
    for name, value in (("eps_np", eps_np), ("eps_dagger", eps_dagger), ("p", p)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value!r}")
    if not (density > 0).all():
        raise ValueError(f"d must be positive, not {float(density.min())!r}")
    if gamma == 0 or not math.isfinite(gamma):
        raise ValueError(f"gamma must be finite and not 0, not {gamma!r}")
    logs = np.array([math.log(eps_np), math.log(eps_dagger), math.log(abs(gamma)), math.log(p)])
    return np.asarray(np.exp(log_curve(np.log(density), logs, math.copysign(1.0, gamma))))


def log_curve(log_d: Floats, logs: Floats, sign: float = -1.0) -> Floats:
    """log ε̂ from (log ε_np, log ε†, log |γ|, log p) and the sign of γ."""
    log_np, log_dagger, log_gamma, log_p = logs
    gamma = sign * math.exp(log_gamma)
    log_q = log_p + (log_dagger - log_np) / gamma
    upper = np.logaddexp(2 * log_d, 2 * log_q)
    lower = np.logaddexp(2 * log_d, 2 * log_p)
    return np.asarray(log_np + gamma / 2 * (upper - lower))


def log_jacobian(log_d: Floats, logs: Floats, sign: float = -1.0) -> Floats:
    """∂ log ε̂ / ∂ (log ε_np, log ε†, log |γ|, log p), [len(d), 4]."""
    log_np, log_dagger, log_gamma, log_p = logs
    gamma = sign * math.exp(log_gamma)
    ratio = log_dagger - log_np
    log_q = log_p + ratio / gamma
    share_q = _logistic(2 * (log_q - log_d))  # of q² in d² + q²
    share_p = _logistic(2 * (log_p - log_d))
    difference = np.logaddexp(2 * log_d, 2 * log_q) - np.logaddexp(2 * log_d, 2 * log_p)
    columns = (
        1 - share_q,
        share_q,
        gamma / 2 * difference - ratio * share_q,
        gamma * (share_q - share_p),
    )
    return np.stack(columns, axis=1)


def _logistic(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))
