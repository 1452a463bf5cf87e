"""How long a run takes and how much it holds, from a few of its own steps.

Invariant: what is timed is what a run does, on the run's own objects: its training steps, batches
of its evaluation, its first prune, and the packing of its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from impcore.data import Batches
from impcore.imp import rewinding, sealed, training, tree
from impcore.imp.lab import Lab
from impcore.imp.learner import Learner, autocast
from impcore.imp.run_state import RunState
from impcore.imp.saving import saving_pace
from impcore.output import Tell

_WARM = 5  # steps: they fill caches, and on CUDA record the step
_SECONDS = 2.0
_STEPS = 50
Spans = Sequence[tuple[int, int]]


def rough(seconds: float) -> str:
    """Seconds in the unit that suits."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    whole = round(seconds)
    return f"{whole} second{'s' * (whole != 1)}"


@dataclass(frozen=True)
class Estimate:
    """Seconds of each part, how often a run does it, and bytes of what it keeps."""

    step: float
    steps: int
    timed: int
    evaluation: float
    evaluations: int
    prune: float
    prunes: int
    save: float
    saves: int
    checkpoint: int
    ticket: int

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        parts = self.step * self.steps + self.evaluation * self.evaluations
        return parts + self.prune * self.prunes + self.save * self.saves

    @property
    def disk(self) -> int:
        """Bytes of the run directory at its fullest: a third checkpoint is written beside two."""
        return 3 * self.checkpoint + (self.prunes + 1) * self.ticket

    def describe(self) -> str:
        """In a line."""
        return (
            f"about {rough(self.seconds)}: steps {self.steps:,} × {self.step * 1e3:.1f} ms, "
            f"evaluations {self.evaluations:,} × {self.evaluation:.2f} s, "
            f"prunes {self.prunes:,} × {self.prune:.2f} s, checkpoints {self.saves:,} × "
            f"{self.save:.2f} s; an estimate, from {self.timed} step{'s' * (self.timed != 1)} on "
            "this machine as it is now"
        )


def measure(lab: Lab, tell: Tell) -> Estimate:
    """Train, evaluate and prune `lab`'s model a little; it is of no use afterwards.

    `tell` hears what is timed next.
    """
    fresh = RunState(lab)
    tell("training steps")
    step, timed = _steps(lab, fresh.learner)
    splits = [lab.test] if lab.validation is None else [lab.test, lab.validation]
    weights = 1 if fresh.learner.average is None else 2
    tell("an evaluation")
    evaluation = weights * sum(_evaluation(lab, split) for split in splits)
    spans = [lab.span(number) for number in range(len(lab.counts))]
    steps = sum(end - start for start, end in spans)
    prunes = len(spans) - 1
    tell("a prune and a checkpoint")
    point = rewinding.capture(lab.model)
    prune = _timed(lab, lambda: _prune(lab, point)) if prunes else 0.0
    state = {**fresh.as_tree(), "point": point}
    pieces: list[bytes | memoryview] = []
    save = _timed(lab, lambda: pieces.extend(_packed(state)))
    model = sum(tensor.nbytes for tensor in point.values())
    masks = sum(packed.nbytes for packed in lab.masks.state_dict().values())
    return Estimate(
        step=step,
        steps=steps,
        timed=timed,
        evaluation=evaluation,
        evaluations=len(spans) + _evaluations(spans, lab.steps.eval_every),
        prune=prune,
        prunes=prunes,
        save=save,
        saves=len(spans) + _saves(lab, spans, step, save) + 1,  # the last one of a finished run
        checkpoint=sum(len(memoryview(piece)) for piece in pieces),
        ticket=weights * model + masks,
    )


def _evaluations(spans: Spans, every: int) -> int:
    """Evaluations within the trainings, without those at their ends."""
    return sum((end - 1) // every - start // every for start, end in spans) if every else 0


def _saves(lab: Lab, spans: Spans, step: float, save: float) -> int:
    """Checkpoints after steps of the trainings, the last steps too; each takes `step` seconds."""
    every = lab.steps.checkpoint_every
    count = sum(-(-end // every) - start // every for start, end in spans)
    if lab.config.train.checkpoint_every is not None:
        return count
    steps = sum(end - start for start, end in spans)
    return min(count, int(step * steps / saving_pace().apart(save)))


def _steps(lab: Lab, learner: Learner) -> tuple[float, int]:
    """Seconds of a step, and over how many that is the mean."""
    start, end = lab.span(0)
    taken = training.steps(
        learner,
        lab.train,
        lab.rate_at,
        start=start,
        end=min(end, start + _WARM + _STEPS),
        accumulate=lab.config.train.accumulate,
    )
    warm, timed = min(_WARM, (end - start) // 2), 0
    first = begin = time.monotonic()
    for number, (_, loss) in enumerate(taken, start=1):
        loss.item()
        now = time.monotonic()
        # Slow steps need no more warming than one: it allocates, and may compile.
        if number <= warm and (number == 1 or now - first < _SECONDS):
            begin = now
            continue
        timed += 1
        if now - begin > _SECONDS:
            break
    return (now - begin) / timed, timed


@torch.no_grad()
def _evaluation(lab: Lab, split: Batches) -> float:
    """Seconds of a whole evaluation of a split, from its first batches."""
    size, done = lab.config.train.eval_batch_size, 0
    lab.model.eval()
    begin = time.monotonic()
    for inputs, targets in islice(split.eval_batches(size), _STEPS):
        with autocast(lab.device, lab.config.train.amp):
            outputs = lab.task.forward(lab.model, inputs)
            lab.task.loss(outputs, targets).item()
        lab.task.results(outputs, inputs, targets)
        done += 1
        if time.monotonic() - begin > _SECONDS:
            break
    lab.model.train()
    whole = -(-len(split) // size)
    return (time.monotonic() - begin) / max(1, done) * whole


def _prune(lab: Lab, point: rewinding.Point) -> None:
    lab.pruner(0, point, lab.flow)
    rewinding.rewind_model(lab.model, lab.masks, point)


def _packed(state: dict[str, object]) -> sealed.Pieces:
    content, tensors = tree.split(state, "state")
    return sealed.pack("impcore-check", {"state": content}, tensors, copied=True)


def _timed(lab: Lab, function: Callable[[], None]) -> float:
    begin = time.monotonic()
    function()
    if lab.device.type == "cuda":
        torch.cuda.synchronize(lab.device)
    return time.monotonic() - begin
