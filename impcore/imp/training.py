"""One training, from a step to a later one.

Invariant: the state after a step is a function of the state before it and the step's number alone:
batches, augmentation and learning rate are looked up by the step, so a training may be left after
any step and taken up there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from torch import Tensor

from impcore.data import Batches
from impcore.imp.learner import Learner


def steps_per_epoch(batches: Batches, accumulate: int) -> int:
    """Optimiser steps in an epoch, each of `accumulate` batches or, at its end, of what is left."""
    return -(-batches.steps_per_epoch // accumulate)


def steps(
    learner: Learner,
    batches: Batches,
    rate: Callable[[int], float],
    *,
    start: int,
    end: int,
    accumulate: int = 1,
) -> Iterator[tuple[int, Tensor]]:
    """Train from step `start` to step `end`, yielding (steps done, that step's loss) after each.

    With n steps an epoch, step s takes the batches from (s mod n) * `accumulate` on of epoch s // n
    at learning rate `rate(s)`. Where `batches` are shares of batches, the mean over the processes
    of the losses is that of the whole batches, and so is that of the gradients. The loss stays on
    the device: reading it is the caller's choice and cost.
    """
    per_epoch = steps_per_epoch(batches, accumulate)
    step = start
    while step < end:
        epoch, offset = divmod(step, per_epoch)
        first = offset * accumulate
        rest = batches.epoch(epoch, first)
        while step < end and (group := list(islice(rest, accumulate))):
            weight = batches.weight(epoch, range(first, first + len(group)))
            loss = learner.step(group, rate(step), weight)
            first += len(group)
            step += 1
            yield step, loss
