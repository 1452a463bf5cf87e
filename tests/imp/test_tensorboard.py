from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from imp_harness import finish, micro, result, rows

from impcore.config import Config
from impcore.errors import ConfigError
from impcore.imp import lab, run
from impcore.imp.tensorboard import Board

MakeConfig = Callable[..., Config]


def curves(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) as TensorBoard shows them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(directory))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def test_the_curves_are_those_of_the_json_lines(
    make_config: MakeConfig, finished: tuple[Path, dict[str, Any]]
) -> None:
    pytest.importorskip("tensorboard")
    config = make_config(run__tensorboard=True)
    out = Path(config.run.out)
    assert finish(config) == finished[1]
    found, lines = curves(out / "tensorboard"), rows(out)
    assert [step for step, _ in found["round/accuracy"]] == [6, 10, 14]
    for key in ("accuracy", "loss", "density", "train_loss"):
        values = [value for _, value in found[f"round/{key}"]]
        assert values == pytest.approx([line[key] for line in lines])
    assert [step for step, _ in found["train_loss"]] == [6, 10, 14]
    assert result(out) == finished[1]


def test_what_a_crash_wrote_too_much_is_hidden(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Board(tmp_path) as board:
        for step in (1, 2, 3):
            board.add(step, {"loss": 10.0 + step, "metrics": {"f1": 0.5}, "round": 0, "ok": True})
    with Board(tmp_path, start=1) as board:
        board.add(2, {"loss": 5.0, "accuracy": None})
    assert curves(tmp_path) == {
        "loss": [(1, 11.0), (2, 5.0)],
        "metrics/f1": [(1, 0.5)],
    }


def test_a_missing_package_is_a_config_error_and_creates_nothing(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"run\.tensorboard = true: .*impcore\[tensorboard\]"):
        run(make_config(run__tensorboard=True))
    assert not Path(make_config().run.out).exists()
    assert lab.build(micro(Path("unused"))) is not None
