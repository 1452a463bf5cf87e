"""Read the directory of the experiment "tasks": its runs, by initialisation and task.

Invariant: config.toml alone says which runs there are; a run that has not measured anything yet is
named as missing, and one whose files are damaged is a RunDirectoryError, as it is by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impcore.errors import RunDirectoryError
from impcore.rg.run import CONFIG, FLOW, Run, load, read_config

PRETRAIN, WEIGHTS = "pretrain", "weights.json"


@dataclass(frozen=True, eq=False)
class Tasks:
    """The runs of one model on several tasks, from several initialisations."""

    path: Path
    name: str
    about: str
    config_text: str
    inits: tuple[str, ...]
    tasks: tuple[str, ...]
    runs: Mapping[tuple[str, str], Run]  # (init, task) -> run, initialisation by initialisation
    pretraining: Run | None
    missing: tuple[str, ...]  # names of runs that have measured nothing yet

    def weights(self, init: str, task: str) -> Mapping[str, Any]:
        """What a run took over from its given weights: taken, left; {} if it had none.

        Raises:
            RunDirectoryError: its weights.json is no such record.
        """
        path = self.runs[init, task].path / WEIGHTS
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text("utf-8"))
            return {key: [str(name) for name in found[key]] for key in ("taken", "left")}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunDirectoryError(f"{path}: not a record of weights: {error}") from error


def is_tasks(path: Path) -> bool:
    """Whether the directory `path` holds the experiment "tasks", by its config.toml."""
    try:
        run = read_config(path / CONFIG)[1].get("run")
    except RunDirectoryError:
        return False  # whoever reads it as a run says what is wrong with it
    return isinstance(run, dict) and run.get("experiment") == "tasks"


def load_tasks(path: Path | str) -> Tasks:
    """Read the directory of an experiment.

    Raises:
        RunDirectoryError: config.toml does not say which runs there are, or a run is damaged.
    """
    directory = Path(path)
    text, config = read_config(directory / CONFIG)
    try:
        table = config["tasks"]
        inits, tasks = tuple(table["init"]), tuple(table["task"])
        about, name = str(table.get("about", "")), str(config["run"]["name"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunDirectoryError(f"{directory / CONFIG}: its [tasks] lacks {error}") from error
    places = {(init, task): directory / f"{init}-{task}" for init in inits for task in tasks}
    for place in places.values():
        if place.parent != directory or "\0" in place.name:
            raise RunDirectoryError(
                f"{directory / CONFIG}: {place.name!r} is not the name of a run"
            )
    pretraining = directory / PRETRAIN
    expected = [*([pretraining] if "pretrain" in table else []), *places.values()]
    return Tasks(
        path=directory,
        name=name,
        about=about,
        config_text=text,
        inits=inits,
        tasks=tasks,
        runs={key: load(place) for key, place in places.items() if (place / FLOW).exists()},
        pretraining=load(pretraining) if (pretraining / FLOW).exists() else None,
        missing=tuple(place.name for place in expected if not (place / FLOW).exists()),
    )
