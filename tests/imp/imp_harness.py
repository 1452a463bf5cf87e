"""Tiny runs, their results as comparable values, and ways to end them before their time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import impcore
from impcore import atomic
from impcore.config import Config
from impcore.imp import run

_ROOT = Path(impcore.__file__).parents[1]
# What a child needs to find this package, and what this process found elsewhere.
PYTHONPATH = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
_SCRIPT = """
import json, sys
from impcore.config import Config
from impcore.imp import run
sys.exit(run(Config.from_dict(json.loads(sys.argv[1]))))
"""


def micro(out: Path, **overrides: Any) -> Config:
    """ResNet-14 on digits: 2 prunes, 6 steps of 32 images, the rewind point after 2 of them.

    Overrides are table__key=value.
    """
    tables: dict[str, dict[str, Any]] = {
        "run": {"name": "micro", "out": str(out), "seed": 3, "threads": 1, "device": "cpu"},
        "model": {"arch": "resnet14"},
        "data": {"name": "digits"},
        "train": {
            "length": "6it",
            "batch_size": 32,
            "lr": 0.05,
            "milestones": ["4it"],
            "warmup": "2it",
            "checkpoint_every": "2it",
        },
        "prune": {"rounds": 2, "rate": 0.3},
        "rewind": {"to": "2it"},
        "analysis": {},
    }
    for name, value in overrides.items():
        table, key = name.split("__")
        tables[table][key] = value
    return Config.from_dict(tables)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def result(out: Path) -> dict[str, Any]:
    """All that two equal runs agree in to the byte: everything but the rows' `seconds`."""
    lines = rows(out)
    for row in lines:
        assert row.pop("seconds") >= 0
    files = [out / "flow.npz", out / "sigma.csv", *sorted(out.glob("*/round_*.safetensors"))]
    files += [path for path in (out / "evals.jsonl",) if path.exists()]
    return {"rows": lines} | {str(path.relative_to(out)): path.read_bytes() for path in files}


def finish(config: Config) -> dict[str, Any]:
    """Run to the end in this process, and return the result."""
    assert run(config) == 0
    return result(Path(config.run.out))


def start(config: Config) -> subprocess.Popen[str]:
    """The same run in a process of its own."""
    arguments = [sys.executable, "-c", _SCRIPT, config.model_dump_json()]
    return subprocess.Popen(
        arguments,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def signal_when(process: subprocess.Popen[str], path: Path, signum: signal.Signals) -> None:
    """Send `signum` as soon as `path` exists; fail if the run ends before."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.0005)
    process.send_signal(signum)


class Crash(BaseException):
    """Ends a run as a power cut would: nothing in the engine catches it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> list[int]:
    """Crash at the given call of an `os` function that `atomic` uses; returns the calls so far."""
    real, calls = getattr(os, name), [0]

    def crash(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            if name == "write":
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            raise Crash
        return real(*arguments, **keywords)

    monkeypatch.setattr(atomic.os, name, crash)
    return calls


def interrupted(config: Config, monkeypatch: pytest.MonkeyPatch, call: int = 11) -> None:
    """Run until the given call of `os.replace`, and crash there."""
    crash_at(monkeypatch, "replace", call)
    with pytest.raises(Crash):
        run(config)
    monkeypatch.undo()
