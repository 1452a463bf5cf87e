"""The CUDA backend on CPU tensors: its kernels run by the emulator of tests/csrc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch

from csrc import emulated
from impcore import _C
from impcore.ops import backend
from impcore.ops.cuda import launch


@contextmanager
def cuda_on_host(seed: int = 0) -> Iterator[ModuleType]:
    """Makes IMPCORE_BACKEND=cuda serve CPU tensors; the seed shuffles threads and blocks."""
    module = emulated.load(emulated.build())
    module.seed(seed)

    @contextmanager
    def on(device: torch.device) -> Iterator[int]:
        assert device.type == "cpu"
        yield 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMPCORE_BACKEND", "cuda")
        patch.setattr(_C, "cuda", module, raising=False)
        patch.setattr(backend, "_built", lambda: ("cpu", "cuda", "reference"))
        patch.setitem(backend._SERVES, "cuda", ("cpu",))
        patch.setattr(launch, "on", on)
        patch.setattr(launch, "capturing", lambda: False)
        yield module
