from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from impcore import atomic
from impcore.errors import RunDirectoryError
from impcore.imp.run_directory import RunDirectory


def listing(path: Path) -> dict[str, tuple[int, int]]:
    """Every path below with its modification time and size, links not followed."""
    return {
        str(p.relative_to(path)): (p.lstat().st_mtime_ns, p.lstat().st_size)
        for p in [path, *path.rglob("*")]
    }


def test_makes_its_directories_and_can_be_claimed_again(tmp_path: Path) -> None:
    for _ in range(2):
        with RunDirectory(tmp_path / "a" / "run") as directory:
            assert directory.checkpoints.is_dir()
            assert directory.ticket(3).parent.is_dir()
    assert directory.ticket(3).name == "round_03.safetensors"
    assert directory.ticket(123).name == "round_123.safetensors"


def test_its_entry_in_each_directory_above_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = atomic.sync_directory, []

    def sync(path: Path) -> None:
        synced.append((path, sorted(os.listdir(path))))
        real(path)

    monkeypatch.setattr(atomic, "sync_directory", sync)
    out = tmp_path / "a" / "run"
    with RunDirectory(out):
        pass
    assert synced == [
        (tmp_path, ["a"]),
        (out.parent, ["run"]),
        (out, [".lock", "checkpoint", "tickets"]),
    ]


def test_another_experiments_directory_is_refused_and_a_damaged_config_is_not(
    tmp_path: Path,
) -> None:
    with RunDirectory(tmp_path / "run", "tasks") as directory:
        directory.config.write_text('[run]\nexperiment = "tasks"\n')
    assert {path.name for path in directory.path.iterdir()} == {".lock", "config.toml"}
    (directory.path / ".lock").unlink()  # as a copy of what is not hidden
    with RunDirectory(tmp_path / "run", "tasks"):
        pass
    before = listing(tmp_path)
    with pytest.raises(RunDirectoryError, match="of the experiment 'tasks', not of 'imp'"):
        RunDirectory(tmp_path / "run")
    assert listing(tmp_path) == before
    directory.config.write_text("[run\n")
    with RunDirectory(tmp_path / "run"):
        pass


@pytest.mark.parametrize("in_another_process", [False, True])
def test_a_second_run_is_refused_and_touches_nothing(
    tmp_path: Path, in_another_process: bool
) -> None:
    out = tmp_path / "run"
    with RunDirectory(out) as directory:
        atomic.temporary_of(directory.rounds).write_bytes(b"half")
        before = listing(out)
        if in_another_process:
            script = f"""
                from pathlib import Path
                from impcore.imp.run_directory import RunDirectory
                RunDirectory(Path({str(out)!r}))
            """
            ended = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(script)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 1
            assert "in use by another run" in ended.stderr
        else:
            with pytest.raises(RunDirectoryError, match="in use by another run"):
                RunDirectory(out)
        assert listing(out) == before
    with RunDirectory(out):
        assert not atomic.temporary_of(directory.rounds).exists()


def test_the_lock_ends_with_a_killed_process(tmp_path: Path) -> None:
    out = tmp_path / "run"
    script = f"""
        import time
        from pathlib import Path
        from impcore.imp.run_directory import RunDirectory
        with RunDirectory(Path({str(out)!r})):
            print("held", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunDirectoryError, match="in use"):
            RunDirectory(out)
        holder.kill()
        holder.wait()
    assert holder.returncode == -9
    with RunDirectory(out):
        pass


@pytest.mark.parametrize(
    "names",
    [["notes.txt"], ["config.toml"], ["checkpoint"], [".git"], ["uv.toml", ".lock"],
     ["shard-00000.npy", "checkpoint.pt", ".lock"]],
)  # fmt: skip
def test_a_directory_of_something_else_is_refused_untouched(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    before = listing(tmp_path)
    with pytest.raises(RunDirectoryError, match="not a run directory") as refused:
        RunDirectory(tmp_path)
    assert names[0] in str(refused.value)
    assert listing(tmp_path) == before


def test_a_copied_run_without_its_lock_file_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"")
    (tmp_path / "checkpoint").mkdir()
    with RunDirectory(tmp_path):
        pass


@pytest.mark.parametrize("names", [[], ["checkpoint", "tickets"], [".config.toml.tmp"]])
def test_a_run_that_was_killed_as_it_began_is_a_run(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / ".lock").touch()
    for name in names:
        (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).touch()
    with RunDirectory(tmp_path):
        pass


def test_averages_that_cannot_be_made_are_a_typed_error(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as directory:
        (directory.path / "averages").touch()
        with pytest.raises(RunDirectoryError, match=r"averages: could not be made \(File exists"):
            directory.average(0)


def test_a_claim_that_fails_half_way_gives_the_lock_back(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / "tickets").touch()
    with pytest.raises(RunDirectoryError, match="File exists"):
        RunDirectory(tmp_path)
    (tmp_path / "tickets").unlink()
    with RunDirectory(tmp_path):
        pass


def test_an_empty_directory_is_taken_and_a_file_is_not(tmp_path: Path) -> None:
    with RunDirectory(tmp_path):
        pass
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(RunDirectoryError, match="is a file"):
        RunDirectory(tmp_path / "file")
    with pytest.raises(RunDirectoryError, match=r"run\.out"):
        RunDirectory(tmp_path / "file" / "run")


def test_a_link_to_a_disk_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    disk, run = tmp_path / "disk", tmp_path / "run"
    run.symlink_to(disk)
    with pytest.raises(RunDirectoryError, match=f"{run} is a link to {disk}, which is not there"):
        RunDirectory(run)
    disk.mkdir()
    with RunDirectory(run):
        assert (disk / "checkpoint").is_dir()


def test_a_lock_file_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"mine")
    run = tmp_path / "run"
    run.mkdir()
    os.symlink(elsewhere, run / ".lock")
    with pytest.raises(RunDirectoryError, match=r"run\.out"):
        RunDirectory(run)
    assert elsewhere.read_bytes() == b"mine"
