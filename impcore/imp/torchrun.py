"""What torchrun gives a process: its place in the world, its device, its process group.

Invariant: however a process ends, the others end too, and one of them says why.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

from impcore.errors import ConfigError, DistributedError, ImpcoreError
from impcore.imp.distributed import ALONE, World

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# While process 0 prepares data or saves, the others wait; a process that died is noticed at once.
_TIMEOUT = timedelta(hours=12)
# A process that ended right after its last exchange was aborted by one of Gloo's threads once in
# fifty times ("terminate called without an active exception"); one that ended later, never.
_SETTLE = 0.5
_PATIENCE = 10.0
"""Seconds within which another process tells what all of them have found."""
_CODE = 2
"""The exit code of a ConfigError."""


def speaks() -> bool:
    """Whether this process reports what all processes of its machine find alike."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def told_once() -> Iterator[None]:
    """Within the block all processes of a machine find the same; a ConfigError is raised by one.

    The others raise SystemExit without a word, with the exit code that it leads to.
    """
    try:
        yield
    except (ConfigError, SystemExit) as ended:
        if speaks():
            raise
        code = _CODE if isinstance(ended, ConfigError) else ended.code
        if code and "TORCHELASTIC_RUN_ID" in os.environ:
            # As soon as one process has ended, torchrun ends the others: let that one speak first.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
            time.sleep(_PATIENCE)
        raise SystemExit(code) from None


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The world that torchrun's environment describes, or `ALONE` without one.

    `device` is `run.device`: CUDA takes NCCL, the CPU Gloo. An error in one process ends all: the
    first that has one raises it, the others raise SystemExit without a word.
    """
    if any(name not in os.environ for name in _VARIABLES) or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    # DistributedDataParallel warns of what `parallel` wants; read when PyTorch is first imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store, _, _ = next(rendezvous("env://", rank, size, timeout=_TIMEOUT))
    store.set_timeout(_TIMEOUT)
    world = World(rank, size, int(os.environ.get("LOCAL_RANK", rank)), store)
    cuda = device != "cpu" and torch.cuda.is_available()
    try:
        if cuda:
            _take_device(world)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=_TIMEOUT,
        )
        yield world
    except Exception as error:
        _fail(error, world)
    dist.destroy_process_group()
    time.sleep(_SETTLE)


def _take_device(world: World) -> None:
    import torch

    count = torch.cuda.device_count()
    if world.local_rank is not None and world.local_rank >= count:
        raise ConfigError(
            f"run.device: process {world.local_rank} of this machine has no CUDA device of its "
            f"own, PyTorch sees {count}; start at most --nproc-per-node {count}, or take 'cpu'"
        )
    torch.cuda.set_device(world.local_rank)


def _fail(error: Exception, world: World) -> NoReturn:
    """Raise `error` if no other process announces why all of them end."""
    if not world.claim_announcement():
        raise SystemExit(_CODE if isinstance(error, ConfigError) else 1)
    where = f" (in process {world.rank})" if world.rank else ""
    if isinstance(error, ConfigError):
        raise error
    if isinstance(error, ImpcoreError):
        raise type(error)(f"{error}{where}") from error
    if _is_of_the_network(error):
        raise DistributedError(
            f"another process of this run has ended without a word, so this one stops{where}; run "
            "the same command again to go on from the last checkpoint"
        ) from error
    raise error


def _is_of_the_network(error: Exception) -> bool:
    import torch.distributed as dist

    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "connection" in text)
    )
