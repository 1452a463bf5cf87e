"""What every call into the native module needs."""

import pytest
import torch

from impcore.ops import native


@pytest.mark.parametrize(
    ("words", "torch_has", "used"),
    [
        (0, 2, 1),
        (native.GRAIN, 2, 1),
        (2 * native.GRAIN - 1, 2, 1),
        (2 * native.GRAIN, 2, 2),
        (100 * native.GRAIN, 2, 2),
        (100 * native.GRAIN, 1, 1),
        (3 * native.GRAIN, 16, 3),
    ],
)
def test_no_thread_is_woken_for_a_small_op(words, torch_has, used, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_has)
    assert native.threads(words) == used


def test_addresses_are_those_of_the_first_elements():
    whole = torch.arange(10.0)
    assert native.addresses([whole, whole[3:]]) == [whole.data_ptr(), whole.data_ptr() + 12]
