from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import impcore
from impcore import cli, imp
from impcore.config import Config
from impcore.config.recipe import TABLES
from impcore.errors import DataError
from impcore.imp import torchrun

PACKAGE_ROOT = str(Path(impcore.__file__).parent.parent)
PATHS = os.pathsep.join(filter(None, [PACKAGE_ROOT, os.environ.get("PYTHONPATH")]))
GUARD = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "matplotlib", "scipy"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Guard())
from impcore.cli import main
sys.exit(main())
"""

PRINTING = """
import sys
from impcore import cli, imp
imp.run = lambda config, force_resume: print(config.run.out) or 0
sys.exit(cli.main())
"""
INTERRUPTED = """
import os, runpy, signal, sys
module = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # of which a background job has none
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


def light(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process in which importing torch is fatal."""
    return subprocess.run(
        [sys.executable, "-c", GUARD, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=60,
    )


class Runs(list[tuple[Config, bool]]):
    """Stands for impcore.imp: what it was asked to run."""

    code = 0
    checked: Config | None = None
    error: BaseException | None = None

    def run(self, config: Config, *, force_resume: bool = False) -> int:
        self.append((config, force_resume))
        if self.error is not None:
            raise self.error
        return self.code

    def check(self, config: Config) -> int:
        self.checked = config
        return self.code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    runs = Runs()
    monkeypatch.setattr(imp, "run", runs.run)
    monkeypatch.setattr(imp, "check", runs.check)
    monkeypatch.chdir(tmp_path)
    return runs


def test_the_guard_fires(tmp_path: Path) -> None:
    ran = light("digits", cwd=tmp_path)
    assert "was imported" in ran.stderr


def test_list_help_and_version_need_no_torch(tmp_path: Path) -> None:
    listed = light("--list", cwd=tmp_path)
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert names == sorted(path.stem for path in Path(PACKAGE_ROOT, "impcore/recipes").iterdir())
    helped = light("--help", cwd=tmp_path)
    assert helped.returncode == 0
    for table, model in TABLES.items():
        assert all(f"--{table}.{key} " in helped.stdout for key in model.model_fields)
    version = light("--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"impcore {impcore.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        ([], ["name a recipe", "--list"]),
        (["digit"], ["'digit'", "nearest: digits"]),
        (["digits", "--prune.rat", "0.3"], ["--prune.rat", "0.3", "--prune.rate"]),
        (["digits", "--prune.rate", "0,3"], ["prune.rate = '0,3': should be a valid number"]),
        (["digits", "--prune.rate"], ["--prune.rate"]),
        (
            ["digits", "--train.lr", "1e999", "--run.seed=-1", "--data.name", "cifar"],
            ["3 faults", "train.lr = inf: ", "run.seed = -1: ", "nearest: cifar10"],
        ),
        (["digits", "--tasks.about", "x"], ["tasks: the recipe has no such table"]),
        (
            ["digits_tasks", "--tasks.task.two.train.lr"],
            ["--tasks.task.two.train.lr: has no value"],
        ),
        (["digits", "--run.out", "../x"], ["run.out = '../x': should not contain '..'"]),
    ],
)
def test_a_wrong_command_line_exits_2_and_creates_nothing(
    tmp_path: Path, arguments: list[str], reasons: list[str]
) -> None:
    ran = light(*arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert all(reason in ran.stderr for reason in reasons)
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_exits_2_and_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[run]\nseed = nan\n[prune]\nrate = '0.2'\n")
    ran = light("r.toml", cwd=tmp_path)
    assert ran.returncode == 2
    lines = ran.stderr.splitlines()
    assert lines[0] == "impcore-run: r.toml: 6 faults:"
    assert lines[1].startswith("run.seed = nan: should be")
    assert "prune.rate = '0.2': should be a valid number" in lines
    assert list(tmp_path.iterdir()) == [path]


def test_entries_of_tasks_are_overridden_too(runs: Runs) -> None:
    words = ["--tasks.task.parity.train.lr", "0.5", "digits_tasks", "--tasks.about=mine"]
    assert cli.main(words) == 0
    ((config, _),) = runs
    assert config.tasks is not None
    assert config.tasks.about == "mine"
    assert config.sub_runs()["random-parity"].train.lr == 0.5


def test_one_call_with_the_overridden_recipe(runs: Runs) -> None:
    words = ["--prune.rate", "0.3", "--train.milestones", "2ep", "50%", "--run.out", "runs/x"]
    words += ["--train.warmup=none", "--train.batch-size", "32"]
    assert cli.main(["digits.toml", *words]) == 0
    [(config, force_resume)] = runs
    assert not force_resume
    assert (config.prune.rate, config.run.out, config.run.name) == (0.3, "runs/x", "digits")
    assert config.train.milestones == ("2ep", "50%")
    assert (config.train.warmup, config.train.batch_size) == (None, 32)


@pytest.mark.parametrize("flag", ["--force-resume", "--force_resume"])
def test_force_resume(runs: Runs, flag: str) -> None:
    assert cli.main([flag, "--prune.rounds", "2", "digits"]) == 0
    assert [(config.prune.rounds, forced) for config, forced in runs] == [(2, True)]


@pytest.mark.parametrize("code", [0, 130, 143])
def test_the_code_of_the_run_is_returned(runs: Runs, code: int) -> None:
    runs.code = code
    assert cli.main(["digits"]) == code


def test_errors_are_one_message(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.error = DataError("no such file: x")
    assert cli.main(["digits"]) == 1
    assert capsys.readouterr().err == "impcore-run: no such file: x\n"
    runs.error = KeyboardInterrupt()
    assert cli.main(["digits"]) == 130
    runs.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(["digits"])


@pytest.mark.parametrize("code", [0, 2])
def test_check_runs_nothing(runs: Runs, code: int) -> None:
    runs.code = code
    assert cli.main(["--check", "digits", "--prune.rounds", "3"]) == code
    assert runs == []
    assert runs.checked is not None
    assert runs.checked.prune.rounds == 3


def test_one_process_of_a_machine_tells_of_a_wrong_recipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for words in (
        *(["digits", "--train.lr", "-1"], ["digits", "--train.lrr", "1"], ["none"], []),
        *(["digits_tasks", "--tasks.task.two.train.lr"], ["digits", "--check"]),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
    for words in (["--list"], ["--version"]):
        assert cli.main(words) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [["none"], ["digits", "--no_such"]])
def test_the_silent_ones_wait_for_the_one_that_tells(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def end_by_torchrun(seconds: float) -> None:
        waited.append(seconds)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(torchrun.time, "sleep", end_by_torchrun)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 2
    assert waited == [torchrun._PATIENCE]


@pytest.mark.parametrize("module", ["impcore.config", "tyro"])
@pytest.mark.parametrize(
    "start",
    [
        "from impcore.cli import main; sys.exit(main(['--list']))",
        "sys.argv[1:] = ['--list']; runpy.run_module('impcore.cli', run_name='__main__')",
    ],
)
def test_an_interrupt_while_the_command_loads_is_no_traceback(module: str, start: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"{INTERRUPTED}{start}", module],
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, b"", b"")


def test_what_a_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRINTING, "digits", "--run.out", "o/Ω ×"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"o/\\u03a9 \\xd7\n", b"")


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-c", GUARD, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (1, "")
