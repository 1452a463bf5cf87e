from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from impcore import Masks, data
from impcore.imp import training
from impcore.imp.learner import Learner
from impcore.imp.learning_rate import LearningRate
from impcore.imp.tasks import TASKS

TASK = TASKS["classification"]


@pytest.fixture(scope="module")
def batches() -> data.DeviceBatches:
    digits = data.load("digits")
    return data.DeviceBatches(digits.train, digits, batch_size=128, augment="crop", seed=1)


def made() -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1, momentum=0.9)
    return Learner(model, Masks(model), optimizer, TASK, TASK.loss, torch.device("cpu"))


def constant(step: int) -> float:
    return 0.1


def test_equals_a_plain_loop_over_epochs(batches: data.DeviceBatches) -> None:
    per_epoch = batches.steps_per_epoch
    end = 2 * per_epoch + 3
    rate = LearningRate(0.2, (per_epoch + 1,), 0.5, 4)
    learner = made()
    seen = [
        (step, loss.item())
        for step, loss in training.steps(learner, batches, rate.at, start=0, end=end)
    ]
    other = made()
    plain, reference = other.model, other.optimizer
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
    for mine, theirs in zip(
        learner.model.state_dict().values(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("cut", [1, 3, 4, 5, 11, 12, 13, 20])
def test_left_at_any_step_it_goes_on_the_same(
    batches: data.DeviceBatches, cut: int, accumulate: int
) -> None:
    def train(cuts: list[int]) -> list[float]:
        learner = made()
        return [
            loss.item()
            for start, end in pairwise(cuts)
            for _, loss in training.steps(
                learner, batches, constant, start=start, end=end, accumulate=accumulate
            )
        ]

    assert train([0, cut, 25]) == train([0, 25])


@pytest.mark.parametrize("accumulate", [1, 2, 5, 12, 100])
def test_every_epoch_takes_each_of_its_batches_once(accumulate: int) -> None:
    digits = data.load("digits")
    small = data.DeviceBatches(digits.train, digits, batch_size=128)
    per_epoch = training.steps_per_epoch(small, accumulate)
    seen: list[list[int]] = []

    class Recording:
        def step(
            self, group: list[tuple[torch.Tensor, torch.Tensor]], rate: float, weight: float
        ) -> None:
            assert weight == 1
            seen.append([len(targets) for _, targets in group])

    for _ in training.steps(
        Recording(), small, constant, start=0, end=2 * per_epoch, accumulate=accumulate
    ):
        pass
    sizes = [len(targets) for _, targets in small.epoch(0)]
    assert [size for group in seen for size in group] == 2 * sizes
    assert all(len(group) == accumulate for group in seen[: per_epoch - 1])


def test_control_another_start_sees_other_batches(batches: data.DeviceBatches) -> None:
    def first(start: int) -> float:
        return next(training.steps(made(), batches, constant, start=start, end=50))[1].item()

    assert len({first(start) for start in range(30)}) == 30


def test_nothing_to_do_is_nothing_done(batches: data.DeviceBatches) -> None:
    assert not list(training.steps(made(), batches, constant, start=5, end=5))
