"""[prune]: how much is pruned, how often, and which weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from impcore.config.tables.base import Patterns, Table, Unit, listed


class Prune(Table):
    """How much is pruned, how often, and which weights."""

    rounds: Annotated[int, Field(ge=0, le=1000)]
    """Number of prunes R; there are R + 1 trainings."""
    rate: Unit = 0.2
    """Fraction pruned a round: of the remaining weights (geometric) or of all of them (linear)."""
    schedule: Literal["geometric", "linear", "explicit"] = "geometric"
    """How the density falls: by rate, or along `densities` (explicit)."""
    densities: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        Field(max_length=1000),
        BeforeValidator(listed),
    ] = ()
    """Explicit schedule: the density after each prune, falling."""
    scope: Literal["global"] = "global"
    """What competes: all prunable weights of the model at once."""
    score: Literal["magnitude"] = "magnitude"
    """What a weight is ranked by: its absolute value."""
    include: Patterns | None = None
    """fnmatch patterns of what to prune; weights of Linear and Conv layers unless given."""
    exclude: Patterns | None = None
    """fnmatch patterns of parameter names never to prune."""
