"""Which backend serves a call. Invariant: never a silent fallback from one to another.

A tensor's device decides; the environment variable IMPCORE_BACKEND forces one by name. `reference`
serves every device by copying to the host, and only ever runs when it is asked for.

A backend is a package beside this module, with one module an op, whose functions have the names and
signatures of the registered ops; those of optimisers' steps take `step_tensors.StepTensors` first.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch

from impcore import _C
from impcore.errors import BackendError

BACKENDS = ("cpu", "cuda", "triton", "reference")
_FORCE = "IMPCORE_BACKEND"
_SERVES = {"cpu": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)}


def backends() -> list[str]:
    """The names of the backends that this build holds, for example ["cpu", "reference"].

    "cuda" if the CUDA kernels were built, "triton" if Triton is installed: neither needs a GPU to
    be listed.
    """
    return list(_built())


@cache
def _built() -> tuple[str, ...]:
    holds = {"cuda": hasattr(_C, "cuda"), "triton": find_spec("triton") is not None}
    return tuple(name for name in BACKENDS if holds.get(name, True))


def forced_backend() -> str | None:
    """The backend that IMPCORE_BACKEND names, or None.

    Raises:
        BackendError: the name is unknown, or this build does not hold that backend.
    """
    name = _C.getenv(_FORCE)
    if not name:
        return None
    if name not in BACKENDS:
        raise BackendError(f"IMPCORE_BACKEND={name!r} is unknown; known are {', '.join(BACKENDS)}")
    if name not in _built():
        raise BackendError(
            f"IMPCORE_BACKEND={name!r} is not in this build, which holds {', '.join(_built())}"
        )
    return name


def find(op: str, device: torch.device) -> ModuleType:
    """The module of an op in the backend that serves tensors on `device`.

    Raises:
        BackendError: the forced backend does not serve the device, or none of this build does.
    """
    name = forced_backend() if _C.getenv(_FORCE) else None
    if name is None:
        return _usual(op, device)
    # Triton's interpreter runs kernels on the host, for tests.
    interpreted = name == "triton" and device.type == "cpu" and os.environ.get("TRITON_INTERPRET")
    if name != "reference" and device.type not in _SERVES[name] and not interpreted:
        raise BackendError(f"IMPCORE_BACKEND={name!r} does not serve {device.type} tensors")
    return _module(name, op)


@cache
def _usual(op: str, device: torch.device) -> ModuleType:
    return _module(_serving(device.type), op)


@cache
def _module(name: str, op: str) -> ModuleType:
    return import_module(f"impcore.ops.{name}.{op}")


def _serving(device: str) -> str:
    for name in _built():
        # PyTorch calls AMD's devices cuda too; CUDA kernels do not run there, Triton's do.
        if device in _SERVES.get(name, ()) and not (name == "cuda" and torch.version.hip):
            return name
    raise BackendError(
        f"no backend of this build serves {device} tensors (built: {', '.join(_built())}); "
        + (
            "install Triton (pip install triton), or build impcore where nvcc is found"
            if device == "cuda"
            else "move the model to the CPU"
        )
    )
