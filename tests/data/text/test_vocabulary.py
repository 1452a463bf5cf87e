from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from impcore.data.text import vocabulary
from impcore.errors import TokenizerError


def test_a_saved_tokenizer_is_the_same(words: vocabulary.Vocabulary, tokenizer: str) -> None:
    found = vocabulary.load(tokenizer)
    numbers = [(v.size, v.pad, v.cls, v.sep, v.mask) for v in (found, words)]
    assert numbers[0] == numbers[1] == (words.size, 0, 2, 3, 4)
    text = "The cat, sat blueish?"
    assert found.tokenizer.encode(text).ids == words.tokenizer.encode(text).ids


def test_training_is_deterministic_across_processes() -> None:
    code = (
        "from impcore.data.text import vocabulary; import pydoc_data.topics as t;"
        "print(vocabulary.train(list(t.topics.values())[:20], 500).fingerprint)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    assert len({run.stdout for run in runs}) == 1


def test_the_trained_vocabulary_is_wordpiece() -> None:
    made = vocabulary.train(["banana bandana"] * 9, 40)
    pieces = made.tokenizer.encode("Banana xyz", add_special_tokens=False).tokens
    assert "".join(piece.removeprefix("##") for piece in pieces[:-1]) == "banana"
    assert pieces[-1] == "[UNK]"
    assert made.size <= 40


def test_a_directory_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(TokenizerError, match="holds no vocabulary"):
        vocabulary.load(str(tmp_path))


@pytest.mark.parametrize("source", ["./no-such", "/no/such", "no/such/folder"])
def test_a_missing_directory_is_named_without_asking_the_hub(source: str) -> None:
    with pytest.raises(TokenizerError, match=f"{source}' is not a directory"):
        vocabulary.load(source)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[1]"),
        ("vocab.txt", b"\xff\xfe\x00"),
        ("tokenizer_config.json", b'{"tokenizer_class": "Nope"}'),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=f"tokenizer: '{tmp_path}'"):
        vocabulary.load(str(tmp_path))


def test_code_beside_a_tokenizer_is_not_run_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[int] = []
    monkeypatch.setattr("builtins.input", lambda *_: questions.append(1) or "y")
    (tmp_path / "foreign.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass T: pass\n")
    (tmp_path / "config.json").write_text('{"model_type": "foreign"}')
    classes = '["foreign.T", "foreign.T"]'
    (tmp_path / "tokenizer_config.json").write_text(
        f'{{"auto_map": {{"AutoTokenizer": {classes}}}}}'
    )
    with pytest.raises(TokenizerError):
        vocabulary.load(str(tmp_path))
    assert not questions
    assert not (tmp_path / "ran").exists()
