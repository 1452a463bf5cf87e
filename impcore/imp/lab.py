"""Everything a run works with, made from its config: data, model, masks, flow, lengths, counts.

Invariant: making a lab touches no file but the data set's, the cache of its tokens and the given
weights; a fault of the recipe that only data or model can show (a length, a schedule that runs out
of weights, missing files) is raised here, before the run directory exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from impcore import Flow, Masks, models
from impcore.config import Config, Schedule
from impcore.data import Batches
from impcore.data.share import Share
from impcore.errors import ConfigError
from impcore.imp import (
    allocator,
    cuda_graphs,
    determinism,
    environment,
    learning_rate,
    materials,
    optimizers,
    rewinding,
    schedule,
    tensorboard,
    training,
)
from impcore.imp.average import Average
from impcore.imp.compiled import compiled
from impcore.imp.distributed import ALONE, World
from impcore.imp.learner import Learner, gradient_scaler
from impcore.imp.learning_rate import LearningRate
from impcore.imp.materials import AnyDataset
from impcore.imp.pruning import Pruner
from impcore.imp.tasks import TASKS, Task
from impcore.models.weights import Taken
from impcore.scope import matching


@dataclass(frozen=True)
class Lab:
    """What a run works with; the tensors in it are the run's state, the rest never changes."""

    config: Config
    device: torch.device
    model: nn.Module
    masks: Masks
    flow: Flow
    task: Task
    loss: Callable[..., Tensor]
    """The task's loss as it is trained on."""
    train: Batches
    test: Batches
    validation: Batches | None
    """Held out of the training images: scored, and never trained on."""
    steps: Schedule
    rate: LearningRate
    counts: Sequence[int]
    """Weights alive in each trained state n = 0 ... rounds."""
    pruner: Pruner
    world: World
    """The processes of the run; all of them have this lab, apart from their shares of the data."""
    parallel: nn.Module
    """`model`, or DistributedDataParallel around it: what is called in training."""
    identity: dict[str, Any]
    """What the run's bits depend on; see `environment.identity`."""
    weights: Taken | None = None
    """What was taken over from `model.path`."""
    called: Callable[..., Tensor] | None = None
    """The model compiled for training, with `train.compile`."""

    def span(self, round_number: int) -> tuple[int, int]:
        """The first step and the end of the training of a round."""
        return rewinding.span(self.config.rewind, self.steps, round_number)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step; beyond the schedule's end (fine-tuning) its last value."""
        return self.rate.at(min(step, self.steps.total - 1))

    def aim(self) -> str:
        """How far the run prunes, in words."""
        rounds = self.config.prune.rounds
        return (
            f"{self.masks.total:,} prunable weights, {rounds} round{'s' * (rounds != 1)} to "
            f"{self.counts[-1] / self.counts[0]:.2%}"
        )

    def learner(self) -> Learner:
        """A new learner of the model, without state."""
        train = self.config.train
        optimizer = optimizers.fresh(self.model, self.masks, train)
        self.pruner.watch(optimizer)
        return Learner(
            self.model,
            self.masks,
            optimizer,
            self.task,
            self.loss,
            self.device,
            amp=train.amp,
            scaler=gradient_scaler(self.device, train.amp),
            clip_norm=train.clip_norm,
            average=None if train.ema is None else Average(self.model, train.ema),
            called=self.called,
            parallel=self.parallel,
            graph=cuda_graphs.of(train.cuda_graph, self.device, alone=self.world.size == 1),
        )


def build(
    config: Config,
    check: Callable[[], None] | None = None,
    *,
    world: World = ALONE,
    dataset: AnyDataset | None = None,
) -> Lab:
    """Load the data, build and seed the model. Raises ConfigError or DataError.

    `check` is called now and then while images are decoded, which may take long the first time.
    `dataset` is taken instead of loading the recipe's.
    With several processes, raises DistributedError if their data, model or software differ.
    """
    device = _device(config.run.device, world)
    cuda_graphs.of(config.train.cuda_graph, device, alone=world.size == 1)
    share = _share(config, world)
    if device.type == "cpu":
        allocator.keep_freed()
    if config.run.tensorboard:
        tensorboard.check()
    kind = materials.kind_of(config)
    if dataset is None:
        dataset = kind.dataset(config, check)
    determinism.seed_all(config.run.seed)
    model, weights = kind.model(config, dataset)
    train, test, validation = kind.batches(config, dataset, device, share)
    steps = config.schedule(training.steps_per_epoch(train, config.train.accumulate))
    identity = environment.identity(config, model, dataset.fingerprint, device, world)
    identity["weights"] = _fingerprint(model, weights)
    world.all_like(identity, environment.diff)
    model.to(device)
    if config.train.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in the stub
    masks = _masks(model, config)
    task = TASKS[dataset.task]
    pruner = _pruner(config, model, masks, task, train)
    parallel = world.parallel(model)
    return Lab(
        config=config,
        device=device,
        model=model,
        masks=masks,
        flow=Flow(masks, blocks=_blocks(config, model, masks)),
        task=task,
        loss=task.training_loss(config.train.label_smoothing),
        train=train,
        test=test,
        validation=validation,
        steps=steps,
        rate=learning_rate.of(config.train, steps),
        counts=pruner.counts,
        pruner=pruner,
        world=world,
        parallel=parallel,
        identity=identity,
        weights=weights,
        called=compiled(parallel) if config.train.compile else parallel,
    )


def _blocks(config: Config, model: nn.Module, masks: Masks) -> dict[str, list[str]]:
    """The blocks of the flow, without those that have no prunable parameter."""
    found = models.blocks_of(model, granularity=config.analysis.granularity)
    return {
        name: patterns
        for name, patterns in found.items()
        if any(map(matching(patterns), masks.names))
    }


def _pruner(config: Config, model: nn.Module, masks: Masks, task: Task, train: Batches) -> Pruner:
    prune = config.prune
    course = (prune.schedule, prune.rounds, prune.rate, prune.densities)
    each = None
    if prune.scope == "layerwise":
        each = schedule.remaining_each(masks.plan.numels, *course)
    counts = [sum(state) for state in each] if each else schedule.remaining(masks.total, *course)
    return Pruner(
        prune=prune,
        seed=config.run.seed,
        model=model,
        masks=masks,
        task=task,
        train=train,
        counts=counts,
        each=each,
    )


def _device(name: str, world: World) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "run.device: 'cuda', but PyTorch sees no CUDA device; should be 'auto' or 'cpu' here"
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and world.local_rank is not None:
        return torch.device(name, world.local_rank)
    return torch.device(name)


def _share(config: Config, world: World) -> Share:
    size = config.train.batch_size
    if size % world.size:
        near = max(1, round(size / world.size)) * world.size
        raise ConfigError(
            f"train.batch_size = {size}: is the size of a whole batch, of which {world.size} "
            f"processes cannot take equal shares; {near} would do"
        )
    return Share(world.rank, world.size)


def _masks(model: nn.Module, config: Config) -> Masks:
    include, exclude = config.prune.include, config.prune.exclude
    try:
        return Masks(model, include=include, exclude=exclude)
    except ValueError as error:
        raise ConfigError(f"prune.include: {include}, prune.exclude: {exclude}: {error}") from error


def _fingerprint(model: nn.Module, weights: Taken | None) -> str | None:
    """Of what was taken over, wherever the file lies."""
    if weights is None:
        return None
    state = model.state_dict()
    return environment.fingerprint({name: state[name] for name in weights.taken})
