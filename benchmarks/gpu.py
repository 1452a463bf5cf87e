"""A GPU as a place: what is asked of it, without what only a GPU can run (`cuda_device`)."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from comparison import Comparison, Floor, WrongError
from timing import Case, Clock, Run, measure, nothing, reason

Item = TypeVar("Item")  # a label, or what has one


class Device(Protocol):
    """What a GPU must do for its benchmarks: the part that only a GPU can run (`cuda_device`)."""

    device: torch.device
    clock: Clock

    def capture(self, run: Run) -> Run:
        """A replay of what a run launches."""
        ...

    def rates(self) -> tuple[list[Case], dict[str, float]]:
        """Bare copies and reads as cases ("copy", "read: ..."), and the bytes that each moves."""
        ...

    def peak(self, run: Run) -> int | None:
        """Bytes of device memory that a run needed at most beyond those before."""
        ...

    def free(self) -> None:
        """Gives cached memory back."""
        ...


class CaptureError(Exception):
    """A contender that cannot be captured in a graph."""


def _refuse(why: str) -> Run:
    """A run that says why there is none."""

    def run() -> None:
        raise CaptureError(why)

    return run


@dataclass
class Gpu:
    """A GPU: every backend in the same turns, as a replayed graph and eagerly.

    "graph" is the device's own time: a replay waits in the queue, behind the work that empties the
    L2 cache. "eager" begins on an idle device and so holds Python and launches: what a caller waits
    for. The floor is an op's bytes at the rate of a large copy, or read, of the same turns.

    Attributes:
        backends: label to the backend that IMPCORE_BACKEND names.
        missing: labels that this build cannot serve, and why.
        seconds: of a comparison at most, once each case has a few samples.
    """

    gpu: Device
    backends: Mapping[str, str | None]
    missing: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 20.0
    kind = "cuda"
    _broken: dict[str, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where tensors are made."""
        return self.gpu.device

    def ours(
        self, label: str, run: Run, prepare: Run = nothing, *, eager: Run | None = None
    ) -> list[Case]:
        """A backend's contender, replayed and eager (`eager`, if that is another function)."""

        def on_backend(function: Run) -> Run:
            def call() -> None:
                with self.under(label):
                    function()

            return call

        return self._both(label, on_backend(run), prepare, on_backend(eager or run))

    def theirs(self, name: str, run: Run, prepare: Run = nothing, **_: Any) -> list[Case]:
        """An opponent that can be captured, replayed and eager."""
        return self._both(name, run, prepare, run)

    def _both(self, name: str, run: Run, prepare: Run, eager: Run) -> list[Case]:
        try:
            prepare()
            replay = self.gpu.capture(run)
            prepare()
        except Exception as error:
            replay = _refuse(reason(error))
        return [
            Case(f"{name}, graph", replay, prepare, queued=True),
            Case(f"{name}, eager", eager, prepare),
        ]

    @contextmanager
    def under(self, label: str) -> Iterator[None]:
        """Within the block, ops run on a backend."""
        before = os.environ.get("IMPCORE_BACKEND")
        os.environ["IMPCORE_BACKEND"] = self.backends.get(label) or ""
        try:
            yield
        finally:
            os.environ["IMPCORE_BACKEND"] = before or ""

    def usable(self, items: Sequence[Item], check: Callable[[Item], object]) -> list[Item]:
        """The items whose backend passes a check; the others are left out, with the reason.

        Raises:
            WrongError: there is none.
        """
        self._broken = {}
        found = []
        for item in items:
            try:
                check(item)
                found.append(item)
            except Exception as error:
                self._broken[getattr(item, "label", str(item))] = reason(error)
        if not found:
            raise WrongError(f"no backend is right: {self._broken}")
        return found

    def compare(
        self,
        op: str,
        n: int,
        density: float,
        cases: Sequence[Case],
        floor: Floor,
        repeats: int,
        dtype: str = "float32",
        left_out: Mapping[str, str] | None = None,
    ) -> Comparison:
        """Times the cases, a large copy and a large read in turns.

        Whatever fails is left out, with its reason; the rest goes on.
        """
        failed: dict[str, str] = {}
        bare, moved = self.gpu.rates()
        found = measure(
            [*cases, *bare], repeats, self.gpu.clock, seconds=self.seconds, failed=failed
        )
        rates: dict[str, float] = {}
        for name in [name for name in moved if name in found]:
            kind = name.partition(":")[0]
            rates[kind] = max(rates.get(kind, 0.0), moved[name] / found.pop(name) * 1e3)
        name = f"{floor.rate} rate"
        ms = dict(list(found.items())[:1])
        if floor.rate in rates:
            ms[name] = floor.bytes / rates[floor.rate] * 1e3
        ms |= found
        absent = {f"{k}, graph": why for k, why in {**self.missing, **self._broken}.items()}
        gone = {**absent, **failed, **(left_out or {})}
        return Comparison(op, dtype, n, density, floor.bytes, name, ms, gone, rates)

    def peak(self, run: Run) -> int | None:
        """Bytes of device memory that a run needed at most beyond those before."""
        return self.gpu.peak(run)

    def free(self) -> None:
        """Gives memory back between networks."""
        gc.collect()
        self.gpu.free()
