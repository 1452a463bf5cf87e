"""Which examples a training batch holds, and the one generator of all that is random in an epoch.

Invariant: the order is a function of (seed, epoch) and the number of examples, drawn on the CPU,
whose generator gives the same numbers beside every device.
"""

from __future__ import annotations

import hashlib

import torch

from impcore.data.share import WHOLE, Share


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's random choices, at its start; its order is drawn first."""
    return keyed_generator(f"impcore batches {seed} {epoch}")


def keyed_generator(key: str) -> torch.Generator:
    """A CPU generator whose state is a function of `key`."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def batch_starts(
    count: int, batch_size: int, drop_last: bool = False, share: Share = WHOLE
) -> list[int]:
    """Return where each batch begins in the order, and where the last one ends.

    A remainder of one example a rank joins the batch before it, because BatchNorm cannot train on a
    single value; `drop_last` drops any remainder instead.
    """
    starts = list(range(0, count, batch_size))
    rest = count - starts[-1]
    if drop_last and rest < batch_size:
        return starts
    if rest < min(2 * share.ranks, batch_size) and batch_size < count:
        starts.pop()
    return [*starts, count]
