"""A run directory: made, locked against a second run, and refused if it is something else.

Invariant: whoever holds a `RunDirectory` is its only user. A run that does not get the lock, or
finds a directory that is not a run's, changes nothing in it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from impcore import atomic, lock
from impcore.errors import RunDirectoryError

_LOCK = ".lock"
_SUBDIRECTORIES = {"imp": ("checkpoint", "tickets"), "tasks": ()}
"""What is made at once in the directory of each experiment."""
_AVERAGES = "averages"
_MARKS = {_LOCK, "config.toml", "checkpoint"}
"""Any two of them tell a run's directory: other programs have a .lock too."""
_FIRST = {_LOCK, "checkpoint", "tickets", ".config.toml.tmp"}
"""What there is of a run that was killed as it began."""


class RunDirectory:
    """The claimed directory of one run; a context manager that gives the lock back.

    Without `claim` it only says where things are: for the processes of a run that do not write.

    Raises RunDirectoryError if `path` is not a directory, is not empty and not a run's, holds
    another experiment than `experiment`, is in use by another run, or cannot be made. The lock
    ends with the process (`impcore.lock`).
    """

    def __init__(self, path: Path, experiment: str = "imp", *, claim: bool = True) -> None:
        self.path = path
        self._descriptor: int | None = None
        if claim:
            self._claim(path, experiment)

    def _claim(self, path: Path, experiment: str) -> None:
        try:
            refuse_foreign(path, experiment)
            atomic.make_synced(path)
            self._descriptor = lock.claim(path / _LOCK)
            if self._descriptor is None:
                raise RunDirectoryError(
                    f"run.out: {path} is in use by another run; wait for it, or choose another "
                    "directory with --run.out"
                )
            try:
                self._prepare(_SUBDIRECTORIES[experiment])
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise RunDirectoryError(f"run.out: {path}: {error.strerror}") from error

    def _prepare(self, parts: tuple[str, ...]) -> None:
        for name in parts:
            (self.path / name).mkdir(exist_ok=True)
        for directory in (self.path, *(self.path / name for name in (*parts, _AVERAGES))):
            if directory.exists():
                atomic.remove_temporaries(directory)
        atomic.sync_directory(self.path)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def checkpoints(self) -> Path:
        """Where the two newest complete states are."""
        return self.path / "checkpoint"

    @property
    def config(self) -> Path:
        """The resolved config, every default written out."""
        return self.path / "config.toml"

    @property
    def weights(self) -> Path:
        """What was taken over from `model.path`, and what was left random."""
        return self.path / "weights.json"

    @property
    def rounds(self) -> Path:
        """One JSON row a trained state."""
        return self.path / "rounds.jsonl"

    @property
    def evaluations(self) -> Path:
        """One JSON row an evaluation, with `train.eval_every`."""
        return self.path / "evals.jsonl"

    @property
    def flow(self) -> Path:
        """The flow of M and P over the trained states."""
        return self.path / "flow.npz"

    @property
    def board(self) -> Path:
        """The event files of `run.tensorboard`; not made here."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """What the analysis made of the run."""
        return self.path / "report.html"

    def ticket(self, round_number: int) -> Path:
        """The ticket of the trained state `round_number`."""
        return self.path / "tickets" / f"round_{round_number:02d}.safetensors"

    def average(self, round_number: int) -> Path:
        """The averaged weights of the trained state `round_number`; its directory exists."""
        directory = self.path / _AVERAGES
        atomic.make_directory(directory)
        return directory / f"round_{round_number:02d}.safetensors"


def refuse_foreign(path: Path, experiment: str) -> None:
    """Raise RunDirectoryError if `path` is something else than a directory for this experiment."""
    if path.is_symlink() and not path.exists():
        raise RunDirectoryError(
            f"run.out: {path} is a link to {path.readlink()}, which is not there"
        )
    if not path.exists():
        return
    if not path.is_dir():
        raise RunDirectoryError(f"run.out: {path} is a file; should be a directory, or not exist")
    names = {entry.name for entry in path.iterdir()}
    found = _experiment_in(path / "config.toml")
    begun = _LOCK in names and names <= _FIRST
    known = begun or len(names & _MARKS) >= 2 or found == "tasks"
    if names and not known:
        raise RunDirectoryError(
            f"run.out: {path} is not empty and not a run directory (it holds "
            f"{', '.join(sorted(names)[:3])}); choose another with --run.out"
        )
    if found is not None and found != experiment:
        raise RunDirectoryError(
            f"run.out: {path} holds a run of the experiment {found!r}, not of {experiment!r}; "
            "choose another with --run.out"
        )


def _experiment_in(config: Path) -> str | None:
    """What a resolved config says; None without one, or where it is damaged: it is written anew,
    and what a run goes on from is in its checkpoints.
    """
    try:
        found = tomllib.loads(config.read_text("utf-8"))["run"]["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
