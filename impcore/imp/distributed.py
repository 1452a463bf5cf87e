"""The processes of one run, as torchrun starts them: who they are and what they must agree on.

Invariant: every process takes the same steps, with the same weights under the same masks; the
first one alone writes and speaks. Without torchrun there is one process and no process group, and
everything here is the identity.

`train.batch_size` stays the size of a whole batch: each process takes its share, and
DistributedDataParallel averages the gradients. BatchNorm normalises every share by itself; its
running statistics are those of process 0, handed to the others before each step. The bits of a run
depend on the number of processes, so that is a part of its identity.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from impcore.errors import DistributedError, InvariantError
from impcore.imp.signals import Stop, Stopped

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import Store, Work

_KIND = "impcore-message-1"
_PASSED_ON = 3.0
"""Seconds within which torchrun passes on a signal.

Whoever ends a job may signal all of its processes, torchrun among them, which passes on what it
gets: a signal soon after the first is that one again, and no second request.
"""


@dataclass(frozen=True)
class World:
    """The processes of this run: `size` of them, of which this one is number `rank`.

    All methods but `seed`, `stop` and `claim_announcement` wait for the other processes, which must
    call them too.
    """

    rank: int = 0
    size: int = 1
    local_rank: int | None = None
    """Which of the machine's devices this process uses; None without torchrun."""
    store: Store | None = field(default=None, repr=False, compare=False)

    @property
    def is_writer(self) -> bool:
        """Whether this process writes the run directory, and shows progress."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed for what must differ between the processes (dropout); `seed` itself for the first.

        Returns an integer of 0 to 2^32 - 1.
        """
        if self.rank == 0:
            return seed
        digest = hashlib.sha256(f"impcore process {self.rank} {seed}".encode()).digest()
        return int.from_bytes(digest[:4], "little")

    def gather(self, state: object) -> list[Any]:
        """What each process gave, in order: trees as `impcore.imp.tree` takes them."""
        if self.size == 1:
            return [state]
        import torch
        import torch.distributed as dist

        data = _packed(state)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(data)]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(data)] = data
        received = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(received, padded)
        return [_unpacked(r[: int(n)]) for r, n in zip(received, sizes, strict=True)]

    def from_writer(self, make: Callable[[], Any]) -> Any:
        """What `make` returns on process 0, which alone calls it: a tree, as in `gather`."""
        if self.size == 1:
            return make()
        import torch
        import torch.distributed as dist

        made = make() if self.is_writer else None
        data = _packed(made)
        length = torch.tensor([len(data)])
        dist.broadcast(length, 0)
        if not self.is_writer:
            data = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(data, 0)
        return made if self.is_writer else _unpacked(data)

    def all_agree(self, what: str, value: Callable[[], str]) -> None:
        """Raise InvariantError, naming processes and values, unless `value()` is the same in all.

        One process alone does not compute it.
        """
        if self.size == 1:
            return
        found = self.gather(value())
        if len(set(found)) > 1:
            raise InvariantError(
                f"the processes of this run no longer have the same {what}: "
                + ", ".join(f"process {rank}: {value}" for rank, value in enumerate(found))
                + "; the last checkpoint is from before that"
            )

    def all_like(self, identity: Mapping[str, Any], diff: Callable[..., list[str]]) -> None:
        """Raise DistributedError unless all processes have `identity`; `diff` says how not."""
        first, *others = self.gather(dict(identity))
        for rank, other in enumerate(others, start=1):
            changes = "".join(f"\n  {line}" for line in diff(first, other))
            if changes:
                raise DistributedError(
                    f"the processes of a run must be alike (process 0 -> process {rank}):{changes}"
                )

    def parallel(self, model: nn.Module) -> nn.Module:
        """`model`, or DistributedDataParallel around it: to be called in training."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        device = next(model.parameters()).device
        # Otherwise the gradients are packed anew, in the order of their arrival, after a first
        # step: a run just resumed would then add up those of three or more processes in another
        # order than one that never stopped.
        return DistributedDataParallel(
            model,
            device_ids=None if device.type == "cpu" else [device],
            find_unused_parameters=True,
        )

    def send_buffers(self, model: nn.Module) -> None:
        """Give the buffers of `model` (BatchNorm's statistics) the values of process 0."""
        if self.size == 1:
            return
        import torch.distributed as dist

        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.gather(None)

    def stop(self) -> Stop:
        """A fresh `Stop`, on which all processes agree."""
        if self.size > 1:
            return AgreedStop(self)
        return Stop(_PASSED_ON if "TORCHELASTIC_RUN_ID" in os.environ else 0.0)

    def claim_announcement(self) -> bool:
        """Whether this process, the first to call this, announces why all of them end."""
        import torch.distributed as dist

        if self.store is None:
            return True
        # A restart by torchrun has the same store.
        key = f"impcore/told/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        try:
            return self.store.add(key, 1) == 1
        except dist.DistError:  # process 0 kept the store, and has ended
            return True


ALONE = World()


def apart(model: nn.Module) -> AbstractContextManager[object]:
    """Within the block, what `World.parallel` returned adds up gradients without averaging them."""
    from torch.nn.parallel import DistributedDataParallel

    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


class AgreedStop(Stop):
    """A `Stop` that takes effect in all processes at the same call, whichever got the signal.

    `pending` and `check` must be called in the same order by all. `pending` launches an exchange of
    one number and looks at that of the call before, which every process has sent by then: it costs
    no wait of its own and takes effect one call later. `check` waits for the exchange.
    """

    def __init__(self, world: World) -> None:
        super().__init__(_PASSED_ON)
        self._world = world
        self._flag: Tensor | None = None
        self._work: Work | None = None

    def _take(self, signum: int) -> None:
        """Nothing: the next exchange tells all processes of it."""

    def pending(self) -> bool:
        """Whether any process had been asked to stop by the last call."""
        if self.signum is not None:
            return True
        import torch
        import torch.distributed as dist

        if self._work is not None and self._flag is not None:
            self._work.wait()
            self.signum = int(self._flag) or None
        if self.signum is None:
            self._flag = torch.tensor(self.requested or 0)
            self._work = dist.all_reduce(self._flag, dist.ReduceOp.MAX, async_op=True)
        return self.signum is not None

    def check(self) -> None:
        """Raise Stopped if any process has been asked to stop by now."""
        if not self.pending():
            self.pending()
        super().check()

    def check_alone(self) -> None:
        """Raise Stopped if this process has been asked to stop; the others then end silently."""
        if self.requested is not None:
            self._world.claim_announcement()
            raise Stopped(self.requested)


def _packed(state: object) -> Tensor:
    import torch

    from impcore.imp import sealed, tree

    content, tensors = tree.split(state, "state")
    pieces = sealed.pack(_KIND, {"state": content}, tensors)
    return torch.frombuffer(bytearray().join(pieces), dtype=torch.uint8)


def _unpacked(data: Tensor) -> Any:
    from impcore.imp import sealed, tree

    content, tensors = sealed.unpack(_KIND, data.numpy().tobytes())
    return tree.join(content["state"], tensors)
