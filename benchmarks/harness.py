"""The benchmarks' command line, and the machine that they ran on.

Invariant: what has been measured is saved as it comes on a GPU, so that neither a failure nor a
time limit loses it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import report as reports
import results
import targets
from comparison import Comparison, Report, WrongError
from machine import machine
from places import Host, Place
from timing import Case, measure, reason

from impcore.errors import BackendError

__all__ = ["Case", "Comparison", "Job", "Suite", "command_line", "main", "measure"]

RESULTS = results.RESULTS
CUDA_LIMIT = 120.0  # seconds of one benchmark on a GPU: all of them in one call of nine minutes


@dataclass(frozen=True)
class Job:
    """A part of a benchmark, such as one network; `run` yields its reports as they come."""

    title: str
    run: Callable[[], Iterator[Report]]


@dataclass(frozen=True)
class Suite:
    """A benchmark that runs on the CPU or a GPU.

    Attributes:
        name: of its result file or section.
        about: its description.
        jobs: from the place and the arguments to its parts, the most telling first.
        add_arguments: its own options.
        name_of: another name where an option makes it another benchmark.
    """

    name: str
    about: str | None
    jobs: Callable[[Place, argparse.Namespace], Sequence[Job]]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    name_of: Callable[[argparse.Namespace], str | None] = lambda arguments: None


def main(suite: Suite, argv: Sequence[str] | None = None) -> int:
    """Runs a suite as its command line says; the exit status.

    0; 1 if one of our own contenders failed; 2 for wrong options or where there is no such device.
    """
    parser = _parser(suite.name, suite.about)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help=f"begin nothing after this long (on a GPU {CUDA_LIMIT:.0f} unless given)",
    )
    suite.add_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        place, about = _place(arguments.device)
    except BackendError as error:
        parser.error(str(error))
    name = suite.name_of(arguments) or suite.name
    on_gpu = place.kind == "cuda"
    out = arguments.out or (results.file_of(about["gpu"]) if on_gpu else RESULTS / f"{name}.json")
    if on_gpu:
        try:
            results.read(out, about["gpu"])
        except ValueError as error:
            parser.error(f"--out: {error}")
    rules = targets.CUDA if on_gpu else targets.CPU

    def save(report: Report) -> list[targets.Target]:
        found = report.comparisons
        judged = [*targets.judge(rules, found), *targets.growth(found), *report.facts]
        data = results.as_json(name, report, judged, about)
        (results.merge if on_gpu else results.save)(data, out)
        return judged

    limit = arguments.limit or (CUDA_LIMIT if on_gpu else float("inf"))
    try:
        report = collect(suite.jobs(place, arguments), limit, save if on_gpu else None, place.free)
    except WrongError as error:
        sys.exit(f"{error}: nothing is timed")
    judged = save(report)
    reports.show(report, judged, about)
    print(f"written: {out}")
    if arguments.plot:
        reports.plot(report.comparisons, arguments.plot)
    return 1 if failures(report, place) else 0


def collect(
    jobs: Sequence[Job],
    limit: float,
    save: Callable[[Report], object] | None,
    free: Callable[[], None],
) -> Report:
    """What the jobs found.

    Args:
        jobs: one after the other.
        limit: seconds after which nothing is begun; what was left is listed.
        save: called with all there is after each piece; a job that raises is then left out, with
            its reason. None: it raises.
        free: called before each job.
    """
    begin = monotonic()
    whole = Report()
    for job in jobs:
        if monotonic() - begin > limit:
            whole.left_out[job.title] = f"the limit of {limit:.0f} s was reached"
            continue
        try:
            free()  # also of what a job held that has just raised
            for report in job.run():
                whole.add(report)
                if save is not None:
                    save(whole)
                if monotonic() - begin > limit:
                    whole.left_out[job.title] = f"cut short by the limit of {limit:.0f} s"
                    break
        except Exception as error:
            if save is None:
                raise
            whole.left_out[job.title] = reason(error)
    return whole


def failures(report: Report, place: Place) -> list[str]:
    """Our own contenders that failed, and jobs that did, on a GPU."""
    if place.kind == "cpu":
        return []
    ours = [
        f"{c.op}: {name}: {why}"
        for c in report.comparisons
        for name, why in c.left_out.items()
        if name.partition(",")[0] in place.backends
    ]
    jobs = [f"{k}: {why}" for k, why in report.left_out.items() if "Error" in why]
    for line in (*ours, *jobs):
        print(f"FAILED: {line}")
    return [*ours, *jobs]


def _place(device: str) -> tuple[Place, dict[str, Any]]:
    if device == "cpu":
        return Host(), machine()
    import cuda_device

    place = cuda_device.place()
    return place, {**cuda_device.about(place.device), **machine()}


def _parser(name: str, about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small network, seconds")
    parser.add_argument("--out", type=Path, help=f"the JSON file; results/{name}.json unless given")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the times (.png, .svg, .pdf)"
    )
    return parser


Compare = Callable[[bool], list[Comparison] | Report]


def command_line(
    name: str, about: str | None, compare: Compare, models: Mapping[str, Compare] | None = None
) -> None:
    """The command line of a benchmark that is a function: `compare(quick)` measures.

    `models` are further comparisons, by the name that --model gives them, each with its own file.
    """
    parser = _parser(name, about)
    if models:
        parser.add_argument("--model", choices=sorted(models), help="another network")
    arguments = parser.parse_args()
    chosen = arguments.model if models else None
    if models and chosen:
        name, compare = f"{name}_{chosen.replace('-', '_')}", models[chosen]
    found = compare(arguments.quick)
    report = found if isinstance(found, Report) else Report(found)
    here = machine()
    reports.show(report, report.facts, here)
    out = arguments.out or RESULTS / f"{name}.json"
    results.save(results.as_json(name, report, report.facts, here), out)
    print(f"written: {out}")
    if arguments.plot:
        reports.plot(report.comparisons, arguments.plot)
