"""The learning rate as a pure function of the step.

Invariant: `at(step)` depends on nothing but the step, so a resumed or rewound training uses the
same values as one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from impcore.config import Schedule, Train


@dataclass(frozen=True)
class LearningRate:
    """A rise over `warmup` steps to `base`, and what `shape` makes of it; lengths in steps.

    With `warmup` = w > 0, step s < w runs at (s + 1) / w of the rate (CV_LTH_Pre-training ramps
    so, per step, reaching the full rate at the last warm-up step). A decay begins there and would
    reach `end` times `base` at step `horizon`, the first that is no longer trained.

    milestones   a factor `gamma` at each milestone, from step 0 on (torch's MultiStepLR)
    linear       a straight line (transformers' linear schedule, but for its first warm-up step)
    cosine       half a cosine (Loshchilov and Hutter 2017, eq. 5, without restarts)
    onecycle     up from base / 25 by half a cosine and down by another, to `end` at the last step
                 (Smith and Topin 2019, as torch's OneCycleLR has it)
    """

    base: float
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: int = 0
    shape: str = "milestones"
    horizon: int = 1
    end: float = 0.0

    def at(self, step: int) -> float:
        """The learning rate of step `step` (the first is 0)."""
        return SHAPES[self.shape](self, step)


_ONECYCLE_START = 1 / 25


def _between(start: float, end: float, done: float) -> float:
    """Half a cosine from `start` (done = 0) to `end` (done = 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _risen(rate: LearningRate, step: int) -> float:
    return (step + 1) / rate.warmup if step < rate.warmup else 1.0


def _decayed(rate: LearningRate, step: int) -> float:
    """How much of the decay is behind: 0 until the end of the warm-up, 1 at `horizon`."""
    return min(1.0, max(0, step - rate.warmup) / (rate.horizon - rate.warmup))


def _milestones(rate: LearningRate, step: int) -> float:
    value = rate.base * rate.gamma ** sum(step >= milestone for milestone in rate.milestones)
    return value * _risen(rate, step) if step < rate.warmup else value


def _linear(rate: LearningRate, step: int) -> float:
    left = 1 - (1 - rate.end) * _decayed(rate, step)
    return rate.base * left * _risen(rate, step)


def _cosine(rate: LearningRate, step: int) -> float:
    return rate.base * _between(1.0, rate.end, _decayed(rate, step)) * _risen(rate, step)


def _onecycle(rate: LearningRate, step: int) -> float:
    top, last = rate.warmup - 1, rate.horizon - 1
    if step < top:
        return rate.base * _between(_ONECYCLE_START, 1.0, step / top)
    return rate.base * _between(1.0, rate.end, min(1.0, (step - top) / (last - top)))


SHAPES: Mapping[str, Callable[[LearningRate, int], float]] = {
    "milestones": _milestones,
    "linear": _linear,
    "cosine": _cosine,
    "onecycle": _onecycle,
}
"""Name as `train.schedule` gives it -> the rate of a step."""


def of(train: Train, steps: Schedule) -> LearningRate:
    """The learning rate that a recipe wants."""
    return LearningRate(
        train.lr,
        milestones=steps.milestones,
        gamma=1.0 if train.gamma is None else train.gamma,
        warmup=steps.warmup,
        shape=train.schedule,
        horizon=steps.horizon,
        end=train.lr_end or 0.0,
    )
