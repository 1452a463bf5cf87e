from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impcore.config import Config, load, shipped
from impcore.config.load import MAX_BYTES, read
from impcore.errors import ConfigError

SMALL = """
[model]
arch = "resnet20"
[data]
name = "digits"
[train]
length = "10ep"
[prune]
rounds = 3
"""

BROKEN = {
    "byte-order mark": b"\xef\xbb\xbf[run]\n",
    "line 2: is not UTF-8": b"[run]\nname = '\xff'\n",
    "larger than": b"#" * (MAX_BYTES + 1),
    "nested too deeply": b"x = " + b"[" * 100_000,
    "nested too deeply for a recipe: a.a.": b"a" + b".a" * 500_000 + b" = 1",
    "nested too deeply for a recipe: s.a.": b"'a'" + b".a" * 500_000 + b" = 1",
    "line 4: Cannot overwrite a value: seed = 2": b"\n[run]\nseed = 1\nseed = 2\n",
    "line 2: Cannot declare ('run',) twice: [run]": b"[run]\n[run]\n",
    "line 2: the integer is too long: seed = 999": b"[run]\nseed = " + b"9" * 10_000,
    "line 1: Invalid value: seed =": b"seed = \n",
    ": name = 'x": b"[run]\nname = 'x",
    "run.seed = a huge integer: should be less": b"[run]\nseed = 0x" + b"f" * 10_000,
    "train.lr = inf: should be a finite": b"[train]\nlr = 1e999",
    "train.lr = nan: should be a finite": b"[train]\nlr = nan",
    "run = 3: should be a table": b"run = 3",
    "run = [{}, {}]: should be a table": b"[[run]]\n[[run]]",
    "model.arch = {'a': {'a': ": b"[model]\narch" + b".a" * 14 + b" = 1",
}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory that must stay empty."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_file_is_named_with_its_reason(tmp_path: Path, empty: Path, reason: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(BROKEN[reason])
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 10_000
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("text", ["[run", "[run]\nseed = -1\n"])
def test_a_file_far_down_is_named_whole_on_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("deep" * 30) / "new\nline" / "broken.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(str(path).replace("\n", "\\n"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(st.sampled_from("[]{}=.,\"'\n\\#a1 -_:")).map(str.encode))
def test_any_bytes_are_a_document_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(data)
    with contextlib.suppress(ConfigError):
        assert isinstance(read(path), dict)


def test_a_file_of_nothing_but_faults_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text("[prune]\n" + "".join(f"k{i} = 1\n" for i in range(50_000)))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 51


def test_no_file(empty: Path) -> None:
    with pytest.raises(
        ConfigError, match="'digit': no such file or shipped recipe; nearest: digit"
    ):
        load("digit")
    for source in ("", "x\0y", "n" * 5000, "../digits", "/digits.toml"):
        with pytest.raises(ConfigError, match=r"^recipe '"):
            load(source)
    assert list(empty.iterdir()) == []


def test_what_is_no_regular_file(empty: Path) -> None:
    (empty / "folder").mkdir()
    os.mkfifo(empty / "pipe")
    for source in ("folder", "pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="is not a regular file"):
            load(source)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "x.toml").touch(mode=0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(tmp_path / "x.toml")


def test_a_file_goes_before_a_shipped_recipe(empty: Path) -> None:
    for source in ("digits", "digits.toml"):
        assert load(source).run.seed == 0
    (empty / "digits.toml").write_text(SMALL + "[run]\nseed = 7\n")
    for source in ("digits", "digits.toml", empty / "digits.toml", "./digits"):
        assert load(source).run.seed == 7
    (empty / "digits.toml").unlink()
    (empty / "digits").mkdir()
    assert load("digits").run.seed == 0


def test_the_run_is_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my räcipe..2.toml"
    path.write_text(SMALL)
    assert load(path).run.name == "my_r_cipe_2"
    assert load(path).run.out == "runs/my_r_cipe_2"
    path.write_text(load(path, {"run": {"name": "other"}}).to_toml())
    assert load(path).run.out == "runs/other"


def test_overrides_are_checked_together_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(SMALL.replace("resnet20", "resnet200") + "[rewind]\nto = '20ep'\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {"prune": {"rate": 2.0}, "trian": {"lr": 1}, "run": {"outt": "x"}})
    assert str(caught.value).splitlines() == [
        f"{path}: 5 faults:",
        "trian = {'lr': 1}: no such table; nearest: train",
        "run.outt = 'x': no such key; nearest: run.out",
        "model.arch = 'resnet200': should be 'resnet14', 'resnet20', 'resnet32', 'resnet44', "
        "'resnet56', 'resnet18', 'resnet26', 'resnet34', 'resnet50', 'resnet101' or 'bert'; "
        "nearest: resnet20",
        "prune.rate = 2.0: should be less than 1",
        "rewind.to = '20ep': should be below train.length = '10ep'",
    ]
    path.write_text(SMALL + "[rewind]\nto = '20ep'\n")
    assert load(path, {"train": {"length": "30ep"}}).rewind.to == "20ep"


def test_shipped_recipes_are_described() -> None:
    assert isinstance(load("digits"), Config)
    assert list(shipped()) == sorted(shipped())
    assert all(20 < len(line) <= 100 for line in shipped().values())
