"""Threads and backends as fixtures."""

import pytest
import torch

from impcore.ops.cpu import threads as cpu_threads


@pytest.fixture
def threads(request, monkeypatch):
    """Sets torch's thread count for one test (parametrise it indirectly).

    Small cases are shared between the threads too, which ops would not do of themselves.
    """
    monkeypatch.setattr(cpu_threads, "GRAIN", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", "reference"])
def backend(request, monkeypatch):
    """Forces each backend of this build that can run here in turn."""
    monkeypatch.setenv("IMPCORE_BACKEND", request.param)
    return request.param
