"""Options of an optimiser's groups: numbers that are checked, and that kernels read on the device.

Invariant: a value that changes from step to step, such as a learning rate, is never read back to
the host, and costs no new tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Scalars:
    """Options as scalars on the device, kept from step to step."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str, torch.device], tuple[float, Tensor]] = {}

    def of(self, group: dict[str, Any], option: str, value: Any, device: torch.device) -> Tensor:
        """A value as a scalar on the device: the user's own tensor, or one kept for the option.

        Raises:
            ValueError: a tensor of more or less than one element, which kernels would not see.
        """
        if isinstance(value, Tensor):
            _check_single(option, value)
            dtype = torch.float32 if value.dtype == torch.float32 else torch.float64
            return value.detach().to(device, dtype, non_blocking=True)
        if torch.compiler.is_compiling():
            return torch.full((), value, dtype=torch.float64, device=device)
        key = (id(group), option, device)
        if key not in self._kept:
            scalar = torch.full((), value, dtype=torch.float64, device=device)
            self._kept[key] = (value, scalar)
        known, scalar = self._kept[key]
        if known != value:
            self._kept[key] = (value, scalar.fill_(value))
        return scalar


def check_number(name: str, value: float | Tensor, below: float | None = None) -> None:
    """Raises ValueError unless it is one number >= 0, and smaller than `below`."""
    if isinstance(value, Tensor):
        _check_single(name, value)
    if not value >= 0 or (below is not None and not value < below):
        limit = "" if below is None else f" and below {below}"
        raise ValueError(f"{name} is {value}; it must be at least 0{limit}")


def check_tensors(group: dict[str, Any]) -> None:
    """Raises ValueError for an option of a group that has become a tensor of several elements."""
    for name, value in group.items():
        for each in value if name == "betas" else (value,):
            if isinstance(each, Tensor):
                _check_single(name, each)


def _check_single(name: str, value: Tensor) -> None:
    if value.numel() != 1:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be one element")
