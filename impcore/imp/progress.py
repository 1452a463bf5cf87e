"""Where a run is, and what a trained state leaves behind: its row and its ticket.

Invariant: all of it is JSON, and only `seconds` depends on a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import impcore
from impcore.imp import records
from impcore.imp.lab import Lab
from impcore.imp.rewinding import Point
from impcore.imp.scoring import Scores, columns
from impcore.imp.ticket import Ticket


@dataclass
class Progress:
    """`step` steps into the training of `round`, with `rows` behind it."""

    round: int = 0
    step: int = 0
    seconds: float = 0.0
    """Wall-clock seconds of this round so far, over all sessions; never part of a result."""
    bit_exact: bool = True
    """False for good once the run has been resumed by force under another identity."""
    done: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """The rows of evals.jsonl, with `train.eval_every`."""


def row(
    lab: Lab, progress: Progress, found: Scores, train_loss: float, steps: int, mask_hash: str
) -> dict[str, Any]:
    """The line of rounds.jsonl for the state that the current round trained.

    accuracy (0 to 1; None where the task has none) and loss are on the test set, train_loss is the
    mean over the steps of the last epoch; steps and epochs are those of this round's training; what
    is not finite is None. mask_hash, remaining and density are of the mask that it was trained
    under. Other scores are as `scoring.columns` has them.
    """
    return {
        "round": progress.round,
        "density": lab.masks.density,
        "remaining": lab.masks.remaining,
        "total": lab.masks.total,
        "accuracy": found[""].accuracy,
        "loss": records.finite(found[""].loss),
        "train_loss": records.finite(train_loss),
        "steps": steps,
        "epochs": steps / lab.steps.steps_per_epoch,
        "seconds": round(progress.seconds, 3),
        "mask_hash": mask_hash,
        "bit_exact": progress.bit_exact,
        **columns(found),
    }


def evaluation(lab: Lab, progress: Progress, found: Scores, train_loss: float) -> dict[str, Any]:
    """The line of evals.jsonl for the state after `step` steps of the schedule.

    epoch is `step` in epochs, lr the learning rate of the last step; the rest is as in `row`.
    """
    return {
        "round": progress.round,
        "step": progress.step,
        "epoch": progress.step / lab.steps.steps_per_epoch,
        "lr": lab.rate_at(progress.step - 1),
        "accuracy": found[""].accuracy,
        "loss": records.finite(found[""].loss),
        "train_loss": records.finite(train_loss),
        **columns(found),
    }


def too_far_below(first: Mapping[str, Any], row: Mapping[str, Any], drop: float) -> str | None:
    """Why the state of `row` is the last if it may be `drop` worse than `first`; None if it is not.

    Compared is the task's most telling metric, of the validation split where there is one; a value
    that is not finite is worse than any.
    """
    name, before = _most_telling(first)
    _, after = _most_telling(row)
    if before is None or (after is not None and before - after <= drop):
        return None
    return (
        f"{name} {'not finite' if after is None else f'{after:.4f}'} in round {row['round']} is "
        f"more than prune.max_drop = {drop} below the {before:.4f} of round {first['round']}"
    )


def _most_telling(row: Mapping[str, Any]) -> tuple[str, float | None]:
    metrics: Mapping[str, float | None] = row.get("metrics") or {"accuracy": row["accuracy"]}
    name, value = next(iter(metrics.items()))
    held_out = f"validation_{name}"
    return (held_out, row[held_out]) if held_out in row else (name, value)


def origin(lab: Lab) -> dict[str, Any]:
    """Where the tickets of a run are from, all of them."""
    return {
        "config": lab.config.fingerprint(),
        "recipe": lab.config.portable(),
        "arch": lab.config.model.arch,
        "data": lab.config.data.name,
        "weights": lab.identity["weights"],
        "scope": lab.config.prune.scope,
        "score": lab.config.prune.score,
        "rewind": lab.config.rewind.kind,
        "versions": {"impcore": impcore.__version__, "torch": str(torch.__version__)},
    }


def ticket(
    row: Mapping[str, Any], origin: Mapping[str, Any], masks: Mapping[str, Tensor], point: Point
) -> Ticket:
    """The ticket that the round of `row` trained; `masks` are packed."""
    keys = ("round", "density", "remaining", "total", "mask_hash", "bit_exact")
    return Ticket(masks, point, {**{key: row[key] for key in keys}, **origin})
