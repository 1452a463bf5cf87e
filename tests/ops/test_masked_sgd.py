"""One step of SGD under masks: its arithmetic, and its first step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from . import step_cases as cases


@st.composite
def random_cases(draw):
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9]))
    nesterov = momentum > 0 and draw(st.booleans())
    first = draw(st.sampled_from([None, False, True]))
    scale = draw(st.sampled_from([None, 1.0, 3.0, 65536.0]))
    return cases.sgd(
        draw(st.sampled_from(cases.DTYPES)),
        seed=draw(st.integers(0, 2**32)),
        shapes=draw(st.lists(st.sampled_from(cases.SIZES), max_size=4)),
        density=draw(st.sampled_from([0.0, 0.3, 1.0])),
        lr=cases.scalar(draw(st.sampled_from([0.0, 0.1, 2.0]))),
        weight_decay=cases.scalar(draw(st.sampled_from([0.0, 0.01])), torch.float32),
        momentum=momentum,
        dampening=0.0 if nesterov else draw(st.sampled_from([0.0, 0.1])),
        nesterov=nesterov,
        maximize=draw(st.booleans()),
        first=None if first is None else torch.tensor(first),
        grad_scale=None if scale is None else cases.scalar(scale, torch.float32),
        found_inf=draw(st.sampled_from([None, torch.zeros(1)])),
    )


@given(random_cases())
def test_a_step_rounds_the_float64_step_once(case):
    before = case.bits()
    cases.check_rounded_once(cases.sgd_exact(case), case.run())
    assert case.bits() == before  # `run` worked on copies


@given(random_cases())
def test_the_reference_is_the_float64_step(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "reference")
        cases.check_nearest(cases.sgd_exact(case), case.run())


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8])
def test_the_first_step_clears_its_flag(kind, backend):
    case = cases.sgd(torch.float32, dampening=0.1, first=torch.ones(1, dtype=kind))
    after = case.run()
    assert after.options["first"].item() == 0
    cases.check_rounded_once(cases.sgd_exact(case), after)
    cases.check_rounded_once(cases.sgd_exact(after), after.run())


def test_a_skipped_first_step_keeps_its_flag(backend):
    case = cases.sgd(torch.float32, first=torch.tensor(True), found_inf=torch.ones(1))
    assert case.run().options["first"].item() is True
