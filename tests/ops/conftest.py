"""Threads and backends as fixtures."""

import os
from contextlib import nullcontext

import pytest
import torch

from impcore.ops.cpu import threads as cpu_threads

from .emulation import cuda_on_host


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


# Triton's kernels run in a process of their own (triton/test_interpreted.py).
BACKENDS = ["triton"] if os.environ.get("TRITON_INTERPRET") else ["cpu", "cuda", "reference"]


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Forces each backend that can run here in turn; CUDA's kernels run by the emulator."""
    monkeypatch.setenv("IMPCORE_BACKEND", request.param)
    with cuda_on_host() if request.param == "cuda" else nullcontext():
        yield request.param
