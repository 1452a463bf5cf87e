"""A model in training, and all that changes at a step besides it: optimiser, scaler, average.

Invariant: `step` is a function of the state (`state_dict`, the model's weights and buffers, the
global generators), the batches and the learning rate, and reads nothing back to the host. Every
round begins with a fresh learner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from impcore import Masks
from impcore.imp import optimizers
from impcore.imp.average import Average
from impcore.imp.clipping import clip
from impcore.imp.cuda_graphs import Batch, StepGraph
from impcore.imp.distributed import apart
from impcore.imp.tasks import Task

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: str) -> AbstractContextManager[object]:
    """Mixed precision as `train.amp` names it: "none", "bf16" or "fp16"."""
    dtype = _TYPES.get(amp, torch.bfloat16)
    # A cached cast would be left out of a graph that is recorded while the cache holds it.
    return torch.autocast(device.type, dtype=dtype, enabled=amp != "none", cache_enabled=False)


def gradient_scaler(device: torch.device, amp: str) -> torch.amp.GradScaler | None:
    """A fresh loss scaler for "fp16", whose gradients would underflow without one; else None."""
    return torch.amp.GradScaler(device.type) if amp == "fp16" else None


@dataclass(frozen=True)
class Learner:
    """What takes a model from one step to the next.

    With `clip_norm`, gradients are clipped to that norm, after they have been unscaled. A step that
    `scaler` finds not finite changes neither weights nor optimiser, and counts as a step.
    """

    model: nn.Module
    masks: Masks
    optimizer: torch.optim.Optimizer
    task: Task
    loss: Callable[[Tensor, Tensor], Tensor]
    """The task's loss as it is trained on (with label smoothing, where the recipe wants it)."""
    device: torch.device
    amp: str = "none"
    scaler: torch.amp.GradScaler | None = None
    clip_norm: float | None = None
    average: Average | None = None
    """Follows the model, a step at a time."""
    called: Callable[..., Tensor] | None = None
    """What is called in place of the model: the same, parallel or compiled."""
    parallel: nn.Module | None = None
    """The model in DistributedDataParallel, which averages gradients between processes."""
    graph: StepGraph | None = None
    """Replays steps where it can, in a single process."""

    def step(self, batches: Sequence[Batch], rate: float, weight: float = 1.0) -> Tensor:
        """One optimiser step at learning rate `rate` on all `batches` together.

        The loss and its gradient are those of the mean over the targets of all batches, as if they
        were one (but for BatchNorm, which sees one after the other), times `weight`, which makes up
        for unequal shares of several processes. Returns that loss, on the device.
        """
        if self.graph is None:
            loss = self._step(batches, rate, weight)
        else:
            loss = self.graph.step(self._step, batches, rate)
            self._set_rate(rate)
        if self.average is not None:
            self.average.update()
        return loss

    def _set_rate(self, rate: float | Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, batches: Sequence[Batch], rate: float | Tensor, weight: float = 1.0) -> Tensor:
        self._set_rate(rate)
        self.optimizer.zero_grad(set_to_none=True)
        if len(batches) == 1:
            loss = self._backward(batches[0], weight)
        else:
            loss = self._accumulate(batches, weight)
        self._update()
        return loss

    def _accumulate(self, batches: Sequence[Batch], weight: float) -> Tensor:
        """The backward passes of several batches, of which the last one alone averages."""
        total = sum(len(targets) for _, targets in batches)
        factors = [len(targets) / total * weight for _, targets in batches]
        *others, last = zip(batches, factors, strict=True)
        with apart(self.parallel or self.model):
            losses = [self._backward(batch, factor) for batch, factor in others]
        losses.append(self._backward(*last))
        return torch.stack(losses).sum()

    def _backward(self, batch: Batch, factor: float) -> Tensor:
        inputs, targets = batch
        with autocast(self.device, self.amp):
            loss = self.loss(self.task.forward(self.called or self.model, inputs), targets)
        if factor != 1:
            loss = loss * factor
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _update(self) -> None:
        if self.clip_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            clip(self.model, self.masks, self.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """All state besides the model's, as a tree of tensors and JSON values."""
        scaler = None if self.scaler is None else self.scaler.state_dict()
        average = None if self.average is None else self.average.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scaler": scaler, "average": average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        optimizers.load_state(self.optimizer, state["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
