"""All that a run goes on from: where it is, its tensors, its random numbers.

Invariant: a run is a function of this state and of its lab's constants: what `as_tree` returns,
loaded into a fresh state of a lab made alike, leads to the same bits.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from impcore import Flow
from impcore.errors import CheckpointError, ConfigError
from impcore.imp import determinism, rewinding, tree
from impcore.imp.checkpoint import State
from impcore.imp.lab import Lab
from impcore.imp.progress import Progress

_TOGETHER = 64
"""Losses are added up so many at a time: amid the work of a step, which leaves nothing in the cache
that an addition needs, one takes twenty times as long as after another.
"""


class RunState:
    """The state of a run in `lab`, at its very beginning until it is changed or loaded.

    Attributes:
        lab: holds model, masks, flow and pruner, which are part of the state.
        progress: where the run is.
        point: the rewind point; empty until it has been taken.
        learner: of this round.
        loaded: whether the state is a checkpoint's.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.progress = Progress()
        self._loss = torch.zeros((), dtype=torch.float64, device=lab.device)
        self._losses: list[Tensor] = []
        self._packed: dict[str, Tensor] = {}
        self.point: rewinding.Point = {}
        self.learner = lab.learner()
        self.loaded = False

    @property
    def loss(self) -> Tensor:
        """The sum of the losses of this epoch's steps, float64 on the device."""
        self._add_up()
        return self._loss

    def add_loss(self, loss: Tensor) -> None:
        """Count a step's loss, which must not change any more."""
        self._losses.append(loss)
        if len(self._losses) == _TOGETHER:
            self._add_up()

    def _add_up(self) -> None:
        for loss in self._losses:
            self._loss += loss
        self._losses.clear()

    @property
    def packed_masks(self) -> dict[str, Tensor]:
        """`Masks.state_dict`, made once a round: only `prune` and `load` change masks."""
        if not self._packed:
            self._packed = self.lab.masks.state_dict()
        return self._packed

    def prune(self, flow: Flow | None) -> None:
        """Prune what the round trained; see `Pruner`."""
        self._packed = {}
        self.lab.pruner(self.progress.round, self.point, flow)

    def as_tree(self) -> dict[str, Any]:
        """The state as a tree of tensors and JSON values; all processes ask for it together."""
        lab = self.lab
        own = {"loss": self.loss, "random": determinism.capture(lab.device)}
        return {
            "progress": asdict(self.progress),
            "model": lab.model.state_dict(),
            "masks": self.packed_masks,
            "flow": lab.flow.state_dict(),
            "point": self.point,
            "learner": self.learner.state_dict(),
            "pruner": lab.pruner.state_dict(),
            "own": lab.world.gather(own),
        }

    def load(self, saved: State) -> None:
        """Take up a checkpoint.

        Raises CheckpointError if it does not fit the model, and ConfigError if the schedule does
        not lead on from it; the state is of no use then.
        """
        lab, self._packed = self.lab, {}
        state = tree.join(saved.content["state"], saved.tensors)
        try:
            lab.masks.load_state_dict(state["masks"])
            rewinding.restore(lab.model, state["model"])
            lab.flow.load_state_dict(state["flow"])
            self.learner.load_state_dict(state["learner"])
            lab.pruner.load_state_dict(state["pruner"])
            self.point = {
                name: torch.empty_like(tensor).copy_(state["point"][name])
                for name, tensor in lab.model.state_dict().items()
                if state["point"]
            }
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint does not fit this model: {error}") from error
        rank, saved_by = lab.world.rank, len(state["own"])
        mine = state["own"][min(rank, saved_by - 1)]
        self.loss.copy_(mine["loss"])
        if rank < saved_by:
            determinism.restore(mine["random"], lab.device)
        else:  # by force, a process more than there were: no other one draws what it does
            determinism.seed_all(lab.world.seed(lab.config.run.seed))
        self.progress = Progress(**state["progress"])
        self.loaded = True
        self._check_schedule()

    def _check_schedule(self) -> None:
        """The schedule must lead on from where the run is; only a forced resume can break that."""
        done, alive = self.progress.round, self.lab.masks.remaining
        ahead = self.lab.counts[done : done + 2]
        if not ahead or (len(ahead) == 2 and ahead[1] >= alive):
            raise ConfigError(
                f"prune: the run is in round {done} with {alive} weights alive; the schedule "
                f"{self.lab.counts} does not lead on from there"
            )
