"""An exponential moving average of a model's weights and buffers, over one training.

Invariant: pruned weights are 0 in the average: it begins as the masked model, and only models under
the same masks are added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from impcore.imp import rewinding


class Average:
    """The average of all floating tensors of a model's state; the others are the latest.

    Update t = 1, 2, ... weighs the average so far by min(decay, (1 + t) / (10 + t)): its start does
    not dominate a short training (as in TensorFlow's ExponentialMovingAverage).

    Args:
        model: where the average begins, and what `update` adds; its tensors stay where they are.
        decay: between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self._updates = model, decay, 0
        self._state = rewinding.capture(model)
        pairs = [(self._state[name], tensor) for name, tensor in model.state_dict().items()]
        self._floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Add the model as it is now."""
        self._updates += 1
        weight = 1 - min(self._decay, (1 + self._updates) / (10 + self._updates))
        mine, theirs = zip(*self._floating, strict=True)
        torch._foreach_lerp_(mine, theirs, weight)
        for latest, tensor in self._others:
            latest.copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model holds the average; after it, its own bits again."""
        own = rewinding.capture(self._model)
        rewinding.restore(self._model, self._state)
        try:
            yield
        finally:
            rewinding.restore(self._model, own)

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The average under the names of the model's state dict."""
        return self._state

    def state_dict(self) -> dict[str, Any]:
        """All state, as a tree of tensors and JSON values."""
        return {"updates": self._updates, "state": self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned. Raises KeyError if a tensor is missing."""
        for name, tensor in self._state.items():
            tensor.copy_(state["state"][name])
        self._updates = state["updates"]
