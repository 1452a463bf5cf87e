from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from impcore import pretrained

NAMES = ["bert-base-uncased", "google/bert_uncased_L-2_H-128_A-2", "a.b/c.d"]
NO_NAMES = [
    "",
    ".",
    "..",
    "./bert",
    "../bert",
    "/no/such",
    "~/no-such",
    "a/b/c",
    "a b/c",
    "é/c",
    "-a",
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", NAMES)
def test_a_name_is_one_unless_there_is_a_folder_of_it(place: str, here: Path) -> None:
    assert pretrained.is_hub_name(place)
    assert pretrained.source(place) == place
    (here / place).mkdir(parents=True)
    assert not pretrained.is_hub_name(place)
    assert pretrained.source(place) == place


@pytest.mark.parametrize("place", NO_NAMES)
def test_what_is_no_name_is_a_folder_or_nothing(place: str) -> None:
    assert not pretrained.is_hub_name(place)
    assert pretrained.source(place) == (place if place in (".", "..") else None)


def test_a_folder_in_the_home_directory_is_found(here: Path) -> None:
    (here / "bert").mkdir()
    assert pretrained.source("~/bert") == os.fspath(here / "bert")


def test_only_for_a_name_it_is_said_how_to_do_without_the_hub(here: Path) -> None:
    error = OSError("x" * 600)
    assert pretrained.reason(error, "a/b") == "x" * 500 + (
        " (a folder that holds its files needs no hub)"
    )
    assert pretrained.reason(error, os.fspath(here)) == "x" * 500


def test_transformers_takes_what_is_called_a_name_for_one() -> None:
    utils = pytest.importorskip("huggingface_hub.utils")
    for place in NAMES:
        utils.validate_repo_id(place)


def test_it_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, impcore.pretrained; print({'torch', 'transformers'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"
