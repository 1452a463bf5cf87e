"""[prune]: how much is pruned, how often, and which weights."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from impcore.config.tables.base import Choosing, Options, Patterns, Unit, listed, shown_as

ScoreName = Literal["magnitude", "random", "movement", "snip", "grasp", "synflow"]
"""The scores of `impcore.scores`."""

_OPTIONS: Options = {
    "score": {
        "magnitude": {},
        "random": {},
        "movement": {},
        "snip": {"score_batches": 1},
        "grasp": {"score_batches": 1, "score_temperature": 200.0},
        "synflow": {},
    }
}


class Prune(Choosing):
    """How much is pruned, how often, and which weights."""

    OPTIONS: ClassVar[Options] = _OPTIONS

    rounds: Annotated[int, Field(ge=0, le=1000)]
    """Number of prunes R; there are R + 1 trainings."""
    max_drop: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Drop of the first metric below round 0's, on validation data if any, that ends the run."""
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
    scope: Literal["global", "layerwise", "random"] = "global"
    """What competes: all weights, each parameter's own, or chance in the global cut's numbers."""
    score: ScoreName = "magnitude"
    """What weights are ranked by; the lowest go first."""
    score_batches: Annotated[Annotated[int, Field(ge=1, le=10**6)] | None, shown_as(1)] = None
    """Scores snip, grasp: training batches to score on."""
    score_temperature: Annotated[
        Annotated[float, Field(gt=0, le=10**6)] | None, shown_as(200.0)
    ] = None
    """Score grasp: what the model's outputs are divided by (200 in its authors' code)."""
    theta: Literal["trained", "rewound"] = "trained"
    """The weights that are ranked: at the end of a training, or after the rewind."""
    min_keep: Annotated[int, Field(ge=0, le=2**40)] = 1
    """Refuse a prune that would leave a parameter fewer weights than this."""
    include: Patterns | None = None
    """fnmatch patterns of what to prune; weights of Linear and Conv layers unless given."""
    exclude: Patterns | None = None
    """fnmatch patterns of parameter names never to prune."""
