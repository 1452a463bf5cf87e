from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest
import torch
from imp_harness import micro

from impcore.config import Config
from impcore.imp import lab, run
from impcore.imp.checkpoint import Checkpoints
from impcore.imp.files import Files
from impcore.imp.pace import Pace
from impcore.imp.run_state import RunState
from impcore.imp.saving import Saver


def test_what_is_saved_is_a_copy_and_only_one_is_kept(tmp_path: Path) -> None:
    made = lab.build(micro(tmp_path / "run"))
    state, held, place = RunState(made), Event(), tmp_path / "checkpoint"
    place.mkdir()
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    with Files() as files:
        saver = Saver(made, Checkpoints(place, pytest.fail), files)
        files.do(lambda: held.wait() and None)
        saver.save(state)
        for parameter in made.model.parameters():
            torch.nn.init.zeros_(parameter)
        assert not list(place.iterdir())
        Timer(0.1, held.set).start()
        saver.save(state)  # waits for the copy that was made before
        assert (place / "000000000001.safetensors").exists()
    first, second = (Checkpoints(place, pytest.fail), Checkpoints(place, pytest.fail))
    newest = second.load()
    assert newest is not None
    assert newest.generation == 2
    (place / "000000000002.safetensors").unlink()
    saved = first.load()
    assert saved is not None
    for name, tensor in before.items():
        assert torch.equal(saved.tensors[f"state.model.{name}"], tensor)


def test_a_process_without_checkpoints_writes_nothing(tmp_path: Path) -> None:
    made = lab.build(micro(tmp_path / "run"))
    with Files() as files:
        Saver(made, None, files).save(RunState(made))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("every", "due", "saves"), [("2it", False, 11), (None, True, 7), (None, False, 4)]
)
def test_checkpoints_within_a_training_wait_until_they_cost_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str | None, due: bool, saves: int
) -> None:
    """Unless the recipe says how often: then the start of each round and the end are left."""
    monkeypatch.setattr(Pace, "due", lambda self: due)
    saved: list[int] = []
    pack = Checkpoints.pack

    def counted(self: Checkpoints, *state: Any) -> Callable[[], None]:
        saved.append(1)
        return pack(self, *state)

    monkeypatch.setattr(Checkpoints, "pack", counted)
    config = micro(tmp_path / "run")
    tables = config.model_dump(mode="json", exclude_none=True)
    tables["train"].pop("checkpoint_every")
    if every is not None:
        tables["train"]["checkpoint_every"] = every
    assert run(Config.from_dict(tables)) == 0
    assert len(saved) == saves
