from __future__ import annotations

from pathlib import Path

import pytest
import torch
from imp_harness import micro
from torch import nn

from impcore.imp import environment

CPU = torch.device("cpu")


def test_the_model_fingerprint_sees_structure_weights_and_buffers() -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())

    seen = {environment.model_fingerprint(made())}
    assert environment.model_fingerprint(made()) in seen
    changed = [made() for _ in range(4)]
    changed[0][0].weight.detach()[1, 1] += 1e-3
    changed[1][1].running_var[0] = 2
    changed[2][1].eps = 1e-3
    changed[3][2] = nn.GELU()
    seen |= {environment.model_fingerprint(model) for model in changed}
    assert len(seen) == 5
    wide = made().to(memory_format=torch.channels_last)
    assert environment.model_fingerprint(wide) in seen


def test_equal_identities_do_not_differ(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    a = environment.identity(micro(tmp_path / "a"), model, "data", CPU)
    b = environment.identity(micro(tmp_path / "b", run__name="b"), model, "data", CPU)
    assert environment.diff(a, b) == []
    assert set(a) >= {"config", "model", "data", "code", "torch", "device", "threads", "backends"}


def test_every_difference_is_listed(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    a = environment.identity(micro(tmp_path / "a"), model, "data", CPU)
    config = micro(tmp_path / "a", prune__rate=0.2, rewind__kind="lr")
    b = environment.identity(config, nn.Linear(1, 1), "other", CPU) | {"torch": "9.9"}
    del b["machine"]
    lines = environment.diff(a, b)
    assert [line.split(":")[0] for line in lines] == [
        "prune.rate",
        "rewind.kind",
        "data",
        "machine",
        "model",
        "torch",
    ]
    assert lines[0] == "prune.rate: 0.3 -> 0.2"
    assert lines[2] == "data: data -> other"


def test_a_finished_run_must_agree_in_config_and_given_weights_alone(tmp_path: Path) -> None:
    a = environment.identity(micro(tmp_path / "a"), nn.Linear(1, 1), "data", CPU)
    b = {**a, "torch": "9.9", "code": "other", "model": "other"}
    assert environment.finished_diff(a, b) == []
    c = {**b, "weights": "0123"} | {"config": micro(tmp_path, prune__rate=0.2).model_dump()}
    assert environment.finished_diff(a, c) == ["prune.rate: 0.3 -> 0.2", "weights: None -> 0123"]


def test_a_saved_config_that_is_no_longer_valid_is_a_difference(tmp_path: Path) -> None:
    a = environment.identity(micro(tmp_path / "a"), nn.Linear(1, 1), "data", CPU)
    old = {**a, "config": {**a["config"], "gone": {"key": 1}}}
    assert "not valid here" in environment.diff(old, a)[0]


def test_code_that_no_result_depends_on_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path)

    def fingerprint() -> str:
        return environment.code_fingerprint.__wrapped__()

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    for name in ("ops/a.py", "imp/view.py", "_C.so"):
        write(name, "1")
    first = fingerprint()
    commands = ("rg/report.py", "cli.py", "command.py", "output.py")
    for name in (*commands, "imp/view.py", "recipes/digits.toml"):
        write(name, "2")
    assert fingerprint() == first
    for name in ("ops/a.py", "_C.so", "imp/new.py"):
        write(name, "3")
        assert fingerprint() != first
        first = fingerprint()
