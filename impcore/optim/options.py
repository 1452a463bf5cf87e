"""Options of an optimiser's groups: numbers that are checked, and that kernels read on the device.

Invariant: a value that changes from step to step, such as a learning rate, is never read back to
the host, and costs no new tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from contextlib import suppress
from typing import Any, NamedTuple, SupportsFloat

import torch
from torch import Tensor
from torch.compiler import is_compiling

_NUMBERS = frozenset({float, int})
_NUMERIC = frozenset({"lr", "momentum", "dampening", "weight_decay", "betas", "eps"})


class _Kept(NamedTuple):
    """Options of a group that are numbers, and a scalar on a device for each."""

    values: dict[str, float]
    scalars: dict[str, Tensor]


def _nothing() -> _Kept:
    return _Kept({}, {})


class Scalars:
    """Options as scalars on the device, kept from step to step."""

    def __init__(self) -> None:
        self._kept = defaultdict[tuple[int, torch.device], _Kept](_nothing)

    def of(
        self, group: dict[str, Any], device: torch.device, **values: float | Tensor
    ) -> list[Tensor]:
        """A group's values as scalars on the device: the user's own tensors, or kept for an option.

        Raises:
            TypeError: a value is no number. ValueError: a tensor of more or less than one element,
                which kernels would not see.
        """
        if is_compiling():
            kept = _nothing()
        else:
            kept = self._kept[id(group), device]
            # Tensors are not compared: that would read them back.
            if _NUMBERS.issuperset(map(type, values.values())) and kept.values == values:
                return [kept.scalars[option] for option in values]
        return [_scalar(kept, option, value, device) for option, value in values.items()]


def _scalar(kept: _Kept, option: str, value: float | Tensor, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        _check_single(option, value)
        dtype = torch.float32 if value.dtype == torch.float32 else torch.float64
        return value.detach().to(device, dtype, non_blocking=True)
    number = value if is_compiling() else _number(option, value)
    if option not in kept.scalars:
        kept.scalars[option] = torch.full((), number, dtype=torch.float64, device=device)
    elif kept.values[option] != number:
        kept.scalars[option].fill_(number)
    kept.values[option] = number
    return kept.scalars[option]


def check_number(name: str, value: float | Tensor, below: float | None = None) -> None:
    """Raises ValueError unless it is one number >= 0, and smaller than `below`."""
    if isinstance(value, Tensor):
        _check_single(name, value)
    if not value >= 0 or (below is not None and not value < below):
        limit = "" if below is None else f" and below {below}"
        raise ValueError(f"{name} is {value}; it must be at least 0{limit}")


def check_numbers(group: dict[str, Any], options: Container[str]) -> None:
    """Raises unless the options of a group that should be numbers still are.

    What else a group holds is its owner's.

    Raises:
        TypeError: one has become something else. ValueError: a tensor of several elements, or more
            or less than two betas.
    """
    for name, value in group.items():
        if name not in _NUMERIC or name not in options:
            continue
        if name == "betas":
            for i, beta in enumerate(two_of(value)):
                _check_kind(f"betas[{i}]", beta)
        else:
            _check_kind(name, value)


def two_of(betas: Any) -> Any:
    """The betas themselves; raises ValueError unless there are two."""
    if not hasattr(betas, "__len__") or len(betas) != 2:
        raise ValueError(f"betas are {betas!r}; they must be two numbers or two tensors")
    return betas


def _check_kind(name: str, value: object) -> None:
    if type(value) in _NUMBERS:
        return
    if isinstance(value, Tensor):
        _check_single(name, value)
    elif not is_compiling():  # which makes arrays of NumPy's numbers
        _number(name, value)


def _number(name: str, value: object) -> float:
    """What torch's optimisers take for a number: a string is none, an array of one element is."""
    if isinstance(value, SupportsFloat):
        with suppress(TypeError):
            return float(value)
    raise TypeError(f"{name} is {value!r}; it must be a number or a tensor of one element")


def _check_single(name: str, value: Tensor) -> None:
    if value.numel() != 1:
        raise ValueError(f"{name} has shape {tuple(value.shape)}; it must be one element")
