"""One step of AdamW under masks: its arithmetic, and its count."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from . import step_cases as cases


@st.composite
def random_cases(draw):
    scale = draw(st.sampled_from([None, 1.0, 3.0, 65536.0]))
    return cases.adamw(
        draw(st.sampled_from(cases.DTYPES)),
        seed=draw(st.integers(0, 2**32)),
        shapes=draw(st.lists(st.sampled_from(cases.SIZES), max_size=4)),
        density=draw(st.sampled_from([0.0, 0.3, 1.0])),
        amsgrad=draw(st.booleans()),
        lr=cases.scalar(draw(st.sampled_from([0.0, 1e-3, 0.1]))),
        beta1=cases.scalar(draw(st.sampled_from([0.0, 0.5, 0.9])), torch.float32),
        beta2=cases.scalar(draw(st.sampled_from([0.5, 0.9, 0.999]))),
        weight_decay=cases.scalar(draw(st.sampled_from([0.0, 0.5])), torch.float32),
        eps=draw(st.sampled_from([1e-8, 1e-3, 1.0])),
        maximize=draw(st.booleans()),
        grad_scale=None if scale is None else cases.scalar(scale, torch.float32),
        found_inf=draw(st.sampled_from([None, torch.zeros(1)])),
    )


@given(random_cases())
def test_a_step_rounds_the_float64_step_once(case):
    before = case.bits()
    cases.check_rounded_once(cases.adamw_exact(case), case.run(), roundings=16)
    assert case.bits() == before  # `run` worked on copies


@given(random_cases())
def test_the_reference_is_the_float64_step(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "reference")
        cases.check_nearest(cases.adamw_exact(case), case.run())


def test_every_step_is_counted_and_a_skipped_one_is_not(backend):
    case = cases.adamw(torch.float32)
    before = [float(s) for s in case.states[3]]
    after = case.run().run()
    assert [float(s) for s in after.states[3]] == [s + 2 for s in before]
    case.options["found_inf"] = torch.ones(1)
    assert [float(s) for s in case.run().states[3]] == before


@pytest.mark.parametrize("nan", ["largest", "square"])
def test_the_largest_square_is_nan_if_either_is(nan, backend):
    """As torch.maximum; the vector instructions would drop one of the two."""
    case = cases.adamw(torch.float32, shapes=[(40,)], density=1.0)
    gradients, squares, largest = case.grads[0], case.states[1][0], case.states[2][0]
    (largest if nan == "largest" else gradients)[3] = float("nan")
    squares[5], largest[5] = 100.0, 1.0
    got = cases.flat(case.run().states[2][0])
    assert np.isnan(got[3])
    assert not np.isnan(np.delete(got, 3)).any()
    assert got[5] > 50
