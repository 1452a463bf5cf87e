"""Builds, tests and measures impcore on a machine with a GPU, in one call and without a network.

    python tools/gpu                 build, test and bench (make gpu)
    python tools/gpu build test      those parts (make test-gpu)
    python tools/gpu --list          the commands, without running them

Each part ends within --limit seconds; what is cut off is said. The log, a summary and the results
of the benchmarks go to --out, written as they come, so that an end from outside costs only what was
to follow. Where PyTorch sees no GPU, nothing is tested or measured: the call fails at once. A stage
whose tests were all skipped, for a package or tool that is missing, is a failure too.

Needs Python with torch, pytest, hypothesis, pytest-timeout, setuptools, pybind11 and ninja; nvcc;
packages that are missing are taken from .wheels (make gpu-wheels).
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError
from threading import Event, Thread
from time import monotonic, time

import inventory
import outcomes
import runner
import summary
import wheels
from stages import PARTS, ROOT, Stage

SITE = ROOT / "build" / "gpu-site"


def main() -> int:
    """Runs the parts that the command line names; 0 if every stage did what it is for."""
    parser = argparse.ArgumentParser(
        prog="tools/gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-results"))
    parser.add_argument("--limit", type=float, default=520, help="seconds for each part")
    parser.add_argument("--list", action="store_true", help="print the commands")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    chosen = [part for part in PARTS if part in (arguments.parts or PARTS)]
    if arguments.list:
        for part in chosen:
            for stage in PARTS[part]():
                print(f"{stage.limit:>4} s  {stage.name:<15} {shlex.join(stage.command)}")
        return 0
    return Session(arguments.out.resolve(), arguments.limit).run(chosen)


class Session:
    """One call: its folder, its environment and the rows of its summary so far."""

    def __init__(self, out: Path, limit: float) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.limit, self._began = out, limit, time()
        self.log = out / "gpu.log"
        self.rows: list[summary.Row] = []
        self.environment = self._prepare()

    def run(self, parts: list[str]) -> int:
        """Runs the parts; a build that fails ends it, and so does a machine without a GPU."""
        if parts != ["build"] and (why := inventory.lacking({**os.environ, **self.environment})):
            self._say(f"\nnothing was run: there is no GPU to test or measure on: {why}")
            return 1
        for part in parts:
            end = monotonic() + self.limit
            for stage in PARTS[part]():
                row = self._stage(stage, end - monotonic())
                self.rows.append(row)
                summary.write(self.rows, self.out)
                if part == "build" and not row.good:
                    parts = []
            if not parts:
                break
        print("\n" + summary.write(self.rows, self.out))
        return 0 if all(row.good for row in self.rows) else 1

    def _prepare(self) -> dict[str, str]:
        """The environment of all stages, with packages from wheels; says what the machine has."""
        self.log.write_text("")
        try:
            brought = ", ".join(wheels.install(ROOT / ".wheels", SITE)) or "nothing"
        except CalledProcessError as error:  # what was to come of it is missed where it is needed
            brought = f"nothing, as pip failed with {error.returncode}"
        paths = [str(ROOT), *([str(SITE)] if SITE.is_dir() else []), os.environ.get("PYTHONPATH")]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        if SITE.is_dir():
            sys.path.append(str(SITE))  # where stages.py looks for pytest-xdist
        architecture = inventory.architecture()
        if architecture and "IMPCORE_CUDA_ARCHS" not in os.environ:
            environment["IMPCORE_CUDA_ARCHS"] = architecture
        self._say(inventory.describe({**os.environ, **environment}))
        self._say(f"from .wheels: {brought}")
        self._say(f"environment: {environment}")
        return environment

    def _stage(self, stage: Stage, left: float) -> summary.Row:
        if left < 5:
            return summary.Row(stage.name, "no time left", 0.0)
        limit = min(stage.limit, left)
        self._say(f"\n== {stage.name}, {limit:.0f} s at most: {shlex.join(stage.command)}")
        with self._collecting(stage):
            ended = runner.run(stage, limit, self.environment, self.log)
        verdict = "cut off" if ended.late else "ok" if ended.code == 0 else f"exit {ended.code}"
        if "pytest" not in stage.command:
            return summary.Row(stage.name, verdict, ended.seconds)
        found = outcomes.read(ended.lines)
        counts = {
            "passed": found.counts["passed"],
            "failed": len(found.failed),
            "skipped": found.counts["skipped"],
            "not run": found.missing,
        }
        verdict, reasons = found.verdict(verdict, ended.code), dict(found.reasons)
        return summary.Row(stage.name, verdict, ended.seconds, counts, found.failed, reasons)

    @contextmanager
    def _collecting(self, stage: Stage) -> Iterator[None]:
        """Copies a stage's result files as they are written: it may be killed, and this with it."""
        if not stage.results:
            yield
            return
        over, folder = Event(), ROOT / stage.results

        def collect() -> None:
            while not over.wait(3):
                self._collect(folder)

        thread = Thread(target=collect, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._collect(folder)

    def _collect(self, folder: Path) -> None:
        """Copies the result files that have been written since this call began."""
        for path in folder.glob("*.json"):
            if path.stat().st_mtime >= self._began:
                shutil.copy(path, self.out)

    def _say(self, text: str) -> None:
        print(text, flush=True)
        with self.log.open("a") as file:
            print(text, file=file)


if __name__ == "__main__":
    sys.exit(main())
