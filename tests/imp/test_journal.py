from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from impcore.config import Config
from impcore.errors import NonFiniteError
from impcore.imp import lab
from impcore.imp.files import Files
from impcore.imp.journal import Journal
from impcore.imp.run_directory import RunDirectory
from impcore.imp.run_state import RunState
from impcore.imp.view import View

MakeConfig = Callable[..., Config]


def journal(config: Config) -> Journal:
    state = RunState(lab.build(config))
    return Journal(state, RunDirectory(Path(config.run.out), "imp"), Files(), View(quiet=True))


def losses(found: Journal, first: int, values: list[float]) -> float:
    for step, value in enumerate(values, start=first):
        found.step(step, torch.tensor(value))
    return found._train_loss()


def test_the_loss_is_the_mean_of_the_epoch(make_config: MakeConfig) -> None:
    found = journal(make_config(train__length="3ep", train__milestones=None))
    per_epoch = found._lab.steps.steps_per_epoch
    found.begin(0)
    assert losses(found, 1, [3.0, 5.0]) == 4
    assert losses(found, 3, [1.0] * (per_epoch - 2) + [7.0]) == 7
    found.begin(1)
    assert found.progress.step == 2
    assert losses(found, 3, [2.0, 4.0]) == 3


def test_nan_stops_at_the_end_of_the_epoch(make_config: MakeConfig) -> None:
    found = journal(make_config())
    found.begin(0)
    losses(found, 1, [1.0, float("nan"), 1.0, 1.0, 1.0])
    with pytest.raises(NonFiniteError, match=r"round 0 became NaN before step 6"):
        found.step(6, torch.tensor(1.0))


def test_steps_are_counted_over_all_rounds(make_config: MakeConfig) -> None:
    found = journal(make_config())
    assert (found._steps_done(), found._steps_left()) == (0, 14)
    found.begin(1)
    assert (found._steps_done(), found._steps_left()) == (6, 8)
    found.step(5, torch.tensor(1.0))
    assert (found._steps_done(), found._steps_left()) == (9, 5)
    found.progress.done = True
    assert found._steps_left() == 0
