"""How alike two flows are, how uniform one is within a stage, and how near to standing still.

Invariant: every measure is of the σ vector alone, in units of σ, and comes with what the SEMs of σ
make of it; without SEMs it is a bare number and says so by NaN. The blocks of one run share a sum,
so their errors are not quite independent, as the tests here take them to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.formats import probability, rounded, span
from impcore.rg.stats import freeze, joint_t_test
from impcore.rg.table import Shown, Table
from impcore.rg.vectors import HasSigma, Vector, comparable, vector

Source = HasSigma | Sequence[float]


@dataclass(frozen=True, repr=False)
class Distance(Shown):
    """Root mean square difference of σ over the blocks, with its uncertainty."""

    value: float
    noise: float  # what two equal flows would be apart, root mean square: sqrt(mean SEM²)
    low: float  # interval of the true distance
    high: float
    p_same: float  # P(at least so far apart | equal σ)
    level: float
    differences: Floats  # [blocks], first - second

    def table(self) -> Table:
        """One row."""
        headers = ("distance", "noise", f"{100 * self.level:g} % interval", "p, if equal")
        return Table.of("", headers, [(
            rounded(self.value), rounded(self.noise), span(self.low, self.high),
            probability(self.p_same),
        )])  # fmt: skip


def distance(first: Source, second: Source, *, level: float = 0.95) -> Distance:
    """The distance between two flows: sqrt(mean_i (σ_i - σ'_i)²) over the blocks.

    Noise alone makes it positive. The interval therefore is not value ± error but the set of true
    distances that would make the observed one likely: with differences of one known variance,
    B · value² / noise² is non-central χ² of B degrees of freedom. Its upper end is never below the
    one that equal flows have in the median (a power-constrained limit, Cowan et al. 2011,
    arXiv:1105.3166): two that seem nearer than noise lets them, as with SEMs that are too large,
    are not thereby known to be equal. `p_same` allows for SEMs that are estimated from few rounds:
    it tests all blocks at once by Welch's t.

    Raises:
        TypeError: one is neither what `eigen` or `over_seeds` returns nor a sequence of σ.
        ValueError: they have different numbers of blocks, or `level` is not in (0, 1).
    """
    confidence = checks.confidence(level)
    given = {"first": vector(first, "first"), "second": vector(second, "second")}
    one, other = comparable(given).values()
    difference = one.sigma_mean - other.sigma_mean
    variance = one.sigma_sem**2 + other.sigma_sem**2
    value, noise = _rms(difference), math.sqrt(float(variance.mean()))
    blocks = len(difference)
    low, high = _interval(value, noise, blocks, confidence)
    p = _p_of_zero(difference, variance, _welch(one, other, variance))
    freeze(difference)
    return Distance(value, noise, low, high, p, confidence, difference)


def _rms(values: Floats) -> float:
    return math.sqrt(float(np.mean(values**2)))


def _welch(one: Vector, other: Vector, variance: Floats) -> float:
    """Welch–Satterthwaite degrees of freedom, (s₁²+s₂²)² / (s₁⁴/ν₁ + s₂⁴/ν₂) with s² = SEM².

    A block's own are an estimate, too large where a SEM happens to be small, and over many blocks
    such errors add up: the harmonic mean over the blocks is taken for all of them.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (part.sigma_sem**2 / variance for part in (one, other))
        return float(1 / np.mean(first**2 / one.dof + second**2 / other.dof))


def _p_of_zero(sigma: Floats, variance: Floats, dof: float) -> float:
    """P-value of "all of `sigma` is 0", each with `dof` degrees of freedom behind its variance."""
    if not (variance > 0).all():
        return math.nan
    return joint_t_test(sigma / np.sqrt(variance), dof)


def _interval(value: float, noise: float, blocks: int, level: float) -> tuple[float, float]:
    """True distances for which the observed one is neither too small nor too large.

    Where it is small for equal flows too, the upper end is that of their median.
    """
    if not noise > 0:
        return math.nan, math.nan
    from scipy.special import chdtri, chndtrinc, ndtri

    observed = blocks * (value / noise) ** 2
    typical = float(chdtri(blocks, 0.5))  # of equal flows
    ends = ((observed, 0.5 + level / 2), (max(observed, typical), 0.5 - level / 2))
    bounds = []
    for statistic, probability_below in ends:
        # chdtri is the upper quantile: even a true distance of 0 rarely gives less than this.
        if statistic <= chdtri(blocks, 1 - probability_below):
            bounds.append(0.0)
        elif statistic > 1e4:  # the root is nearly normal, about √(δ + B - 1)
            root = math.sqrt(statistic) - float(ndtri(probability_below))
            bounds.append(max(root**2 - (blocks - 1), 0.0))
        else:
            bounds.append(float(chndtrinc(statistic, blocks, probability_below)))
    low, high = (noise * math.sqrt(bound / blocks) for bound in bounds)
    return low, high


@dataclass(frozen=True, repr=False)
class FixedPoint(Shown):
    """How static a flow is: 0 at a fixed point of the pruning operator ([R] Sec. 5.2)."""

    speed: float  # sqrt(mean σ²): e-folds of M, root mean square, per e-fold of pruning
    typical: float  # median |σ|: the same, whatever a single block does
    noise: float  # the speed that a fixed point would seem to have: sqrt(mean SEM²)
    p_static: float  # P(at least so fast | all σ are 0)

    def table(self) -> Table:
        """One row."""
        headers = ("speed rms σ", "median |σ|", "noise", "p, if static")
        return Table.of("", headers, [(
            rounded(self.speed), rounded(self.typical), rounded(self.noise),
            probability(self.p_static),
        )])  # fmt: skip


def fixed_point(source: Source) -> FixedPoint:
    """The fixed-point score of a flow: how fast M moves along it.

    At a fixed point M(n+1) = M(n), so every σ is 0. [R] Sec. 5.2 finds pre-trained BERT's σ
    "closely clustered around 0", one to two orders of magnitude below ResNet-50's; `typical` leaves
    out of account the one block that is not.

    Raises:
        TypeError, ValueError: `source` is no flow, as for `distance`.
    """
    one = vector(source)
    variance = one.sigma_sem**2
    return FixedPoint(
        speed=_rms(one.sigma_mean),
        typical=float(np.median(np.abs(one.sigma_mean))),
        noise=math.sqrt(float(variance.mean())),
        p_static=_p_of_zero(one.sigma_mean, variance, one.dof),
    )


@dataclass(frozen=True, repr=False)
class Uniformity(Shown):
    """How much σ differs between the blocks of a stage: small is uniform ([R] Sec. 5.3)."""

    stages: tuple[str, ...]
    blocks: tuple[int, ...]  # in each stage
    mean: tuple[float, ...]  # of σ over the stage's blocks
    spread: tuple[float, ...]  # standard deviation over them (ddof=0: they are the whole stage)
    noise: tuple[float, ...]  # the spread that equal σ would seem to have

    def table(self) -> Table:
        """One row a stage."""
        headers = ("stage", "blocks", "mean σ", "spread of σ", "noise")
        rows = [
            (stage, str(count), rounded(mean), rounded(spread), rounded(noise))
            for stage, count, mean, spread, noise in zip(
                self.stages, self.blocks, self.mean, self.spread, self.noise, strict=True
            )
        ]
        return Table.of("Uniformity of σ within each stage", headers, rows)


def uniformity(source: Source, stages: Mapping[str, Sequence[str]] | None = None) -> Uniformity:
    """Spread of σ over the blocks of each stage: the E-LTH observation of [R] Sec. 5.3 and App. C.

    Args:
        stages: stage → names of its blocks. By default "layer1.0", "layer1.1", … are blocks of
            "layer1": a name up to its last dot is the stage's; without a dot all are one stage.

    Raises:
        TypeError, ValueError: `source` is no flow, as for `distance`; `stages` is no mapping, or
            names a block that is not there.
    """
    one = vector(source)
    groups: dict[str, list[int]] = {}
    if stages is None:
        for i, name in enumerate(one.names):
            groups.setdefault(name.rpartition(".")[0] or "all", []).append(i)
    else:
        checks.kind("stages", stages, Mapping, "a mapping from stages to names of their blocks")
        for stage, members in stages.items():
            missing = [name for name in members if name not in one.names]
            if missing or not members:
                raise ValueError(f"stages: {stage!r} names {missing}, not among {one.names}")
            groups[stage] = [one.names.index(name) for name in members]
    sigma, sem = one.sigma_mean, one.sigma_sem
    counts = tuple(len(members) for members in groups.values())
    return Uniformity(
        stages=tuple(groups),
        blocks=counts,
        mean=tuple(float(sigma[m].mean()) for m in groups.values()),
        spread=tuple(float(sigma[m].std()) for m in groups.values()),
        noise=tuple(
            math.sqrt(float((sem[m] ** 2).mean()) * (1 - 1 / len(m))) for m in groups.values()
        ),
    )
