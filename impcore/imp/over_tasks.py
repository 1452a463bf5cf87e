"""The experiment `tasks`: one pre-training, then the rounds of `imp` for every task and start.

Invariant: every run in it is an ordinary run in a directory of its own, with its own checkpoints
and its own identity, and this module adds only their order. What it does itself (handing on the
pre-trained weights, the joint report) is done again from the runs' files whenever it is cut short.

    runs/NAME/pretrain/                 a run without a prune
    runs/NAME/pretrained.safetensors    the weights it ended with: model.path of init "pretrained"
    runs/NAME/pretrained/               the same with a config.json, of a BERT without sizes
    runs/NAME/INIT-TASK/                a run of every task from every initialisation
    runs/NAME/report.html, *.csv        all of them side by side
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from impcore import atomic, models
from impcore.config import Config
from impcore.config.sub_runs import FOLDER, PRETRAIN, WEIGHTS, needs_folder
from impcore.errors import CheckpointError, ConfigError, DataError
from impcore.imp import lab, sealed, tree
from impcore.imp.checkpoint import Checkpoints
from impcore.imp.distributed import ALONE, World
from impcore.imp.experiment import imp, report
from impcore.imp.run_directory import RunDirectory
from impcore.imp.signals import Stop
from impcore.imp.view import View

_KIND = "impcore-weights-1"


def tasks(
    config: Config, *, stop: Stop, view: View, force_resume: bool, world: World = ALONE
) -> None:
    """Run every run of `config.tasks` to its end, from wherever it is, and report on all of them.

    Raises ConfigError, DataError, RunDirectoryError or CheckpointError before anything is changed,
    and Stopped after saving.
    """
    runs = config.sub_runs()
    steps = {name: _steps(name, run.stand_in(config), stop, world) for name, run in runs.items()}
    claim = world.is_writer
    with RunDirectory(Path(config.run.out), config.run.experiment, claim=claim) as directory:
        if not force_resume:
            _refuse_changes(runs)
        if world.is_writer:
            atomic.write(directory.config, config.to_toml().encode())
        left = {name: 0 if _finished(run) else steps[name] for name, run in runs.items()}
        for number, (name, run) in enumerate(runs.items(), start=1):
            stop.check()
            left.pop(name)
            view.part(f"{number}/{len(runs)} {name}", sum(left.values()))
            imp(
                run,
                stop=stop,
                view=view,
                force_resume=force_resume,
                world=world,
                report_again=False,
            )
            if name == PRETRAIN and world.is_writer:
                _hand_on(run, Path(config.run.out), view)
            world.barrier()
        stop.check()
        if world.is_writer:
            report(directory, view)


def _steps(name: str, run: Config, stop: Stop, world: World) -> int:
    """The training steps of a whole run: its data and model are made, and what is wrong raised."""
    try:
        made = lab.build(run, stop.check_alone, world=world)
    except (ConfigError, DataError) as error:
        raise type(error)(f"in run {name!r}: {error}") from error
    spans = (made.span(number) for number in range(len(made.counts)))
    return sum(end - start for start, end in spans)


def _refuse_changes(runs: Mapping[str, Config]) -> None:
    """Raise CheckpointError if a run that has been started is not the one that is now meant.

    A run's own checkpoint is checked when its turn comes; this looks at all before any goes on.
    """
    changes = []
    for name, run in runs.items():
        path = Path(run.run.out) / "config.toml"
        if path.exists():
            try:
                saved = Config.from_dict(tomllib.loads(path.read_text("utf-8")))
            except (OSError, ValueError, ConfigError) as error:
                raise CheckpointError(f"{path}: not a config of this version: {error}") from error
            changes += [f"\n  {name}: {line}" for line in saved.diff(run)]
    if changes:
        raise CheckpointError(
            f"runs of this experiment were started under something else (saved -> now):"
            f"{''.join(changes)}\nchange it back, choose another --run.out, or remove those runs' "
            'directories; --force_resume goes on all the same and marks them "not bit-exact"'
        )


def _finished(run: Config) -> bool:
    """Whether all rounds of a run are behind it; only the time that is left depends on this."""
    rounds = Path(run.run.out) / "rounds.jsonl"
    return rounds.exists() and rounds.read_bytes().count(b"\n") > run.prune.rounds


def _hand_on(pretraining: Config, out: Path, view: View) -> None:
    """Write the weights that the pre-training ended with, from its newest checkpoint, into `out`.

    With `train.ema` they are the average, which its scores are of. They are written every time:
    the same checkpoint gives the same bytes, and damage is healed.
    """
    directory = Path(pretraining.run.out)
    saved = Checkpoints(directory / "checkpoint", view.warn).load()
    if saved is None:
        raise CheckpointError(f"{directory}: holds no checkpoint; remove it to start again")
    state = tree.join(saved.content["state"], saved.tensors)
    average = state["learner"]["average"]
    provenance = {
        "config": pretraining.fingerprint(),
        "arch": pretraining.model.arch,
        "data": pretraining.data.name,
        "code": saved.content["identity"]["code"],
    }
    tensors = state["model"] if average is None else average["state"]
    sealed_weights = sealed.pack(_KIND, {"provenance": provenance}, tensors)
    if not needs_folder(pretraining.model.model_dump()):
        atomic.write(out / WEIGHTS, sealed_weights)
        return
    assert pretraining.model.path is not None
    atomic.make_directory(out / FOLDER)
    said = models.config_of_text(pretraining.model.arch, pretraining.model.path)
    atomic.write(out / FOLDER / "config.json", said.encode())
    atomic.write(out / FOLDER / "model.safetensors", sealed_weights)
