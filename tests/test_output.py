from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from impcore import output
from impcore.output import doing, escape_what_it_lacks


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


def test_what_is_being_done_is_a_live_line_on_a_terminal() -> None:
    out = io.StringIO()
    with doing(Console(file=out, force_terminal=True, width=80, color_system=None)) as tell:
        tell("timing [b]steps[/b]")
    assert "timing [b]steps[/b]" in out.getvalue()


def test_what_is_being_done_is_seldom_a_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now, out = 0.0, io.StringIO()
    monkeypatch.setattr(output, "monotonic", lambda: now)
    with doing(Console(file=out)) as tell:
        for number in range(100):
            tell(f"[{number}]" + "x" * 100)
            now += 1.0
    assert [line[:4] for line in out.getvalue().splitlines()] == ["[30]", "[60]", "[90]"]
