"""Optimisers by the name that `train.optimizer` gives them: one row each.

Invariant: every call makes a fresh optimiser, without state, over all parameters of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from impcore import MaskedAdamW, MaskedSGD, Masks
from impcore.config import Train

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": MaskedSGD,
    "adamw": MaskedAdamW,
}
"""Name -> class, called with parameters, lr, weight_decay, masks and its own keys."""


def fresh(model: nn.Module, masks: Masks, train: Train) -> torch.optim.Optimizer:
    """A new optimiser over the model, as the recipe wants it."""
    return OPTIMIZERS[train.optimizer](
        model.parameters(),
        lr=train.lr,
        weight_decay=train.weight_decay,
        masks=masks,
        **train.options_of("optimizer"),
    )


def load_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load a saved optimiser state, each buffer in the memory format of its parameter."""
    optimizer.load_state_dict(dict(state))
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
