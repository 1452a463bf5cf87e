"""What the benchmarks share: interleaved timing, the machine's name, the table, the JSON file.

Machines are noisy: the cases of a comparison take turns, each repeated, and medians are compared
within one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from impcore import _C

RESULTS = Path(__file__).with_name("results")


def nothing() -> None:
    """The preparation of a case that needs none."""


@dataclass
class Case:
    """One contender: `prepare` is not timed, `run` is.

    `repeats` can be lowered for a contender that takes seconds.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = nothing
    repeats: int | None = None


@dataclass
class Comparison:
    """The medians of one comparison, in milliseconds.

    `bytes` is what the first case cannot help moving; `floor` names the case it is compared with.
    """

    op: str
    dtype: str
    n: int
    density: float
    bytes: float
    floor: str
    ms: dict[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The case that the others are compared with."""
        return next(iter(self.ms))

    def as_json(self) -> dict[str, Any]:
        """Everything that the table shows, as plain data."""
        mine = self.ms[self.subject]
        return {
            **self.__dict__,
            "gb_per_s": self.bytes / mine / 1e6,
            "of_floor": mine / self.ms[self.floor],
            "ratio": {name: ms / mine for name, ms in self.ms.items()},
        }


def measure(cases: Sequence[Case], repeats: int) -> dict[str, float]:
    """Median milliseconds of each case; they take turns, after an untimed one of the fast ones."""
    times: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(-1, repeats):
        for case in cases:
            if turn >= (case.repeats or repeats) or (turn < 0 and case.repeats):
                continue
            case.prepare()
            begin = perf_counter()
            case.run()
            if turn >= 0:
                times[case.name].append((perf_counter() - begin) * 1e3)
    return {name: statistics.median(samples) for name, samples in times.items()}


def machine() -> dict[str, Any]:
    """Processor, threads, versions, commit and date."""
    return {
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "isa": _C.isa(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=RESULTS.parent, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "../csrc", "../impcore")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def show(comparisons: Sequence[Comparison], about: dict[str, Any]) -> None:
    """Prints one table: a row a contender, the subject of each comparison first."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("op", "dtype", "weights", "density", "contender"):
        table.add_column(heading, justify="right" if heading in ("weights", "density") else "left")
    for heading in ("ms", "GB/s", "of floor", "ratio"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        data = comparison.as_json()
        head = [comparison.op, comparison.dtype, f"{comparison.n:,}", f"{comparison.density:.0%}"]
        for name, ms in comparison.ms.items():
            mine = name == comparison.subject
            rate = f"{data['gb_per_s']:.1f}" if mine else ""
            floor = f"{ms / comparison.ms[comparison.floor]:.0%}"
            style = "bold" if mine else None
            table.add_row(
                *head, name, f"{ms:.2f}", rate, floor, f"{data['ratio'][name]:.2f}x", style=style
            )
            head = [""] * 4
    console.print(table)


def save(name: str, comparisons: Sequence[Comparison], about: dict[str, Any], out: Path) -> None:
    """Writes the machine and every comparison as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [c.as_json() for c in comparisons]
    out.write_text(json.dumps({"benchmark": name, "machine": about, "rows": rows}, indent=1) + "\n")
    print(f"written: {out}")


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws every contender's time over the number of weights and over density."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    by_size, by_density = figure.subplots(1, 2)
    dense = sorted((c for c in comparisons if c.density == 1), key=lambda c: c.n)
    largest = max(c.n for c in comparisons)
    sparse = sorted((c for c in comparisons if c.n == largest), key=lambda c: c.density)
    for axes, group, x in ((by_size, dense, "n"), (by_density, sparse, "density")):
        for name in dict.fromkeys(name for c in group for name in c.ms):
            points = [(getattr(c, x), c.ms[name]) for c in group if name in c.ms]
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        axes.set(xscale="log", yscale="log", ylabel="ms", xlabel={"n": "weights"}.get(x, x))
    by_size.legend(fontsize="small")
    figure.savefig(path)
    print(f"drawn: {path}")


Compare = Callable[[bool], list[Comparison]]


def command_line(
    name: str, about: str | None, compare: Compare, models: Mapping[str, Compare] | None = None
) -> None:
    """The common command line: `compare(quick)` measures; the rest shows, saves and draws.

    `models` are further comparisons, by the name that --model gives them, each with its own file.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small network, seconds")
    parser.add_argument("--out", type=Path, help=f"the JSON file; results/{name}.json unless given")
    if models:
        parser.add_argument("--model", choices=sorted(models), help="another network")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the times (.png, .svg, .pdf)"
    )
    arguments = parser.parse_args()
    chosen = arguments.model if models else None
    if models and chosen:
        name, compare = f"{name}_{chosen.replace('-', '_')}", models[chosen]
    comparisons = compare(arguments.quick)
    here = machine()
    show(comparisons, here)
    save(name, comparisons, here, arguments.out or RESULTS / f"{name}.json")
    if arguments.plot:
        plot(comparisons, arguments.plot)
