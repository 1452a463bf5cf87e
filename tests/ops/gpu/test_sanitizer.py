"""compute-sanitizer finds nothing in the CUDA kernels; without the caching allocator, so that it
sees every tensor's bounds. What is planted (planted.cu) it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from impcore import ops

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]
HERE = Path(__file__).parent
CUDA = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
# PyTorch's own kernels are not our business.
ONLY_OURS = ["--kernel-name", "kns=impcore"]
TOOLS = {
    # Calls of the CUDA API that fail are PyTorch's: it tries what a driver can do.
    "memcheck": [*ONLY_OURS, "--padding", "64", "--report-api-errors", "no"],
    "racecheck": ONLY_OURS,
    # Sees what PyTorch's kernels write only if it watches them too.
    "initcheck": ["--check-api-memory-access", "no"],
    "synccheck": ONLY_OURS,
}
Reports = dict[str, "subprocess.Popen[str]"]


def found(name: str) -> str | None:
    """A program of the CUDA toolkit."""
    return shutil.which(name) or shutil.which(CUDA / "bin" / name)


def started(command: list[str]) -> Reports:
    """Every tool on a command, all at the same time; "TOOL" in it stands for the tool's name."""
    sanitizer = found("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("no compute-sanitizer")
    tests = HERE.parent.parent
    paths = [str(tests.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "IMPCORE_BACKEND": "cuda",
        "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    reports = {}
    for tool, options in TOOLS.items():
        run = [sanitizer, "--tool", tool, "--show-backtrace", "device"]
        reports[tool] = subprocess.Popen(
            [*run, *options, *(word.replace("TOOL", tool) for word in command)],
            cwd=tests,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return reports


def ended(reports: Reports) -> None:
    for process in reports.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def ours() -> Iterator[Reports]:
    """The tools on every op."""
    if "cuda" not in ops.backends():
        pytest.skip("this build does not hold the backend cuda")
    reports = started([sys.executable, "-m", "ops.gpu.sanitized"])
    yield reports
    ended(reports)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """Each tool on a program with a fault of its kind."""
    nvcc = found("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc")
    program = tmp_path_factory.mktemp("planted") / "planted"
    subprocess.run([nvcc, "-arch=native", str(HERE / "planted.cu"), "-o", str(program)], check=True)
    reports = started([str(program), "TOOL"])
    yield reports
    ended(reports)


def findings(process: subprocess.Popen[str]) -> tuple[list[str], str]:
    """What a tool says of our kernels, and all that it says."""
    report, _ = process.communicate()
    if "not supported" in report and "SUMMARY" not in report:
        pytest.skip("compute-sanitizer does not support this device")
    assert "SUMMARY" in report, report[-4000:]
    lines = report.splitlines()
    return [line for line in lines if line.startswith("====") and "impcore" in line], report


@pytest.mark.parametrize("tool", TOOLS)
def test_the_sanitizer_finds_nothing(tool: str, ours: Reports) -> None:
    process = ours[tool]
    found, report = findings(process)
    assert found == [], report[:8000]
    assert "done" in report.splitlines(), report[-4000:]
    assert process.returncode == 0, report[-4000:]


@pytest.mark.parametrize("tool", TOOLS)
def test_control_what_is_planted_is_found(tool: str, planted: Reports) -> None:
    found, report = findings(planted[tool])
    assert found, report[-4000:]
