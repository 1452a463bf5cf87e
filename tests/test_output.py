from __future__ import annotations

import io
import sys

import pytest

from impcore.output import escape_what_it_lacks


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", r"\u03a9 \xd7"), ("latin-1", r"\u03a9 ×"), ("utf-8", "Ω ×")],
)
def test_what_an_encoding_lacks_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    escape_what_it_lacks()
    print("Ω ×", end="", flush=True)
    assert written.getvalue().decode(encoding) == shown


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_stream_without_an_encoding_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    escape_what_it_lacks()
    assert sys.stdout is stream
