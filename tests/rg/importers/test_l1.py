"""Count and L1 under a mask: float64 by selection, whatever the dtypes."""

from __future__ import annotations

import pytest
import torch

from impcore.rg.importers.l1 import masked_l1


@pytest.mark.parametrize("weight", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "mask", [torch.float32, torch.bool, torch.int32, torch.uint8, torch.bfloat16]
)
@pytest.mark.parametrize("size", [0, 1, 7, (1 << 15) + 3])
def test_l1_is_that_of_float64_whatever_the_dtypes(weight, mask, size):
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(size, generator=generator).to(weight)
    alive = torch.rand(size, generator=generator) < 0.5
    dirty = torch.where(alive, values, float("nan")).to(weight)
    count, total = masked_l1(dirty, alive.to(mask))
    assert count == int(alive.sum())
    assert total == pytest.approx(float(values.double()[alive].abs().sum()), rel=1e-13)
    assert masked_l1(values, None) == (size, pytest.approx(float(values.double().abs().sum())))


def test_l1_of_views_and_signed_zeros():
    values = torch.randn(40, 30).t()
    mask = torch.zeros(30, 40)
    mask[::2] = 1.0
    mask[1::2] = -0.0
    count, total = masked_l1(values, mask)
    assert count == 600
    assert total == pytest.approx(float(values[::2].double().abs().sum()), rel=1e-13)


@pytest.mark.parametrize("wrong", [2.0, 0.5, 1e-30, -1.0, float("nan"), 3.0, 1.0000001])
def test_a_mask_is_0_and_1(wrong):
    mask = torch.ones(10)
    mask[4] = wrong
    with pytest.raises(RuntimeError, match="something else than 0 and 1"):
        masked_l1(torch.ones(10), mask)
