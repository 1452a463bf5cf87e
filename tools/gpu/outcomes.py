"""What pytest's own lines say: how many tests passed, which failed, why some were skipped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_ENDINGS = "PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS"
# "tests/a.py::test_b PASSED [ 5%]", or with pytest-xdist "[gw1] [ 5%] PASSED tests/a.py::test_b".
_ALONE = re.compile(rf"^(\S+\.py::.+?) ({_ENDINGS})\b")
_SPREAD = re.compile(rf"^\[gw\d+\] \[ *\d+%\] ({_ENDINGS}) (\S+\.py::.+?)\s*$")
# "collected 9 items", "collected 9 items / 5 deselected / 4 selected", "6 workers [4 items]".
_ITEMS = re.compile(r"\bcollected .*?(\d+) (?:selected|items?)$|^\d+ workers? \[(\d+) items?\]")
_REASON = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.*)")
_BROKEN = re.compile(r"^ERROR (\S+)")


@dataclass
class Outcomes:
    """Of one stage of tests.

    Attributes:
        counts: tests by how they ended, in lower case.
        failed: ids of the tests that failed, and files that could not be collected.
        reasons: why tests or whole files were skipped, and how many.
        items: tests that were to run; None if it was never said.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    items: int | None = None

    @property
    def missing(self) -> int:
        """Tests that were to run and have not ended."""
        return max(0, (self.items or 0) - sum(self.counts.values()))

    def verdict(self, verdict: str, code: int) -> str:
        """What a stage of tests comes to: its command's `verdict`, unless nothing was tested."""
        if code == 5 and not self.failed:
            return "no tests"
        return "all skipped" if verdict == "ok" and set(self.counts) == {"skipped"} else verdict


def read(lines: Iterable[str]) -> Outcomes:
    """The outcomes in the output of `pytest -v -ra`."""
    found, ended = Outcomes(), {}
    broken = []
    for line in lines:
        if match := _ALONE.match(line):
            ended[match[1]] = match[2]
        elif match := _SPREAD.match(line):
            ended[match[2]] = match[1]
        elif match := _REASON.match(line):
            found.reasons[match[2]] += int(match[1])
        elif match := _BROKEN.match(line):
            broken.append(match[1])
        elif match := _ITEMS.search(line):
            found.items = int(next(filter(None, match.groups())))
    found.counts.update(ending.lower() for ending in ended.values())
    found.failed = [name for name, ending in ended.items() if ending in ("FAILED", "ERROR")]
    found.failed += [name for name in broken if "::" not in name]
    return found
