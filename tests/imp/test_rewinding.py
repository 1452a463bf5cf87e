from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import impcore
from impcore.config import Rewind, RewindPoint, Schedule
from impcore.imp import rewinding

STEPS = Schedule(
    steps_per_epoch=10,
    total=50,
    milestones=(),
    warmup=0,
    rewind=7,
    finetune=12,
    horizon=50,
    checkpoint_every=10,
    eval_every=0,
)


@pytest.mark.parametrize(
    ("rewind", "later", "captured"),
    [
        (Rewind(to=RewindPoint("7it")), (7, 50), 7),
        (Rewind(to=RewindPoint("7it"), lr_schedule="restart"), (0, 50), 7),
        (Rewind(to=RewindPoint("7it"), kind="lr"), (7, 50), 0),
        (Rewind(to=RewindPoint("7it"), kind="lr", lr_schedule="restart"), (7, 50), 0),
        (Rewind(kind="finetune"), (50, 62), 0),
    ],
)
def test_where_trainings_start_and_end(
    rewind: Rewind, later: tuple[int, int], captured: int
) -> None:
    assert rewinding.span(rewind, STEPS, 0) == (0, 50)
    assert rewinding.span(rewind, STEPS, 1) == rewinding.span(rewind, STEPS, 9) == later
    assert rewinding.capture_step(rewind, STEPS) == captured


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


@given(st.integers(0, 119), st.booleans(), st.integers(0, 2**31))
def test_a_rewind_gives_back_every_bit_under_the_mask(
    count: int, channels_last: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    model = network()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    model(torch.randn(8, 2, 4, 4))
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = -0.0
        model[0].weight[0, 0, 0, 1] = 1e-42
    point = rewinding.capture(model)
    kept = copy.deepcopy(point)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-3)
    model(torch.randn(8, 2, 4, 4))
    assert not torch.equal(model[1].running_mean, point["1.running_mean"])
    masks = impcore.prune_global(model, count=count)
    rewinding.rewind_model(model, masks, point)
    for name, tensor in model.state_dict().items():
        assert torch.equal(point[name], kept[name])
        wanted = kept[name].contiguous()
        if name in masks:
            wanted = torch.where(masks[name], wanted, torch.zeros_like(wanted)).contiguous()
        assert tensor.contiguous().numpy().tobytes() == wanted.numpy().tobytes()
        assert tensor.stride() == kept[name].stride()


class _Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(5, 5), nn.Linear(5, 3)

    def head_patterns(self) -> list[str]:
        return ["fc.*"]


def test_a_kept_head_replaces_that_of_the_point_and_nothing_else() -> None:
    model = _Headed()
    point = rewinding.capture(model)
    before = copy.deepcopy(point)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    moved = rewinding.with_head_of(model, point)
    with torch.no_grad():
        model.fc.bias.zero_()  # the point has a copy
    for name, tensor in moved.items():
        assert torch.equal(tensor, before[name] + (1 if name.startswith("fc.") else 0))
        assert torch.equal(point[name], before[name])


def test_restore_is_capture_undone() -> None:
    model = network()
    point = rewinding.capture(model)
    other = network()
    rewinding.restore(other, point)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, point[name])
    del point["1.running_var"]
    with pytest.raises(KeyError, match="running_var"):
        rewinding.restore(other, point)
