"""The learning rate as a pure function of the step.

Invariant: `at(step)` depends on nothing but the step, so a resumed or rewound training uses the
same values as one that never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up, then a factor `gamma` at each milestone; lengths in optimiser steps.

    With `warmup` = w > 0, step s < w runs at (s + 1) / w of the rate (CV_LTH_Pre-training ramps
    so, per step, reaching the full rate at the last warm-up step).
    """

    base: float
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup: int = 0

    def at(self, step: int) -> float:
        """The learning rate of step `step` (the first is 0)."""
        rate = self.base * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        if step < self.warmup:
            rate *= (step + 1) / self.warmup
        return rate
