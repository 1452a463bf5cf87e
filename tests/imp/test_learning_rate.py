from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.imp.learning_rate import LearningRate

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
