from __future__ import annotations

from pathlib import Path

import pytest

from impcore import host_memory


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system tells, of which there is nothing yet; and nothing of a container."""
    monkeypatch.setattr(host_memory, "_SYSTEM", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_CONTAINER", tmp_path)
    return tmp_path / "meminfo"


def test_this_host_tells_or_does_not() -> None:
    for amount in (host_memory.total(), host_memory.free()):
        assert amount is None or amount > 0


def test_a_container_has_no_more_than_its_limit(said: Path) -> None:
    assert host_memory.total() is None
    limit = said.with_name("memory.max")
    limit.write_text("9000\n")
    assert host_memory.total() == 9000
    said.write_text("MemTotal:       8 kB\n")
    assert host_memory.total() == 8192
    for text, total in (("max\n", 8192), ("5000\n", 5000)):
        limit.write_text(text)
        assert host_memory.total() == total


def test_what_the_systems_caches_would_give_back_counts_as_free(
    said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said.write_text("MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable:    5000 kB\n")
    assert host_memory.free() == 5000 * 1024
    for text in ("MemTotal: 8000 kB\n", "MemAvailable: many\n"):
        said.write_text(text)
        monkeypatch.setattr(host_memory.os, "sysconf", lambda name: len(name))
        assert host_memory.free() == 15 * 12

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(host_memory.os, "sysconf", unknown)
    assert host_memory.free() is None


def test_a_container_gives_no_more_than_is_left_of_its_limit(said: Path) -> None:
    """Files that it has read are in what it uses, and make room."""
    said.write_text("MemAvailable:    5000 kB\n")
    for name, text in (("max", "9000\n"), ("current", "7000\n"), ("stat", "anon 4000\n")):
        said.with_name(f"memory.{name}").write_text(text)
    assert host_memory.free() == 2000
    said.with_name("memory.stat").write_text("anon 4000\ninactive_file 2500\n")
    assert host_memory.free() == 4500
    said.with_name("memory.current").write_text("12000\n")
    assert host_memory.free() == 0
    said.with_name("memory.max").write_text("max\n")
    assert host_memory.free() == 5000 * 1024
