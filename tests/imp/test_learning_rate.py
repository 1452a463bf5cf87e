from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from impcore.config import Schedule, Train
from impcore.imp.learning_rate import SHAPES, LearningRate, of

TOTAL = 60


@given(
    st.floats(1e-4, 10),
    st.lists(st.integers(1, TOTAL - 1), unique=True, max_size=4),
    st.floats(0.01, 1),
)
def test_milestones_equal_torchs_multi_step_schedule(
    base: float, milestones: list[int], gamma: float
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, sorted(milestones), gamma)
    rate = LearningRate(base, tuple(sorted(milestones)), gamma)
    for step in range(TOTAL):
        assert rate.at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        reference.step()


@given(st.integers(1, 50), st.floats(1e-4, 10))
def test_warm_up_rises_in_equal_steps_to_the_base(warmup: int, base: float) -> None:
    rate = LearningRate(base, warmup=warmup)
    for step in range(warmup):
        assert rate.at(step) == pytest.approx(base * (step + 1) / warmup, rel=1e-12)
    assert rate.at(warmup - 1) == rate.at(warmup) == rate.at(10**6) == base


@given(st.integers(0, TOTAL), st.integers(0, TOTAL))
def test_a_milestone_inside_the_warm_up_applies_to_both(warmup: int, milestone: int) -> None:
    rate = LearningRate(1.0, (milestone,), 0.5, warmup)
    for step in range(TOTAL):
        wanted = 0.5 if step >= milestone else 1.0
        if step < warmup:
            wanted *= (step + 1) / warmup
        assert rate.at(step) == pytest.approx(wanted, rel=1e-12)


def reference(make: Callable[[torch.optim.Optimizer], LRScheduler], base: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@given(st.floats(1e-4, 10), st.floats(0, 1))
def test_decays_equal_torchs(base: float, end: float) -> None:
    linear = LearningRate(base, shape="linear", horizon=TOTAL, end=end)
    wanted = reference(lambda o: lr_scheduler.LinearLR(o, 1.0, end, TOTAL), base)
    assert [linear.at(step) for step in range(TOTAL)] == pytest.approx(wanted, rel=1e-9)
    cosine = LearningRate(base, shape="cosine", horizon=TOTAL, end=end)
    wanted = reference(lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, end * base), base)
    assert [cosine.at(step) for step in range(TOTAL)] == pytest.approx(wanted, rel=1e-9)


@given(st.floats(1e-4, 10), st.integers(2, TOTAL - 2))
def test_one_cycle_equals_torchs(base: float, warmup: int) -> None:
    rate = LearningRate(base, warmup=warmup, shape="onecycle", horizon=TOTAL, end=4e-6)
    wanted = reference(
        lambda o: lr_scheduler.OneCycleLR(
            o, base, total_steps=TOTAL + 1, pct_start=warmup / (TOTAL + 1)
        ),
        base,
    )
    torchs = LearningRate(base, warmup=warmup, shape="onecycle", horizon=TOTAL + 1, end=4e-6)
    assert [torchs.at(step) for step in range(TOTAL)] == pytest.approx(wanted, rel=1e-6)
    assert rate.at(warmup - 1) == base
    assert rate.at(TOTAL - 1) == pytest.approx(base * 4e-6)


@given(st.sampled_from(["linear", "cosine"]), st.integers(0, TOTAL - 1), st.integers(1, 5))
def test_a_decay_begins_at_the_end_of_the_warm_up(shape: str, warmup: int, rounds: int) -> None:
    rate = LearningRate(1.0, warmup=warmup, shape=shape, horizon=rounds * TOTAL)
    rates = [rate.at(step) for step in range(TOTAL)]
    assert rates[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert rates[warmup] == 1
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if rounds == 1:
        assert rate.at(TOTAL) == pytest.approx(0, abs=1e-15)
    elif shape == "linear" and warmup == 0:
        assert rate.at(TOTAL) == pytest.approx(1 - 1 / rounds)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_is_defined_at_every_step(shape: str) -> None:
    for warmup, total in ((0, 2), (1, 2), (1, 3), (5, 6)):
        if shape == "onecycle" and warmup == 0:
            continue
        rate = LearningRate(1.0, (1,), warmup=warmup, shape=shape, horizon=total)
        assert all(0 <= rate.at(step) <= 1 for step in range(2 * total))
        assert {rate.at(step) for step in range(total, 3 * total)} == {rate.at(total)}


def test_a_recipes_rate_has_its_lengths_and_its_options() -> None:
    steps = Schedule(
        steps_per_epoch=10,
        total=TOTAL,
        milestones=(20, 40),
        warmup=5,
        horizon=3 * TOTAL,
        rewind=0,
        finetune=TOTAL,
        checkpoint_every=10,
        eval_every=0,
    )
    stepwise = Train(length="6ep", lr=0.3, gamma=0.5)
    assert of(stepwise, steps) == LearningRate(0.3, (20, 40), 0.5, 5, "milestones", 3 * TOTAL)
    decay = Train(length="6ep", lr=0.3, schedule="cosine", lr_end=0.2)
    assert of(decay, steps) == LearningRate(0.3, (20, 40), 1.0, 5, "cosine", 3 * TOTAL, 0.2)
