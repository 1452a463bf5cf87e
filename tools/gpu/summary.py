"""The table at the end of a GPU run, rewritten after every stage."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

_COLUMNS = ("passed", "failed", "skipped", "not run")


@dataclass
class Row:
    """One stage as it ended.

    Attributes:
        stage: its name.
        verdict: "ok", or what went wrong.
        seconds: that it took.
        counts: tests that passed, failed, were skipped, did not run; empty where none are run.
        failed: what failed, by name.
        reasons: why tests were skipped.
    """

    stage: str
    verdict: str
    seconds: float
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether nothing went wrong."""
        return self.verdict == "ok"


def text(rows: list[Row], out: Path) -> str:
    """The table, what failed, why tests were skipped, and where the rest lies."""
    lines = [f"{'stage':<16}{'':<14}" + "".join(f"{c:>9}" for c in _COLUMNS) + f"{'seconds':>9}"]
    for row in rows:
        counts = "".join(f"{row.counts.get(c, ''):>9}" for c in _COLUMNS)
        lines.append(f"{row.stage:<16}{row.verdict:<14}{counts}{row.seconds:>9.0f}")
    total = Counter[str]()
    reasons = Counter[str]()
    for row in rows:
        total.update(row.counts)
        reasons.update(row.reasons)
    tested = "".join(f"{total[c]:>9}" for c in _COLUMNS)
    lines.append(f"{'all':<30}{tested}{sum(row.seconds for row in rows):>9.0f}")
    failed = [name for row in rows for name in row.failed]
    lines += ["", *(f"FAILED  {name}" for name in failed)] if failed else []
    lines += (
        ["", *(f"SKIPPED {n:>4}  {why}" for why, n in reasons.most_common())] if reasons else []
    )
    return "\n".join([*lines, "", f"results in {out}", ""])


def write(rows: list[Row], out: Path) -> str:
    """Writes summary.txt and summary.json; returns the text."""
    said = text(rows, out)
    (out / "summary.txt").write_text(said)
    (out / "summary.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return said
