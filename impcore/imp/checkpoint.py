"""The two newest complete states of a run, of which the newest that verifies is resumed from.

Invariant: at every moment after the first save at least one verifiable state is on disk, whatever
is killed or cut. "Newest" is decided by the generation number alone, which is in the file's name
and sealed into the file; clocks play no part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from impcore import atomic
from impcore.errors import CheckpointError, RunDirectoryError
from impcore.imp import sealed

_KIND = "impcore-checkpoint-1"
_NAME = re.compile(r"(\d{12})\.safetensors", re.ASCII)


@dataclass(frozen=True)
class State:
    """A complete state: JSON content, and tensors on the CPU."""

    generation: int
    content: dict[str, Any]
    tensors: dict[str, torch.Tensor]


class Checkpoints:
    """The checkpoints in one directory, which must have one user at a time (the run's lock)."""

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn
        self._good: int | None = None
        self._last = max(self._generations(), default=0)  # packed; _good: written, or loaded

    def pack(
        self, content: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
    ) -> Callable[[], None]:
        """Copy the next generation; returns what writes it, to be called in the order of packing.

        That removes all but the newest two, and raises RunDirectoryError if it cannot: where the
        new one could not be written, the older ones are untouched.
        """
        self._last += 1
        sealing = {**content, "generation": self._last}
        pieces = sealed.pack(_KIND, sealing, tensors, copied=True)
        return partial(self._write, self._last, pieces)

    def _write(self, generation: int, pieces: sealed.Pieces) -> None:
        atomic.write(self._path(generation), pieces)
        try:
            for old in self._generations():
                if old not in (generation, self._good):
                    self._path(old).unlink(missing_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"{self._directory}: an old checkpoint could not be removed ({error.strerror})"
            ) from error
        self._good = generation

    def load(self) -> State | None:
        """The newest state that verifies, after a warning for each newer one that does not.

        None if there is no checkpoint at all. Raises CheckpointError if none of those there is
        whole.
        """
        damages = []
        for generation in sorted(self._generations(), reverse=True):
            path = self._path(generation)
            try:
                content, tensors = sealed.load(_KIND, path)
                if content.pop("generation", None) != generation:
                    raise sealed.SealError("it was saved as another generation, and then renamed")
            except sealed.SealError as error:
                damages.append(f"{path}: {error}")
                continue
            for damage in damages:
                self._warn(f"{damage}; resuming from the checkpoint before it")
            self._good = generation
            return State(generation, content, tensors)
        if damages:
            raise CheckpointError(
                "no checkpoint of this run is whole: "
                + "; ".join(damages)
                + "; remove the run directory to start again"
            )
        return None

    def _path(self, generation: int) -> Path:
        return self._directory / f"{generation:012d}.safetensors"

    def _generations(self) -> list[int]:
        matches = (_NAME.fullmatch(entry.name) for entry in self._directory.iterdir())
        return [int(match[1]) for match in matches if match]
