"""σ vectors: what runs, groups of seeds and published rows have in common when they are compared.

Invariant: a vector holds the blocks alone, in their order, without "rest" and without collapsed
blocks. An uncertainty that nobody published is NaN, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from impcore.rg import checks
from impcore.rg.checks import Floats
from impcore.rg.stats import Relevance, freeze, relevance

REST = "rest"
WANTED = "of type Eigen or Seeds, as rg.eigen(M, remaining) returns, or a sequence of σ"


@runtime_checkable
class HasSigma(Protocol):
    """`Eigen`, `Seeds` and `Vector` alike."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the blocks."""

    @property
    def sigma_mean(self) -> Floats:
        """[blocks]."""

    @property
    def sigma_sem(self) -> Floats:
        """[blocks]; NaN where unknown."""

    @property
    def relevance(self) -> list[Relevance]:
        """Of each block."""

    @property
    def dof(self) -> float:
        """Degrees of freedom behind `sigma_sem`."""


@dataclass(frozen=True, eq=False)
class Vector:
    """σ of the blocks of one run, group or published row."""

    names: tuple[str, ...]
    sigma_mean: Floats  # [blocks]
    sigma_sem: Floats  # [blocks], NaN where unknown
    dof: float
    relevance: list[Relevance]

    def of(self, names: Sequence[str]) -> Vector:
        """The same of these blocks alone."""
        keep = [self.names.index(name) for name in names]
        sigma, sem = self.sigma_mean[keep], self.sigma_sem[keep]
        freeze(sigma, sem)
        return Vector(tuple(names), sigma, sem, self.dof, [self.relevance[i] for i in keep])


def vector(source: HasSigma | Sequence[float], parameter: str = "source") -> Vector:
    """The σ vector of `source`, without "rest"; a bare sequence of σ has no uncertainty.

    Raises:
        TypeError: it is neither, but a path or a run, for one; names the `parameter` that it is.
        ValueError: its σ are not one or more finite numbers, or all it has is "rest".
    """
    if not isinstance(source, HasSigma):
        checks.kind(parameter, source, Sized, WANTED)
        sigma = np.asarray(checks.real(parameter, source), dtype=np.float64)
        if sigma.ndim != 1 or len(sigma) == 0 or not np.isfinite(sigma).all():
            raise ValueError(f"{parameter} must be one or more finite numbers, not {source!r}")
        names = tuple(f"σ{i}" for i in range(1, len(sigma) + 1))
        unknown = np.full(len(sigma), math.nan)
        return Vector(names, sigma, unknown, math.nan, relevance(unknown, unknown))
    blocks = [name for name in source.names if name != REST]
    if not blocks:
        raise ValueError(f'{parameter} has no block to compare: the only column is "rest"')
    everything = Vector(
        source.names, source.sigma_mean, source.sigma_sem, source.dof, source.relevance
    )
    return everything.of(blocks)


def comparable(vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """Several vectors by label, which must have equally many blocks.

    Blocks of the same names are brought into the first vector's order, as those of a run and of its
    import may differ in it; of other names, as in published rows, each is compared by its place.

    Raises:
        ValueError: they do not; names two that differ.
    """
    made = dict(vectors)
    first = next(iter(made), None)
    for label, one in made.items():
        if first is not None and len(one.names) != len(made[first].names):
            raise ValueError(
                f"{first!r} has {len(made[first].names)} blocks and {label!r} has "
                f"{len(one.names)}: only σ of the same blocks can be compared"
            )
        if first is not None and set(one.names) == set(made[first].names):
            made[label] = one.of(made[first].names)
    return made
