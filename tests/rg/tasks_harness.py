"""A synthetic experiment over tasks, whose σ are known: two tasks from two initialisations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from impcore import rg
from impcore.rg.report import grid
from impcore.rg.report.subject import Options, subject

from .report.test_joint import make

SLOPES = {
    ("random", "a"): [0.3, 0.1, -0.2],
    ("random", "b"): [0.2, -0.1, -0.1],
    ("pretrained", "a"): [0.25, 0.1, -0.15],
    ("pretrained", "b"): [0.25, 0.1, -0.15],
}
STATES = 5  # too few for fits of eq. 15, which take their time
NAMES = ("stage1", "stage2", "stage3")
CONFIG = """\
[run]
experiment = "tasks"
name = {name}

[tasks]
about = {about}

[tasks.pretrain.data]
name = "big"

[tasks.init.random]

[tasks.init.pretrained]

[tasks.task.a]

[tasks.task.b]
"""


def experiment(path: Path, *, name: str = "some tasks", about: str = "A stand-in.") -> Path:
    path.mkdir(parents=True)
    for number, ((init, task), slopes) in enumerate(SLOPES.items()):
        out = make(path / f"{init}-{task}", slopes, names=NAMES, seed=number, states=STATES)
        if init == "pretrained":
            taken: dict[str, Any] = {"path": "x", "taken": ["w"] * 5, "left": ["fc.weight"]}
            (out / "weights.json").write_text(json.dumps(taken))
    make(path / "pretrain", [0.0] * 3, names=NAMES, states=1, data="big")
    config = CONFIG.format(name=json.dumps(name), about=json.dumps(about))
    (path / "config.toml").write_text(config)
    return path


def made(path: Path) -> grid.Grid:
    """The experiment in `path`, analysed."""
    found = rg.load_tasks(path)
    options = Options()
    subjects = {key: subject(run, options, label="-".join(key)) for key, run in found.runs.items()}
    return grid.Grid(found, subjects)
