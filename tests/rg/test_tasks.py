"""The directory of an experiment over tasks is read as its config.toml says, or refused."""

from __future__ import annotations

import shutil

import pytest

from impcore import rg
from impcore.errors import RunDirectoryError
from impcore.rg.tasks import is_tasks

from .tasks_harness import SLOPES, experiment


def test_runs_by_initialisation_and_task_in_their_order(tmp_path):
    path = experiment(tmp_path / "x")
    assert is_tasks(path)
    assert not is_tasks(path / "random-a")
    assert not is_tasks(tmp_path)
    assert list(rg.load_tasks(str(path)).runs) == list(SLOPES)
    found = rg.load_tasks(path)
    assert (found.inits, found.tasks) == (("random", "pretrained"), ("a", "b"))
    assert list(found.runs) == list(SLOPES)
    assert found.runs["random", "b"].path == path / "random-b"
    assert found.pretraining.setting("data", "name") == "big"
    assert found.missing == ()
    assert found.weights("pretrained", "a")["left"] == ["fc.weight"]
    assert found.weights("random", "a") == {}


def test_what_has_not_begun_is_missing_and_what_is_damaged_is_an_error(tmp_path):
    path = experiment(tmp_path / "x")
    shutil.rmtree(path / "pretrained-b")
    shutil.rmtree(path / "pretrain")
    found = rg.load_tasks(path)
    assert found.missing == ("pretrain", "pretrained-b")
    assert list(found.runs) == list(SLOPES)[:3]
    (path / "pretrained-a" / "weights.json").write_text("[]")
    with pytest.raises(RunDirectoryError, match=r"weights\.json"):
        found.weights("pretrained", "a")
    (path / "random-a" / "flow.npz").write_bytes(b"x")
    with pytest.raises(RunDirectoryError, match=r"random-a.*flow\.npz"):
        rg.load_tasks(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[tasks.task.a]", '[tasks.task."../a"]'),
        ("[tasks.init.random]", '[tasks.init."/etc"]'),
        ("[tasks.task.a]\n\n[tasks.task.b]", ""),
        ("[run]", "[run"),
        ("[tasks.init.random]\n\n[tasks.init.pretrained]", ""),
    ],
)
def test_a_config_that_does_not_name_runs_is_refused(tmp_path, old, new):
    path = experiment(tmp_path / "x")
    text = (path / "config.toml").read_text()
    assert old in text
    (path / "config.toml").write_text(text.replace(old, new))
    with pytest.raises(RunDirectoryError, match=r"config\.toml"):
        rg.load_tasks(path)
