"""Movement: whether training moves a weight away from zero (Sanh, Wolf, Rush, NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer
from torch.utils.hooks import RemovableHandle

from impcore.masks import Masks


class Movement(Mapping[str, Tensor]):
    """S = -sum over steps of w * dL/dw, accumulated while a model is trained.

    Sanh et al. 2020 ("Movement Pruning", Sec. 3 and Table 1), up to their constant learning rate of
    the scores, which does not change the order. The lowest scores, of weights that shrink, are
    pruned. Unlike theirs, a pruned weight has no gradient and never comes back.

    A mapping from the masked parameters' names to float32 scores, to be given to
    `prune_global(..., score=movement)`. Scores live beside the weights and nothing is read back.

        movement = impcore.scores.Movement(masks)
        movement.watch(optimizer)      # adds to the scores just before every step
        ...
        impcore.prune_global(model, 0.2, score=movement)
        movement.reset()

    Args:
        masks: the model's live masks.
    """

    @torch.inference_mode(False)  # or no step outside it could add to the scores
    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._sums = [
            torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for p in masks.parameters
        ]

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._sums[self._masks.names.index(name)]
        except ValueError:
            raise KeyError(f"{name!r} is not a masked parameter") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks.names)

    def __len__(self) -> int:
        return len(self._sums)

    # Compared as what it is, not element by element as a mapping of tensors would be.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @torch.no_grad()
    def update(self, scale: Tensor | None = None) -> None:
        """Adds -w * gradient for the weights and gradients as they are now, before a step.

        `scale` is a factor on the gradients, a scalar on their device.
        """
        for i, p in enumerate(self._masks.parameters):
            if p.grad is not None:
                change = p.detach().float() * p.grad.float()
                if scale is not None:
                    # A skipped step's gradients may be infinite: select, never multiply by 0.
                    change = torch.where(scale > 0, change * scale, 0)
                self._sums[i] = self._sums[i].to(p.device).sub_(change)

    def watch(self, optimizer: Optimizer) -> RemovableHandle:
        """Updates the scores before each step of an optimiser; the handle removes that again.

        Gradients that a GradScaler has scaled are taken unscaled, and steps that it skips because
        of infinite gradients do not count.
        """
        return optimizer.register_step_pre_hook(self._before_step)

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        grad_scale = getattr(optimizer, "grad_scale", None)
        found_inf = getattr(optimizer, "found_inf", None)
        scale = None if grad_scale is None else 1 / grad_scale
        if found_inf is not None:
            clean = (found_inf == 0).float()
            scale = clean if scale is None else clean * scale
        self.update(scale)

    def reset(self) -> None:
        """Starts again from 0."""
        for total in self._sums:
            total.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """The scores by name."""
        return dict(self)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Replaces the scores.

        Raises:
            ValueError: a name is missing, or a shape or dtype is another; nothing has been changed.
        """
        for name, total in self.items():
            value = state.get(name)
            if value is None or value.shape != total.shape or value.dtype != total.dtype:
                found = None if value is None else f"{value.dtype} {tuple(value.shape)}"
                raise ValueError(f"{name} must be {total.dtype} {tuple(total.shape)}, got {found}")
        for name, total in self.items():
            total.copy_(state[name])
