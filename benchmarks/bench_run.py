"""What `impcore-run` itself costs: its share of a run's time, and how soon it begins to train.

    python benchmarks/bench_run.py            digits.toml, and resnet20.toml shortened
    python benchmarks/bench_run.py --quick    two rounds of digits.toml

Forward passes, backward passes and the optimiser's kernel are what any engine does; the rest of the
time from the first training step on is the engine's own, by part (`clocks.py`), without and with
the report at the end. Files are written by a thread beside all that, whose seconds of a core are no
part of the sum; what it slows shows in the other parts. Each recipe runs in a process of its own,
after a short one that has to read its files and compile its modules, which Python keeps, as it does
of what pip installs: the start that counts is the second. resnet20.toml gets 2,560 images, the
enlarged digits as files of CIFAR-10.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from clocks import ARITHMETIC, REPORT
from comparison import Comparison, Report
from targets import Target
from torch.nn import functional

from impcore import config, data

SHARE, START = 0.03, 4.0
"""The targets: of the time from the first step on, and seconds from the process's start to it."""
WHOLE = "first step to end"
BESIDE = "beside it: files"

DIGITS = ("digits",)
LARGE = (
    *(
        "resnet20",
        "--data.root",
        "images",
        "--train.channels_last",
        "true",
        "--train.length",
        "4ep",
    ),
    *("--train.milestones", "2ep", "3ep", "--rewind.to", "10it", "--prune.rounds", "2"),
)
SHORT = ("--train.length", "11it", "--train.milestones", "5it", "--rewind.to", "1it",
         "--prune.rounds", "1")  # fmt: skip


def write_images(root: Path) -> None:
    """The digits as files of CIFAR-10: 32x32 pixels in three channels."""
    digits = data.load("digits")
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    large = functional.interpolate(digits.train.images.float() * 15, size=32).byte()
    pixels = large.expand(-1, 3, -1, -1).reshape(len(large), -1).numpy()
    for number, name in enumerate(names):
        chosen = np.arange(number * 512, (number + 1) * 512) % len(pixels)
        labels = [int(label) for label in digits.train.labels[chosen]]
        batch = {b"data": pixels[chosen], b"labels": labels}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def clocked(arguments: tuple[str, ...], place: Path) -> dict[str, Any]:
    """What `clocks.run` found in a process of its own."""
    out = place / "clocks.json"
    script = Path(__file__).with_name("clocks.py")
    run = tempfile.mkdtemp(dir=place)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, script, out, *arguments, "--run.out", run],
        cwd=place,
        env=kept | {"IMPCORE_STARTED": repr(time.time())},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"impcore-run {' '.join(arguments)}: exit code {done.returncode}")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def measure(arguments: tuple[str, ...], place: Path) -> Report:
    """A recipe's start, its time by part, and its targets."""
    recipe = config.load(arguments[0], {})
    warmup = () if recipe.train.warmup is None else ("--train.warmup", "1it")
    first = clocked((*arguments, *SHORT, *warmup), place)
    found = clocked(arguments, place)
    seconds: dict[str, float] = found["seconds"]
    whole = sum(seconds.values())
    own = sum(taken for part, taken in seconds.items() if part not in ARITHMETIC)
    report = seconds.get(REPORT, 0.0)
    name = f"impcore-run {arguments[0]}"
    ms = {WHOLE: whole * 1e3} | {part: taken * 1e3 for part, taken in seconds.items()}
    ms[BESIDE] = found["beside"] * 1e3
    n = int(found["weights"])
    return Report(
        [Comparison(name, "float32", n, 1.0, 0.0, WHOLE, ms)],
        [
            Target(f"{name}: own share, but for the report", (own - report) / (whole - report),
                   SHARE, False),
            Target(f"{name}: own share, report and all", own / whole, SHARE, False),
            Target(f"{name}: seconds from start to first step", found["start"], START, False),
            Target(f"{name}: the same, of the process before", first["start"], START, False),
        ],
    )  # fmt: skip


def measure_all(quick: bool) -> Report:
    """Both recipes, or two rounds of digits."""
    recipes = [(*DIGITS, "--prune.rounds", "2")] if quick else [DIGITS, LARGE]
    whole = Report()
    with tempfile.TemporaryDirectory() as place:
        write_images(Path(place) / "images")
        for recipe in recipes:
            whole.add(measure(recipe, Path(place)))
    return whole


if __name__ == "__main__":
    harness.command_line("run", __doc__, measure_all)
