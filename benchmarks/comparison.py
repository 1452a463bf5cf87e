"""What one comparison found, and everything that a benchmark found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from targets import Target
from timing import Run


class WrongError(Exception):
    """A backend does not compute what it should: its times would be worth nothing."""


@dataclass(frozen=True)
class Floor:
    """What an op cannot help moving.

    Attributes:
        bytes: read and written.
        rate: what a GPU's floor is reckoned by: "copy" (read and written alike) or "read".
        loop: makes the bare loop that the host runs for its floor.
    """

    bytes: float
    rate: str
    loop: Callable[[], Run]


@dataclass
class Comparison:
    """The medians of one comparison, in milliseconds.

    Attributes:
        op: what was done to what, the first word being the op: "select resnet50".
        bytes: what the first case cannot help moving.
        floor: the case that the first is measured against.
        left_out: contenders that were not timed, and why.
        rates: bytes a second that plain copies and reads reached in the same turns, on a GPU.
    """

    op: str
    dtype: str
    n: int
    density: float
    bytes: float
    floor: str
    ms: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The case that the others are compared with."""
        return next(iter(self.ms))

    def as_json(self) -> dict[str, Any]:
        """Everything that the table shows, as plain data."""
        data = asdict(self)
        for optional in ("left_out", "rates"):
            if not data[optional]:
                del data[optional]
        if self.ms:
            mine = self.ms[self.subject]
            data["gb_per_s"] = self.bytes / mine / 1e6
            data["ratio"] = {name: ms / mine for name, ms in self.ms.items()}
            if self.floor in self.ms:
                data["of_floor"] = mine / self.ms[self.floor]
        return data


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        facts: targets that are no ratio of two times, such as memory.
        left_out: comparisons that were not made, and why.
    """

    comparisons: list[Comparison] = field(default_factory=list)
    facts: list[Target] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Takes over what another report holds."""
        self.comparisons += other.comparisons
        self.facts += other.facts
        self.left_out |= other.left_out
