"""Optimisers by the name that `train.optimizer` gives them: one row each.

Invariant: every call makes a fresh optimiser, without state, over all parameters of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from impcore import MaskedSGD, Masks
from impcore.config import Train


def _sgd(model: nn.Module, masks: Masks, train: Train) -> torch.optim.Optimizer:
    return MaskedSGD(
        model.parameters(),
        lr=train.lr,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        nesterov=train.nesterov,
        masks=masks,
    )


OPTIMIZERS: Mapping[str, Callable[[nn.Module, Masks, Train], torch.optim.Optimizer]] = {"sgd": _sgd}


def load_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a saved optimiser state, each buffer in the memory format of its parameter."""
    optimizer.load_state_dict(dict(state))
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
