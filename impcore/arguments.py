"""What `prune_global` is asked for, checked before anything is touched.

Invariant: after `check` every argument is in range and used; what only the model can show (a count
above what remains, an unknown parameter) is checked by `amount`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import nn

from impcore import scores
from impcore.cuts import CUTS
from impcore.integers import integer, is_bool
from impcore.masks import Masks
from impcore.nearest import nearest
from impcore.scores.gradients import Loss

ScoreFunction = Callable[[nn.Module], Mapping[str, torch.Tensor]]


class Amount(TypedDict, total=False):
    """The part of a `cuts.Request` that says how many weights go."""

    total: int
    rate: float
    each: Sequence[int]


@dataclass(frozen=True)
class Arguments:
    """The keywords of `prune_global` that say what is pruned; see there."""

    rate: float | None
    count: int | Mapping[str, int] | None
    scope: str
    score: str | Mapping[str, torch.Tensor] | ScoreFunction
    data: Any
    loss: Loss | None
    seed: int | None
    min_keep: int

    def check(self) -> None:
        """Raises ValueError or TypeError, naming the argument, unless all are right together."""
        if self.scope not in CUTS:
            hint = nearest(self.scope, CUTS)
            known = ", ".join(CUTS)
            raise ValueError(f"scope={self.scope!r} is not known{hint}; known are {known}")
        check_amount(self.rate, self.count, self.scope)
        if integer(self.min_keep, 0) is None:
            raise ValueError(f"min_keep must be an integer >= 0, got {self.min_keep!r}")
        if self.seed is not None and integer(self.seed) is None:
            raise ValueError(f"seed must be an integer, got {self.seed!r}")
        given = self.for_score()
        if self.scope == "random" and self.score != "random":
            given.pop("seed", None)
        scores.check(self.score, given)

    def for_score(self) -> dict[str, Any]:
        """The keywords that are given to a score."""
        given = {"data": self.data, "loss": self.loss, "seed": self.seed}
        return {name: value for name, value in given.items() if value is not None}

    def amount(self, masks: Masks, sync: bool) -> Amount:
        """How many weights go: in all, or the rate or number in each parameter.

        Raises:
            ValueError: more than remain, or an unknown parameter.
        """
        if isinstance(self.count, Mapping):
            for name in self.count:
                if name not in masks.names:
                    raise ValueError(
                        f"count names {name!r}, which is not a masked parameter; there are: "
                        f"{', '.join(masks.names)}"
                    )
            each = [operator.index(self.count.get(name, 0)) for name in masks.names]
            return Amount(each=each, total=sum(each))
        if self.scope == "layerwise":
            return Amount(rate=float(self.rate or 0))
        remaining = masks.remaining if sync else masks.expected_remaining()
        if self.count is None:
            return Amount(total=round(float(self.rate or 0) * remaining))
        if self.count > remaining:
            raise ValueError(
                f"count={self.count} is above the number of remaining weights, {remaining}"
            )
        return Amount(total=operator.index(self.count))


def check_amount(
    rate: float | None, count: int | Mapping[str, int] | None, scope: str = "global"
) -> None:
    """Raises ValueError unless exactly one of rate and count is given, and makes sense."""
    if (rate is None) == (count is None):
        raise ValueError(f"give exactly one of rate and count, got rate={rate!r}, count={count!r}")
    if rate is not None:
        number = not isinstance(rate, str) and not is_bool(rate) and _is_real(rate)
        if not number or not 0 <= float(rate) < 1:
            raise ValueError(f"rate must be a number in [0, 1), got {rate!r}")
    if count is None:
        return
    if scope == "layerwise":
        each = count.values() if isinstance(count, Mapping) else [None]
        if any(integer(value, 0) is None for value in each):
            raise ValueError(
                "with scope='layerwise' count must be a mapping from parameter names to integers "
                f">= 0, got {count!r}"
            )
    elif integer(count, 0) is None:
        raise ValueError(f"count must be an integer >= 0, got {count!r}")


def _is_real(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False
