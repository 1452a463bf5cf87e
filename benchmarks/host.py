"""The CPU as a place: wall time, and floors that are bare loops over the same memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from comparison import Comparison, Floor
from timing import Case, Run, measure, nothing

Item = TypeVar("Item")  # a label, or what has one


class Host:
    """The CPU: wall time, and floors that are bare loops over the same memory."""

    kind = "cpu"
    device = torch.device("cpu")
    backends: Mapping[str, str | None] = {"impcore": None}

    def ours(self, label: str, run: Run, prepare: Run = nothing, **_: Any) -> list[Case]:
        """The cases of one of our own contenders."""
        return [Case(label, run, prepare)]

    # What users run is timed as they run it.
    theirs = ours

    @contextmanager
    def under(self, label: str) -> Iterator[None]:
        """Within the block, ops run on a backend."""
        yield

    def usable(self, items: Sequence[Item], check: Callable[[Item], object]) -> list[Item]:
        """The items; raises what a check raises."""
        for item in items:
            check(item)
        return list(items)

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
        """Times the cases, the first of which is the subject, and the floor in turns with them."""
        turns = [*cases[:1], Case("floor", floor.loop()), *cases[1:]]
        ms = measure(turns, repeats)
        return Comparison(op, dtype, n, density, floor.bytes, "floor", ms, dict(left_out or {}))

    def peak(self, run: Run) -> int | None:
        """Bytes that a run needed at most beyond those before; None where the system cannot say."""
        try:
            # What was freed but kept would be taken again unseen.
            ctypes.CDLL(None).malloc_trim(0)
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
            before = _status("VmRSS")
            run()
            return _status("VmHWM") - before
        except (OSError, AttributeError):  # not Linux, or not glibc
            run()
            return None

    def free(self) -> None:
        """Gives memory back between networks."""
        gc.collect()


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(key))
    return int(line.split()[1]) * 1024
