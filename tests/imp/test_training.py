from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from impcore import data
from impcore.imp import training
from impcore.imp.learning_rate import LearningRate
from impcore.imp.tasks import TASKS

TASK = TASKS["classification"]


@pytest.fixture(scope="module")
def batches() -> data.DeviceBatches:
    digits = data.load("digits")
    return data.DeviceBatches(digits.train, digits, batch_size=128, augment="crop", seed=1)


def made() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    return model, torch.optim.SGD(model.parameters(), lr=1, momentum=0.9)


def test_equals_a_plain_loop_over_epochs(batches: data.DeviceBatches) -> None:
    per_epoch = batches.steps_per_epoch
    end = 2 * per_epoch + 3
    rate = LearningRate(0.2, (per_epoch + 1,), 0.5, 4)
    model, optimizer = made()
    seen = [
        (step, loss.item())
        for step, loss in training.steps(model, optimizer, batches, TASK, rate.at, start=0, end=end)
    ]
    plain, reference = made()
    wanted = []
    for epoch in range(3):
        for inputs, targets in batches.epoch(epoch):
            if len(wanted) == end:
                break
            reference.param_groups[0]["lr"] = rate.at(len(wanted))
            reference.zero_grad()
            loss = nn.functional.cross_entropy(plain(inputs), targets)
            loss.backward()
            reference.step()
            wanted.append((len(wanted) + 1, loss.item()))
    assert seen == wanted
    for mine, theirs in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("cut", [1, 11, 12, 13, 20])
def test_left_at_any_step_it_goes_on_the_same(batches: data.DeviceBatches, cut: int) -> None:
    def train(cuts: list[int]) -> list[float]:
        model, optimizer = made()
        losses = []
        for start, end in pairwise(cuts):
            losses += [
                loss.item()
                for _, loss in training.steps(
                    model, optimizer, batches, TASK, lambda step: 0.1, start=start, end=end
                )
            ]
        return losses

    assert train([0, cut, 25]) == train([0, 25])


def test_control_another_start_sees_other_batches(batches: data.DeviceBatches) -> None:
    def first(start: int) -> float:
        model, optimizer = made()
        steps = training.steps(
            model, optimizer, batches, TASK, lambda step: 0.1, start=start, end=50
        )
        return next(steps)[1].item()

    assert len({first(start) for start in range(30)}) == 30


def test_nothing_to_do_is_nothing_done(batches: data.DeviceBatches) -> None:
    model, optimizer = made()
    assert not list(
        training.steps(model, optimizer, batches, TASK, lambda step: 0.1, start=5, end=5)
    )


def test_amp_computes_in_bfloat16() -> None:
    w = torch.ones(2, 2)
    with training.autocast(torch.device("cpu"), "bf16"):
        assert (w @ w).dtype == torch.bfloat16
    with training.autocast(torch.device("cpu"), "none"):
        assert (w @ w).dtype == torch.float32
