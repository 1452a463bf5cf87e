"""Which backend serves a call. Invariant: never a silent fallback from one to another.

A tensor's device decides; the environment variable IMPCORE_BACKEND forces one by name. `reference`
serves every device by copying to the host, and only ever runs when it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from impcore.errors import BackendError

BACKENDS = ("cpu", "cuda", "triton", "reference")
_SERVES = {"cpu": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)}
_BUILT = ("cpu", "reference")


def backends() -> list[str]:
    """The names of the backends that this build holds, for example ["cpu", "reference"]."""
    return list(_BUILT)


def forced_backend() -> str | None:
    """The backend that IMPCORE_BACKEND names, or None.

    Raises:
        BackendError: the name is unknown, or this build does not hold that backend.
    """
    name = os.environ.get("IMPCORE_BACKEND")
    if not name:
        return None
    if name not in BACKENDS:
        raise BackendError(f"IMPCORE_BACKEND={name!r} is unknown; known are {', '.join(BACKENDS)}")
    if name not in _BUILT:
        raise BackendError(
            f"IMPCORE_BACKEND={name!r} is not in this build, which holds {', '.join(_BUILT)}"
        )
    return name


def select(
    implementations: Mapping[str, Callable[..., Any]], device: torch.device
) -> Callable[..., Any]:
    """The implementation of an op for tensors on `device`.

    Raises:
        BackendError: the forced backend does not serve the device, or none of this build does.
    """
    name = forced_backend()
    if name is None:
        for candidate in _BUILT:
            if device.type in _SERVES.get(candidate, ()):
                return implementations[candidate]
        raise BackendError(
            f"no backend of this build serves {device.type} tensors (built: {', '.join(_BUILT)}); "
            "move the model to the CPU, or install a build with kernels for this device"
        )
    if name != "reference" and device.type not in _SERVES[name]:
        raise BackendError(f"IMPCORE_BACKEND={name!r} does not serve {device.type} tensors")
    return implementations[name]
