"""Python's garbage collector during a run, spared what is not garbage.

A full collection looks through every object of every loaded module: with PyTorch a fourteenth of a
second, for nothing. Invariant: what a training makes is collected as ever, and after the run
everything is.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def spared() -> Iterator[None]:
    """Within the block, collections leave out what exists at its beginning."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def paused() -> Iterator[None]:
    """Within the block, nothing is collected: for what makes much, and keeps it to its end."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
