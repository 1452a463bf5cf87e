"""One prune of a run, as [prune] says it: how many, where, and by what score.

Invariant: a prune is a function of the run's saved state, and the same in every process. Scores
that look at data take whole batches of an epoch that no training reaches, the same ones in every
round; chance is keyed by `run.seed`; what a training accumulates (movement) is part of the state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

import impcore
from impcore import Flow, Masks
from impcore.config import Prune
from impcore.data import Batches
from impcore.errors import ConfigError, LayerCollapseError
from impcore.imp import determinism, rewinding
from impcore.imp.tasks import Task
from impcore.scores import SCORES, Movement

_EPOCH = 2**31


@dataclass(frozen=True)
class Pruner:
    """What prunes a run's model.

    Attributes:
        prune, seed: the recipe's table, and `run.seed`.
        model, masks, task, train: of the run.
        counts: weights alive in each trained state.
        each: with scope = "layerwise", the same of each masked parameter [states][parameters].
        movement: what score = "movement" accumulates.

    Raises:
        ConfigError: the score does not go with the data.
    """

    prune: Prune
    seed: int
    model: nn.Module
    masks: Masks
    task: Task
    train: Batches
    counts: Sequence[int]
    each: Sequence[Sequence[int]] | None = None
    movement: Movement | None = field(init=False)

    def __post_init__(self) -> None:
        moving = self.prune.score == "movement"
        object.__setattr__(self, "movement", Movement(self.masks) if moving else None)
        if self.prune.score == "synflow" and not isinstance(self._inputs(), Tensor):
            raise ConfigError(
                'prune.score = "synflow": needs a model with a single input tensor of numbers'
            )

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Accumulates what the score needs from the optimiser's steps."""
        if self.movement is not None:
            self.movement.watch(optimizer)

    def __call__(self, round_number: int, point: Mapping[str, Tensor], flow: Flow | None) -> None:
        """Prunes the state that the round trained to the next one's number of weights.

        With theta = "rewound" the weights are first rewound to `point`. `flow` records M of the
        trained weights.

        Raises:
            LayerCollapseError: a parameter would be left with fewer than `prune.min_keep` weights.
        """
        if self.prune.theta == "rewound":
            if flow is not None:
                flow.record()
                flow = None
            rewinding.rewind_model(self.model, self.masks, point)
        given = self._given()
        determinism.seed_all(self.seed)  # dropout in a score draws the same in every process
        try:
            impcore.prune_global(
                self.model,
                count=self._count(round_number),
                scope=self.prune.scope,
                score=self.prune.score if self.movement is None else self.movement,
                min_keep=self.prune.min_keep,
                flow=flow,
                **given,
            )
        except LayerCollapseError as error:
            raise LayerCollapseError(
                f"prune {round_number + 1}: {error}; the same command with --prune.min_keep 0 goes "
                "on all the same"
            ) from error
        if self.movement is not None:
            self.movement.reset()

    def state_dict(self) -> dict[str, Tensor]:
        """What has been accumulated since the last prune."""
        return {} if self.movement is None else self.movement.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes it up again. Raises ValueError if it does not fit."""
        if self.movement is not None:
            self.movement.load_state_dict(state)

    def _count(self, round_number: int) -> int | dict[str, int]:
        if self.each is None:
            return self.masks.remaining - self.counts[round_number + 1]
        alive = {name: int(mask.sum()) for name, mask in self.masks.items()}
        wanted = dict(zip(self.masks.names, self.each[round_number + 1], strict=True))
        return {name: alive[name] - wanted[name] for name in alive}

    def _given(self) -> dict[str, Any]:
        """The keywords that score and scope take."""
        used = SCORES[self.prune.score].keywords
        given: dict[str, Any] = {}
        if "loss" in used:
            batches = islice(self._batches(), self.prune.score_batches)
            given |= {"data": list(batches), "loss": self._loss}
        elif "data" in used:
            given["data"] = self._inputs()
        if "seed" in used or self.prune.scope == "random":
            given["seed"] = self.seed
        return given

    def _loss(self, model: nn.Module, batch: tuple[Any, Tensor]) -> Tensor:
        inputs, targets = batch
        outputs = self.task.forward(model, inputs)
        return self.task.loss(outputs / (self.prune.score_temperature or 1), targets)

    def _batches(self) -> Iterator[tuple[Any, Tensor]]:
        epoch = _EPOCH
        while True:
            yield from self.train.epoch(epoch, whole=True)
            epoch += 1

    def _inputs(self) -> Any:
        return next(self._batches())[0]
