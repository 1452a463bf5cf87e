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
        # Looked up for the whole epoch: one by one, amid the work of a training, which leaves
        # nothing of it in the cache, each would take ten times as long.
        last = min(end, (epoch + 1) * per_epoch)
        rates = [rate(each) for each in range(step, last)]
        weights = _weights(batches, epoch, range(first, batches.steps_per_epoch, accumulate))
        for value, weight in zip(rates, weights, strict=False):
            loss = learner.step(list(islice(rest, accumulate)), value, weight)
            step += 1
            yield step, loss


def _weights(batches: Batches, epoch: int, firsts: range) -> list[float]:
    """Of the groups of batches of an epoch that begin at `firsts`."""
    count = batches.steps_per_epoch
    return [batches.weight(epoch, range(n, min(n + firsts.step, count))) for n in firsts]
