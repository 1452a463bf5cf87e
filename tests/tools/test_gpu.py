"""The runs on a GPU: their order, their limits, and what they say of tests that end in any way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "gpu"
sys.path.insert(0, str(TOOL))

import outcomes  # noqa: E402
import runner  # noqa: E402
import stages  # noqa: E402
import summary  # noqa: E402
import wheels  # noqa: E402

SUITE = """
import os, time
import pytest

pytestmark = pytest.mark.gpu

def test_passes():
    pass

def test_fails():
    assert 1 == 2

@pytest.mark.skip(reason="no such device")
def test_is_skipped():
    pass

@pytest.mark.parametrize("x", ["a b"])
def test_dies(x):
    os._exit(3)

def test_passes_too():
    pass

def test_hangs():
    time.sleep(1000)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_all.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\naddopts = -ra\n")
    return tmp_path


def ran(suite: Path, processes: int, limit: float) -> tuple[runner.Ended, outcomes.Outcomes]:
    command = stages.pytest(["--rootdir", str(suite), str(suite)], processes)
    stage = stages.Stage("all", command, 60)
    ended = runner.run(stage, limit, {"PYTEST_ADDOPTS": ""}, suite / "log")
    assert (suite / "log").read_text().splitlines() == ended.lines
    return ended, outcomes.read(ended.lines)


@pytest.mark.skipif(find_spec("xdist") is None, reason="needs pytest-xdist")
def test_a_test_that_dies_or_hangs_costs_itself_alone(
    suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "TEST_LIMIT", 2)
    ended, found = ran(suite, 1, 60)
    assert (ended.code, ended.late) == (1, False), ended.lines
    assert found.counts == {"passed": 2, "failed": 3, "skipped": 1}, ended.lines
    assert sorted(name.partition("::")[2] for name in found.failed) == [
        *("test_dies[a b]", "test_fails", "test_hangs")
    ]
    assert found.reasons == {"no such device": 1}
    assert (found.items, found.missing) == (6, 0)


@pytest.fixture
def in_the_background() -> Iterator[None]:
    """SIGINT is ignored, as in what a shell's script starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN


@pytest.mark.usefixtures("in_the_background")
def test_what_is_cut_off_is_said(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (suite / "test_all.py").write_text(SUITE.replace("os._exit(3)", "pass"))
    monkeypatch.setattr(stages, "find_spec", lambda name: None)
    ended, found = ran(suite, 1, 8)
    assert ended.late
    assert ended.seconds < 8 + runner.GRACE
    assert found.counts == {"passed": 3, "failed": 1, "skipped": 1}, ended.lines
    assert (found.items, found.missing) == (6, 1)
    assert any("assert 1 == 2" in line for line in ended.lines)


def test_a_command_that_does_not_end_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.5)
    script = "import signal, subprocess; signal.signal(2, signal.SIG_IGN); "
    script += "subprocess.run(['sleep', '1000'])"
    stage = stages.Stage("deaf", [sys.executable, "-c", script], 60)
    ended = runner.run(stage, 1, {}, tmp_path / "log")
    assert ended.late
    assert ended.code < 0
    assert ended.seconds < 20


def test_files_that_cannot_be_collected_are_failures() -> None:
    found = outcomes.read(
        [
            "collecting ... collected 12 items / 2 errors / 9 deselected / 3 selected",
            "tests/a.py::test_b PASSED [ 33%]",
            "[gw1] [ 66%] ERROR tests/a.py::test_c[x - y] ",
            "ERROR tests/imp - ModuleNotFoundError: No module named 'x'",
            "ERROR tests/a.py::test_c[x - y] - ValueError",
            "SKIPPED [4] tests/b.py:0: needs pydantic, which is not installed",
        ]
    )
    assert found.counts == {"passed": 1, "error": 1}
    assert found.failed == ["tests/a.py::test_c[x - y]", "tests/imp"]
    assert found.reasons == {"needs pydantic, which is not installed": 4}
    assert (found.items, found.missing) == (3, 1)


@pytest.mark.parametrize(
    ("endings", "verdict"),
    [
        (["PASSED", "SKIPPED"], "ok"),
        (["SKIPPED", "SKIPPED"], "all skipped"),
        (["SKIPPED", "XFAIL"], "ok"),
        (["SKIPPED", "FAILED"], "exit 1"),
        ([], "no tests"),
    ],
)
def test_a_stage_whose_tests_were_all_skipped_is_no_success(
    endings: list[str], verdict: str
) -> None:
    found = outcomes.read(f"tests/a.py::test_{n} {end}" for n, end in enumerate(endings))
    code = 1 if found.failed else 0 if endings else 5
    said = found.verdict(f"exit {code}" if code else "ok", code)
    assert said == verdict
    assert summary.Row("ops", said, 1.0).good == (verdict == "ok")


def test_every_gpu_test_is_in_one_stage() -> None:
    named = [a for s in stages.test() for a in s.command if a.startswith("tests/")]
    assert len(named) == len(set(named))
    assert all((ROOT / path).exists() for path in named)
    rest = stages.test()[-1].command
    assert rest[-len(named) - 1 :] == ["tests", *(f"--ignore={path}" for path in named)]


def test_each_part_has_its_most_valuable_stages_within_its_limit() -> None:
    for part, limit in (("build", 520), ("test", 520), ("bench", 520)):
        found = stages.PARTS[part]()
        assert found[0].limit <= limit
        assert all(stage.limit <= 300 for stage in found)
    assert sum(stage.limit for stage in stages.bench()) <= 520


def test_the_summary_adds_up(tmp_path: Path) -> None:
    counts = {"passed": 3, "failed": 1, "skipped": 2, "not run": 0}
    rows = [
        summary.Row("build", "ok", 50.0),
        summary.Row("ops", "exit 1", 9.0, counts, ["tests/a.py::b"], {"no reason": 2}),
        summary.Row("runs", "cut off", 4.0, {**counts, "not run": 5}),
    ]
    said = summary.write(rows, tmp_path)
    assert said == (tmp_path / "summary.txt").read_text()
    assert [line.split() for line in said.splitlines() if line.startswith("all")] == [
        ["all", "6", "2", "4", "5", "63"]
    ]
    assert "FAILED  tests/a.py::b" in said
    assert "SKIPPED    2  no reason" in said
    assert [row["stage"] for row in json.loads((tmp_path / "summary.json").read_text())] == [
        *("build", "ops", "runs")
    ]


def test_wheels_of_what_is_there_are_left_alone(tmp_path: Path) -> None:
    for name in ("pytest-1.0-py3-none-any.whl", "no_such_thing-1.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    assert [wheel.name for wheel in wheels.missing(tmp_path)] == [
        "no_such_thing-1.0-py3-none-any.whl"
    ]
    assert wheels.missing(tmp_path / "nowhere") == []


@pytest.mark.parametrize(("arguments", "code"), [(["--list"], 0), (["tests"], 2)])
def test_the_command_line(arguments: list[str], code: int, tmp_path: Path) -> None:
    run = [sys.executable, str(TOOL), "--out", str(tmp_path / "out"), *arguments]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == code
    if code:
        assert "no part 'tests'; there are build, test, bench" in done.stderr
    else:
        assert done.stdout.count("pytest") == len(stages.test())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("parts", [["test"], []])
def test_without_a_gpu_nothing_is_run(parts: list[str], tmp_path: Path) -> None:
    run = [sys.executable, str(TOOL), "--out", str(tmp_path / "out"), *parts]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(run, capture_output=True, text=True, env=hidden)
    assert done.returncode == 1
    assert "nothing was run: there is no GPU to test or measure on: torch " in done.stdout
    assert "== " not in done.stdout
    assert not (tmp_path / "out" / "summary.txt").exists()
