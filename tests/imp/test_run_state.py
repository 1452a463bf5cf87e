from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from impcore.config import Config
from impcore.errors import CheckpointError
from impcore.imp import lab, rewinding, tree
from impcore.imp.checkpoint import State
from impcore.imp.distributed import World
from impcore.imp.progress import Progress
from impcore.imp.run_state import RunState

MakeConfig = Callable[..., Config]


def flat(state: RunState) -> tuple[Any, dict[str, Tensor]]:
    content, tensors = tree.split(state.as_tree(), "state")
    return content, {name: tensor.clone() for name, tensor in tensors.items()}


def step(state: RunState, number: int) -> float:
    """A training step; its loss."""
    made = state.lab
    (batch,) = [b for _, b in zip(range(1), made.train.epoch(0, number), strict=False)]
    return float(state.learner.step([batch], 0.1))


def moved(config: Config) -> RunState:
    """A state with something in all its parts."""
    state = RunState(lab.build(config))
    state.point = rewinding.capture(state.lab.model)
    step(state, 0)
    state.prune(state.lab.flow)
    state.add_loss(torch.tensor(3.0))
    state.progress = Progress(round=1, step=3, seconds=1.5)
    torch.rand(3)
    return state


def test_a_loaded_state_is_the_one_that_was_saved_and_goes_on_alike(
    make_config: MakeConfig,
) -> None:
    config = make_config(train__ema=0.9)
    first = moved(config)
    content, tensors = flat(first)
    drawn = torch.rand(4)
    second = RunState(lab.build(config))
    assert not second.loaded
    torch.manual_seed(99)
    second.load(State(1, {"state": content}, tensors))
    assert second.loaded
    again, same = flat(second)
    assert again == content
    assert same.keys() == tensors.keys()
    assert all(torch.equal(same[name], tensors[name]) for name in tensors)
    assert torch.equal(torch.rand(4), drawn)
    assert step(first, 1) == step(second, 1)
    assert second.point["conv1.weight"] is not second.lab.model.state_dict()["conv1.weight"]


def test_processes_that_join_draw_what_no_other_does(make_config: MakeConfig) -> None:
    config = make_config()
    content, tensors = flat(moved(config))
    made = lab.build(config)
    drawn = []
    for rank in range(3):
        joined = RunState(replace(made, world=World(rank, 3)))
        joined.load(State(1, {"state": content}, tensors))
        drawn.append((torch.rand(()).item(), np.random.rand(), random.random()))
    assert all(len(set(draws)) == 3 for draws in zip(*drawn, strict=True))


def test_packed_masks_are_those_of_now(make_config: MakeConfig) -> None:
    def packed(state: RunState) -> list[list[int]]:
        found = [mask.tolist() for mask in state.packed_masks.values()]
        assert found == [mask.tolist() for mask in state.lab.masks.state_dict().values()]
        assert state.lab.masks.hash_of(state.packed_masks) == state.lab.masks.hash
        return found

    state = RunState(lab.build(make_config()))
    full = packed(state)
    content, tensors = flat(state)
    state.prune(state.lab.flow)
    assert packed(state) != full
    state.load(State(1, {"state": content}, tensors))
    assert packed(state) == full


@pytest.mark.parametrize("part", ["masks", "model", "flow", "learner", "pruner", "point"])
def test_what_does_not_fit_the_model_is_refused(make_config: MakeConfig, part: str) -> None:
    content, tensors = flat(moved(make_config()))
    other = RunState(lab.build(make_config()))
    state = tree.join(content, tensors)
    del state[part]
    content, tensors = tree.split(state, "state")
    with pytest.raises(CheckpointError, match="does not fit this model"):
        other.load(State(1, {"state": content}, tensors))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_losses_are_added_in_their_order(make_config: MakeConfig, count: int) -> None:
    state = RunState(lab.build(make_config()))
    losses = torch.rand(count) * 10.0 ** torch.randint(-8, 8, (count,))
    wanted = torch.zeros((), dtype=torch.float64)
    for number, loss in enumerate(losses.unbind()):
        state.add_loss(loss)
        wanted += loss
        if number == 40:
            assert torch.equal(state.loss, wanted)
    assert torch.equal(state.loss, wanted)
    state.loss.zero_()
    assert state.loss.item() == 0
