"""--check where the Hugging Face hub does not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from impcore import models
from impcore.config import Config, load
from impcore.imp import checks
from impcore.imp.checks.findings import Findings
from impcore.imp.checks.hub import asked_once

pytest.importorskip("transformers")
hub = pytest.importorskip("huggingface_hub")

CLOSED = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def without_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An address where nobody listens, an empty cache, and no patience; returns the cache."""

    def wait(seconds: float) -> None:
        raise AssertionError(f"a try again in {seconds} s")

    monkeypatch.setattr(hub.constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", wait)
    return tmp_path / "hub"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that a hub which knows nothing was asked for."""
    asked: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def recipe(tmp_path: Path, **changes: dict[str, object]) -> Config:
    """bert_rte with weights that only a hub would know, and no data."""
    tables: dict[str, dict[str, object]] = {
        "run": {"out": str(tmp_path / "run"), "device": "cpu", "threads": 1},
        "model": {"path": "nobody/no-such-bert"},
        "data": {"root": str(tmp_path / "nowhere")},
    }
    return load("bert_rte", {key: tables[key] | changes.get(key, {}) for key in tables})


def said(config: Config) -> tuple[int, str]:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=10_000, record=True, file=nowhere)
        return checks.check(config, console), console.export_text()


@pytest.mark.parametrize("source", ["files", "hub"])
def test_it_is_asked_once_and_all_that_is_missing_is_named(source: str, tmp_path: Path) -> None:
    if source == "hub":
        pytest.importorskip("datasets")
    data = {"source": source} if source == "files" else {"source": source, "root": None}
    code, text = said(recipe(tmp_path, data=data))
    assert code == 2
    assert f"hub warning {CLOSED} does not answer (ConnectError" in " ".join(text.split())
    assert ("train.tsv" if source == "files" else "nyu-mll/glue rte: not found") in text
    assert "model.path: tokenizer: 'nobody/no-such-bert'" in text
    assert "a folder that holds its files needs no hub" in text
    assert "2 faults" in text
    assert hub.constants.HF_HUB_OFFLINE is False


def test_what_the_cache_holds_is_found(tmp_path: Path, without_the_hub: Path) -> None:
    from transformers import BertTokenizerFast

    folder = without_the_hub / "models--nobody--no-such-bert"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    sizes = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 24}
    made = models.build_text("bert", task="mlm", num_classes=1, vocab_size=7, **sizes)
    made.save_pretrained(snapshot)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(snapshot)
    code, text = said(recipe(tmp_path))
    assert code == 2
    assert "does not answer" in text
    assert "nobody/no-such-bert: fits bert" in text
    assert "1 fault" in text


def test_one_that_answers_is_used(tmp_path: Path, answering: list[str]) -> None:
    findings = Findings()
    with asked_once([recipe(tmp_path)], findings):
        assert hub.constants.HF_HUB_OFFLINE is False
    assert findings.rows == []
    assert len(answering) == 1


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({}, 1),
        ({"model": {"path": "bert-base"}}, 1),
        ({"model": {"path": "./bert"}}, 0),
        ({"model": {"path": "models/nobody/bert"}}, 0),
        ({"model": {"path": "./bert"}, "data": {"tokenizer": "nobody/no-such-bert"}}, 1),
        ({"model": {"path": "./bert"}, "data": {"source": "hub", "root": None}}, 1),
        ({"model": {"path": "./bert"}, "data": {"source": "hub", "root": "./glue"}}, 0),
    ],
)
def test_only_a_recipe_that_names_what_is_there_asks(
    changes: dict[str, dict[str, object]], times: int, tmp_path: Path, answering: list[str]
) -> None:
    with asked_once([recipe(tmp_path, **changes)] * 2, Findings()):
        pass
    assert len(answering) == times


def test_who_works_offline_is_not_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    findings = Findings()
    with asked_once([recipe(tmp_path)], findings):
        pass
    assert findings.rows == []
    assert hub.constants.HF_HUB_OFFLINE is True
