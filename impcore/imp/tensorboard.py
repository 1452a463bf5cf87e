"""The curves of a run for TensorBoard, beside its JSON lines.

Invariant: the board only repeats what is on the host already, so it changes no bit of a run and
waits for no device; what a killed run wrote beyond its last checkpoint is superseded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from impcore.errors import ConfigError

_PLACES = ("round", "step", "epoch", "epochs", "steps", "total", "seconds")


def check() -> None:
    """Raise ConfigError if the package is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "run.tensorboard = true: needs the package tensorboard (pip install "
            "'impcore[tensorboard]'); should be false without it"
        )


class Board:
    """Event files in a directory; a context manager that closes them.

    Args:
        directory: where to write; None: nothing is written.
        start: the step that the run goes on from, counted over all rounds. What the files hold of
            later ones is hidden from then on.
    """

    def __init__(self, directory: Path | None = None, start: int = 0) -> None:
        self._writer: Any = None
        if directory is not None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second

            self._writer = SummaryWriter(str(directory), purge_step=start + 1)

    def add(self, step: int, row: Mapping[str, Any], prefix: str = "") -> None:
        """Write the numbers of a row at `step`, counted over all rounds; nested ones as a/b."""
        if self._writer is None:
            return
        for name, value in _numbers(row, prefix):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _numbers(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _PLACES:
            yield prefix + name, float(value)
