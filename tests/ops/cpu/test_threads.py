"""Threads are for ops that are worth them."""

import pytest
import torch

from impcore.ops.cpu.threads import GRAIN, threads


@pytest.mark.parametrize(
    ("words", "torch_has", "used"),
    [
        (0, 2, 1),
        (GRAIN, 2, 1),
        (2 * GRAIN - 1, 2, 1),
        (2 * GRAIN, 2, 2),
        (100 * GRAIN, 2, 2),
        (100 * GRAIN, 1, 1),
        (3 * GRAIN, 16, 3),
    ],
)
def test_no_thread_is_woken_for_a_small_op(words, torch_has, used, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_has)
    assert threads(words) == used
