"""Contenders in processes of their own: what one sets for its whole process is not another's gain.

Invariant: one of them works at a time; the others wait for a message.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Self


class Apart:
    """A contender in a process of its own: `kind(work)`, with methods train and prune."""

    def __init__(self, kind: type[Any], work: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, kind, work), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.close()
        self._process.join()

    def train(self) -> None:
        """One epoch."""
        self._call("train")

    def prune(self) -> None:
        """Measures M, prunes 20 %, rewinds."""
        self._call("prune")

    def _call(self, name: str) -> None:
        self._pipe.send(name)
        self._pipe.recv()


def _serve(pipe: Connection, kind: type[Any], work: object) -> None:
    contender = kind(work)
    pipe.send(None)
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        getattr(contender, name)()
        pipe.send(None)
