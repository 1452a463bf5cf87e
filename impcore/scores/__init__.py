"""What weights are ranked by: one module a score, each as its paper defines it.

A score is a mapping from parameter names to tensors of the parameters' shapes; the lowest go first.
`prune_global(model, rate, score=...)` takes the name of one, such a mapping, or a function from the
model to one. Invariant: scoring leaves weights, gradients, buffers and modes as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from impcore.nearest import nearest
from impcore.scores.grasp import grasp
from impcore.scores.movement import Movement
from impcore.scores.random import random
from impcore.scores.snip import snip
from impcore.scores.synflow import synflow

__all__ = ["SCORES", "Movement", "Score", "grasp", "named", "random", "snip", "synflow"]


@dataclass(frozen=True)
class Score:
    """A row: the function of a model, the keywords that it needs, and those that it may be given.

    Without `run` weights are ranked by magnitude, for which there is nothing to compute; or, with a
    `hint`, by what only training can accumulate.
    """

    run: Callable[..., Mapping[str, Tensor]] | None
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    hint: str = ""

    @property
    def keywords(self) -> tuple[str, ...]:
        """All keywords that it uses."""
        return (*self.needs, *self.takes)


SCORES: Mapping[str, Score] = {
    "magnitude": Score(None),
    "random": Score(random, takes=("seed",)),
    "movement": Score(
        None,
        hint="movement is accumulated during training: give an impcore.scores.Movement as score=",
    ),
    "snip": Score(snip, needs=("data", "loss")),
    "grasp": Score(grasp, needs=("data", "loss")),
    "synflow": Score(synflow, needs=("data",)),
}
"""Name -> score. A new score is one more module and entry."""


def named(name: str) -> Score:
    """The row of a name.

    Raises:
        ValueError: there is no such score, or it cannot be computed from a model.
    """
    if name not in SCORES:
        hint = nearest(name, SCORES)
        raise ValueError(f"score={name!r} is not known{hint}; known are {', '.join(SCORES)}")
    if SCORES[name].hint:
        raise ValueError(f"score={name!r}: {SCORES[name].hint}")
    return SCORES[name]


def evaluate(score: Any, model: nn.Module, given: Mapping[str, Any]) -> Mapping[str, Tensor] | None:
    """The scores of a model's weights; None if they are ranked by magnitude.

    `given` holds the keywords that are not None, checked by `check`.
    """
    if isinstance(score, Mapping):
        return score
    if not isinstance(score, str):
        found: Mapping[str, Tensor] = score(model)
        if not isinstance(found, Mapping):
            raise TypeError(f"score= must return a mapping, not {type(found).__name__}")
        return found
    row = named(score)
    used = {name: value for name, value in given.items() if name in row.keywords}
    return None if row.run is None else row.run(model, **used)


def check(score: Any, given: Mapping[str, Any]) -> None:
    """Raises unless `score` is one and the keywords that are given are those that it uses.

    Raises:
        ValueError: an unknown name; a keyword is missing or unused.
        TypeError: neither a name, a mapping nor a function.
    """
    if isinstance(score, str):
        row = named(score)
        needs, takes = row.needs, row.keywords
    elif isinstance(score, Mapping) or callable(score):
        needs = takes = ()
    else:
        raise TypeError(f"score must be a name, a mapping or a function, not {score!r}")
    what = repr(score) if isinstance(score, str) else f"a {type(score).__name__}"
    for name in needs:
        if name not in given:
            raise ValueError(f"score={what} needs {name}=")
    for name in given:
        if name not in takes:
            raise ValueError(f"{name}= is not used by score={what}")
