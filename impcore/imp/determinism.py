"""Everything random or order-dependent in a run, tied to `run.seed`.

Invariant: within `deterministic()` the same state and the same seed give the same bits, on the
same machine and library versions; `capture` and `restore` carry every generator over a stop.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_FILL = "fill_uninitialized_memory"


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Deterministic algorithms and `threads` CPU threads (0: as they are) within the block."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    old = (
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark,
        getattr(torch.utils.deterministic, _FILL),
        torch.get_num_threads(),
    )
    # use_deterministic_algorithms would do the same, and import the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    # Filling every torch.empty with NaN finds bugs but costs a write per tensor; nothing here
    # reads memory that it has not written.
    setattr(torch.utils.deterministic, _FILL, False)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(old[0])
        torch.backends.cudnn.benchmark = old[1]
        setattr(torch.utils.deterministic, _FILL, old[2])
        torch.set_num_threads(old[3])


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators (of the CPU and all CUDA devices)."""
    random.seed(seed)
    np.random.seed(seed)
    # As torch.manual_seed does, which takes a millisecond to note its caller for absent devices.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def capture(device: torch.device) -> dict[str, Any]:
    """The state of every global generator, as a tree of tensors and JSON values."""
    numpy = np.random.get_state(legacy=False)
    key = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": key}},
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `capture` returned; a CUDA state is used only on CUDA."""
    numpy = state["numpy"]
    key = numpy["state"]["key"].numpy().astype(np.uint32)
    random.setstate(state["python"])
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
