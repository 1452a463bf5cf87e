"""The experiment `imp` around its rounds: claim the directory, resume or start, report.

Invariant: nothing is created before data and model have been made, and nothing in a directory is
changed before it is known that this run may go on in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from impcore import atomic
from impcore.config import Config
from impcore.errors import CheckpointError
from impcore.imp import environment, garbage_collector, lab, records
from impcore.imp.checkpoint import Checkpoints, State
from impcore.imp.distributed import ALONE, World
from impcore.imp.rounds import Rounds
from impcore.imp.run_directory import RunDirectory
from impcore.imp.signals import Stop
from impcore.imp.view import View


def imp(
    config: Config,
    *,
    stop: Stop,
    view: View,
    force_resume: bool,
    world: World = ALONE,
    report_again: bool = True,
) -> None:
    """Run iterative magnitude pruning to its end in `config.run.out`, from wherever that is.

    Of several processes the first one claims and writes that directory. Without `report_again`, the
    report of a run that was finished before is left as it is.

    Raises ConfigError, DataError, RunDirectoryError or CheckpointError before anything is changed,
    and Stopped after saving.
    """
    made = lab.build(config, stop.check_alone, world=world)
    claim = world.is_writer
    with (
        RunDirectory(Path(config.run.out), config.run.experiment, claim=claim) as directory,
        garbage_collector.spared(),
    ):
        checkpoints = Checkpoints(directory.checkpoints, view.warn) if claim else None
        rounds = Rounds(made, directory, checkpoints, stop, view)
        saved = _saved(checkpoints, world)
        if saved is None:
            view.note(f"{directory.path}: {rounds.describe()}")
        else:
            _resume(rounds, saved, made.identity, force_resume, view)
        del saved  # as large as all that a run keeps, and no longer needed
        wanted = True
        if rounds.progress.done:
            there = directory.report.exists()
            wanted = report_again or not there
            still = f"; its report is written{' again' * there}" if wanted else ""
            view.note(f"{directory.path}: this run is finished{still}")
        else:
            if world.is_writer:
                _write_start(made, directory)
            if made.weights is not None:
                view.note(f"model.path: {made.weights.describe()}")
            with view:
                rounds.run(_load_report if world.is_writer else None)
        stop.check()  # all is saved: the same command will write the report
        if wanted and world.is_writer:
            report(directory, view)


def _write_start(made: lab.Lab, directory: RunDirectory) -> None:
    """What is known before the first step."""
    atomic.write(directory.config, made.config.to_toml().encode())
    if made.weights is not None:
        atomic.write(directory.weights, records.pack_weights(asdict(made.weights)))


def _saved(checkpoints: Checkpoints | None, world: World) -> State | None:
    """The newest whole checkpoint, read by the first process and handed to the others."""

    def load() -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
        saved = checkpoints.load() if checkpoints is not None else None
        return None if saved is None else (saved.generation, saved.content, saved.tensors)

    found = world.from_writer(load)
    return None if found is None else State(*found)


def _resume(
    rounds: Rounds, saved: State, identity: Mapping[str, Any], force: bool, view: View
) -> None:
    """Take up `saved`. Raises CheckpointError if going on would not be bit-exact, unless forced.

    Of a finished run only config and given weights must be the same: nothing is computed any more.
    """
    done = saved.content["state"]["progress"]["done"]
    compare = environment.finished_diff if done else environment.diff
    changes = "".join(f"\n  {line}" for line in compare(saved.content["identity"], identity))
    if changes and not force:
        raise CheckpointError(
            f"this run was started under something else (saved -> now):{changes}\n"
            "change it back, choose another --run.out, or resume with --force_resume, which marks "
            'the run "not bit-exact"'
        )
    rounds.state.load(saved)
    progress = rounds.progress
    if done:
        if changes:
            view.warn(f"finished under something else, and left as it is (saved -> now):{changes}")
        return
    if changes:
        view.warn(f'resumed by force, the run is marked "not bit-exact" (saved -> now):{changes}')
        progress.bit_exact = False
    view.note(f"resuming in round {progress.round} at step {progress.step}")


def _load_report() -> None:
    """Import what writes a report, and draws its figures: half a second."""
    with garbage_collector.paused():
        from impcore.rg.report import gallery  # noqa: F401


def report(directory: RunDirectory, view: View) -> None:
    """Write the report of what is in the directory."""
    from impcore.rg.report import write

    with garbage_collector.paused():
        path = write(directory.path)
    view.note(f"report: {path.resolve()}")
