from __future__ import annotations

import numpy as np
import pytest
import torch

from impcore.integers import checked, integer


@pytest.mark.parametrize("value", [5, np.int64(5), np.uint8(5), np.array(5), torch.tensor(5)])
def test_integers_come_out_as_python_has_them(value: object) -> None:
    assert type(integer(value)) is int
    assert integer(value) == integer(value, 5) == checked("n", value, 5) == 5
    assert integer(value, 6) is None


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), 5.0, np.float64(5), "5", None, np.arange(2)]
)
def test_nothing_else_is_one(value: object) -> None:
    assert integer(value) is None
    with pytest.raises(ValueError, match=r"^n: .* is not an integer$"):
        checked("n", value)
    with pytest.raises(ValueError, match=r"^n: .* is not an integer of at least 2$"):
        checked("n", value, 2)
