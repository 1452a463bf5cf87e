"""Statuses are read once, and a count is right or unknown."""

from __future__ import annotations

import math
import re

import pytest
import torch
from library_cases import net

import impcore
from impcore.errors import LayerCollapseError, NonFiniteError
from impcore.outcome import COLLAPSED, TOO_MANY, Ledger, error_of, non_finite


def status(value: int) -> torch.Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize(
    ("value", "error"),
    [(COLLAPSED, LayerCollapseError), (TOO_MANY, ValueError), (3, NonFiniteError)],
)
def test_a_status_is_an_error_once(value: int, error: type[Exception]) -> None:
    masks = impcore.Masks(net())
    ledger = Ledger(7)
    for word in (0, value, 0, COLLAPSED, TOO_MANY, 5):  # the first that is not 0 is raised
        ledger.defer(status(word))
    with pytest.raises(error, match="an earlier prune_global"):
        ledger.settle(masks)
    assert ledger.remaining is None
    ledger.settle(masks)
    assert type(error_of(value, masks, "so")) is error


def test_clean_statuses_keep_the_count() -> None:
    ledger = Ledger(7)
    ledger.defer(status(0))
    ledger.settle(impcore.Masks(net()))
    assert ledger.remaining == 7
    ledger.defer(status(1))
    ledger.forgive()
    ledger.settle(impcore.Masks(net()))
    assert ledger.remaining is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_among_alive_weights_alone(bad: float) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    dead = ~masks["fc.weight"]
    with torch.no_grad():
        model.fc.weight[dead] = bad
        model.conv2.weight[:] = bad
    assert dead.any()
    counted = rf" of conv2\.weight \({int(masks['conv2.weight'].sum())}\): so$"
    assert re.search(counted, str(non_finite(masks, "so")))
