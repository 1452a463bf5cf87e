"""Which examples a training batch holds, and the one generator of all that is random in an epoch.

Invariant: the order is a function of (seed, epoch) and the number of examples, drawn on the CPU,
whose generator gives the same numbers beside every device.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's random choices, at its start; its order is drawn first."""
    return keyed_generator(f"impcore batches {seed} {epoch}")


def keyed_generator(key: str) -> torch.Generator:
    """A CPU generator whose state is a function of `key`."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def batch_starts(count: int, batch_size: int, drop_last: bool = False) -> list[int]:
    """Return where each batch begins in the order, and where the last one ends.

    A remainder of one example joins the batch before it, because BatchNorm cannot train on a single
    value; `drop_last` drops any remainder instead.
    """
    starts = list(range(0, count, batch_size))
    rest = count - starts[-1]
    if drop_last and rest < batch_size:
        return starts
    if rest == 1 and 1 < batch_size < count:
        starts.pop()
    return [*starts, count]


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """`drawn` on `device`, without waiting for the copy."""
    if device.type == "cuda":
        return drawn.pin_memory().to(device, non_blocking=True)
    return drawn.to(device)


def check_int(field: str, value: object, least: int | None) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    right = isinstance(value, int) and not isinstance(value, bool)
    if not right or (least is not None and value < least):  # type: ignore[operator]
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{field}: {value!r} is not an integer{bound}")


def check_place(epoch: int, start_step: int, steps: int) -> None:
    """Raise ValueError unless an epoch of `steps` steps can be taken up at `start_step`."""
    check_int("epoch", epoch, 0)
    check_int("start_step", start_step, 0)
    if start_step > steps:
        raise ValueError(f"start_step: {start_step} is beyond the {steps} steps of an epoch")
