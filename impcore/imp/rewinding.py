"""Where each training starts, and the state that it starts from.

Invariant: a rewind point is the whole state of the model (weights and BatchNorm buffers), copied
at one step and never written to; a rewind gives it back bit for bit under the mask.

    weights    the point is round 0's state after `rewind` steps. Every later training starts from
               it, with the schedule resumed there (open_lth, ElasticLTH) or restarted from step 0
               (CV_LTH_Pre-training).
    lr         survivors keep their trained values; steps `rewind` to `total` are trained again
               (Renda et al. 2020, learning rate rewinding).
    finetune   survivors keep their trained values, and train on for `finetune` steps beyond
               `total`, where the learning rate stays at its last value (Renda et al. 2020).

For the last two the point moves: it is the state at the end of the training before the prune. With
`rewind.head = "keep"` the head's part of the point moves likewise, and only that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from impcore.config import Rewind, Schedule
from impcore.models import head_of
from impcore.scope import matching

if TYPE_CHECKING:
    from impcore import Masks

Point = dict[str, Tensor]


def span(rewind: Rewind, schedule: Schedule, round_number: int) -> tuple[int, int]:
    """The first step and the end of the training of a round."""
    if round_number == 0:
        return 0, schedule.total
    if rewind.kind == "finetune":
        return schedule.total, schedule.total + schedule.finetune
    if rewind.kind == "weights" and rewind.lr_schedule == "restart":
        return 0, schedule.total
    return schedule.rewind, schedule.total


def capture_step(rewind: Rewind, schedule: Schedule) -> int:
    """The step of round 0 at which the first rewind point is taken."""
    return schedule.rewind if rewind.kind == "weights" else 0


def capture(model: nn.Module) -> Point:
    """A copy of the model's whole state, on its device and in its memory formats."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def with_head_of(model: nn.Module, point: Mapping[str, Tensor]) -> Point:
    """`point` with a copy of the model's head, as it is now, in place of its own.

    The published BERT tickets were made so: their classifier trains on from round to round.
    """
    in_head = matching(head_of(model))
    state = model.state_dict()
    return {
        name: state[name].detach().clone() if in_head(name) else tensor
        for name, tensor in point.items()
    }


@torch.no_grad()
def restore(model: nn.Module, point: Mapping[str, Tensor]) -> None:
    """Copy `point` into the model, in place. Raises KeyError if a tensor is missing."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(point[name])


def rewind_model(model: nn.Module, masks: Masks, point: Mapping[str, Tensor]) -> None:
    """Give the model `point`, with pruned weights exactly 0."""
    masked = set(masks.names)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name not in masked:
                tensor.copy_(point[name])
    masks.rewind({name: point[name] for name in masks.names})
