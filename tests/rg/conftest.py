"""A synthetic run directory whose flow is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOTAL = 270_896
NAMES = ("stage1", "stage2", "stage3", "rest")


def geometric_counts(states: int, total: int = TOTAL) -> np.ndarray:
    counts = [total]
    while len(counts) < states:
        counts.append(counts[-1] - round(0.2 * counts[-1]))
    return np.array(counts[:states], dtype=np.int64)


def write_rounds(path: Path, counts: np.ndarray, **extra: Any) -> None:
    with open(path / "rounds.jsonl", "w", encoding="utf-8") as file:
        for n, count in enumerate(counts.tolist()):
            row = {
                "round": n,
                "density": count / TOTAL,
                "remaining": count,
                "total": TOTAL,
                "accuracy": 0.97 - 0.002 * n,
                "loss": 0.1 + 0.01 * n,
                "seconds": 10.5 + n,
                "mask_hash": hashlib.sha256(str(n).encode()).hexdigest(),
                "device": "cpu",
                "lr": 0.1 / (n + 1),
            }
            file.write(json.dumps(row | extra) + "\n")


def write_flow(path: Path, **arrays: Any) -> None:
    np.savez(path / "flow.npz", **arrays)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(states, names=, run_name=, extra=, M=, P=, counts=) -> run directory."""

    def make(
        states: int = 9,
        *,
        names: tuple[str, ...] = NAMES,
        run_name: str = "digits",
        extra: dict[str, Any] | None = None,
        **flow: np.ndarray,
    ) -> Path:
        path = tmp_path / "run"
        path.mkdir(exist_ok=True)
        counts = flow.pop("counts", geometric_counts(states))
        rng = np.random.default_rng(7)
        density = np.maximum(counts, 1) / TOTAL
        shares = {}
        for key, spread in (("M", 0.2), ("P", 0.15)):
            slope = np.linspace(spread, -spread, len(names))
            raw = density[:, None] ** -slope
            raw = raw * np.exp(rng.normal(0, 0.01, (len(counts), len(names))))
            shares[key] = raw / raw.sum(axis=1, keepdims=True)
        shares |= flow
        write_flow(
            path, **shares, names=np.array(names), remaining=counts, theta=np.array("trained")
        )
        write_rounds(path, counts, **(extra or {}))
        config = f'[run]\nname = {json.dumps(run_name)}\n\n[model]\narch = "resnet20"\n'
        (path / "config.toml").write_text(config, encoding="utf-8")
        return path

    return make


def rewrite(path, **changes):
    """Change keys of a run's flow.npz; None takes one away."""
    with np.load(path / "flow.npz") as archive:
        arrays = {key: archive[key] for key in archive}
    arrays = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(path / "flow.npz", **arrays)
