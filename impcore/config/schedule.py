"""A recipe's lengths in optimiser steps, once the data has said how many make an epoch.

Invariant: 0 <= rewind < total, milestones rise strictly inside (0, total), every length is >= 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from impcore.config.faults import Fault
from impcore.config.length import Length
from impcore.errors import ConfigError

if TYPE_CHECKING:
    from impcore.config.recipe import Config


@dataclass(frozen=True)
class Schedule:
    """Lengths in steps, counted from the start of a whole training."""

    steps_per_epoch: int
    total: int
    milestones: tuple[int, ...]
    """() of a schedule without."""
    warmup: int
    """0 without warm-up."""
    horizon: int
    """Where a decay of the learning rate ends: at `total`, or at that of all rounds together."""
    rewind: int
    """0 for "init" and "pretrained"."""
    finetune: int
    """Steps of a training after the first if `rewind.kind = "finetune"`."""
    checkpoint_every: int
    """An epoch unless the recipe says how often."""
    eval_every: int
    """0: only at the end of a training."""


def schedule(config: Config, steps_per_epoch: int) -> Schedule:
    """`config`'s lengths in steps; ConfigError names every one that does not fit the others."""
    train, rewind = config.train, config.rewind
    total = train.length.steps(steps_per_epoch)
    faults: list[Fault] = []

    def steps(key: str, length: Length, below: int | None = None, least: int = 1) -> int:
        count = length.steps(steps_per_epoch, total)
        if count < least or (below is not None and count >= below):
            bounds = f"at least {least}" + ("" if below is None else f" and below {below}")
            found = f"is {count} steps at {steps_per_epoch} an epoch"
            faults.append(Fault(key, length, f"{found}; should be {bounds}"))
        return count

    result = Schedule(
        steps_per_epoch=steps_per_epoch,
        total=steps("train.length", train.length),
        milestones=tuple(steps("train.milestones", m, total) for m in train.milestones or ()),
        warmup=0 if train.warmup is None else steps("train.warmup", train.warmup, total),
        horizon=total * (config.prune.rounds + 1 if train.lr_span == "all" else 1),
        rewind=steps("rewind.to", rewind.to, total, least=0),
        finetune=steps("rewind.length", rewind.length or train.length),
        checkpoint_every=steps("train.checkpoint_every", train.checkpoint_every or Length("1ep")),
        eval_every=steps("train.eval_every", train.eval_every) if train.eval_every else 0,
    )
    if any(after <= before for before, after in pairwise(result.milestones)):
        rising = f"should rise; in steps they are {list(result.milestones)}"
        faults.append(Fault("train.milestones", train.milestones, rising))
    if faults:
        raise ConfigError("\n".join(map(str, faults)))
    return result
