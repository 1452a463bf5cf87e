"""[rewind]: what happens between a prune and the next training."""

from __future__ import annotations

from typing import Literal

from impcore.config.length import Length, RewindPoint
from impcore.config.tables.base import Table


class Rewind(Table):
    """What happens after a prune, before the next training.

    "weights": survivors return to their values at `to` and train on from there. "lr": survivors
    keep their trained values, the learning rate returns to where it was at `to`. "finetune":
    survivors keep their trained values and train for `length` at the last learning rate.
    """

    kind: Literal["weights", "lr", "finetune"] = "weights"
    """What is rewound: weights and learning rate, the learning rate alone, or nothing."""
    to: RewindPoint = RewindPoint("init")
    """The rewind point: init, pretrained (with model.path) or a length; unused by finetune."""
    lr_schedule: Literal["resume", "restart"] = "resume"
    """With kind = weights: the schedule resumes at the rewind step, or restarts from 0."""
    head: Literal["reset", "keep"] = "reset"
    """With kind = weights: the head returns to its value at `to` too, or keeps its trained one."""
    length: Length | None = None
    """Finetune: the length after each prune; train.length unless given."""
