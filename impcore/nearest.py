"""Which known name is meant by an unknown one, most likely: for messages about it.

Invariant: importing this module does not import PyTorch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.5  # of the letters of both names in common, in order


def closest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is closest; None if none is close.

    Of names as close, it is the one with most in common in one piece: resnet20 for resnet21.
    """
    matcher = difflib.SequenceMatcher(b=str(name)[:100])

    def closeness(other: str) -> tuple[float, int]:
        matcher.set_seq1(other)
        return matcher.ratio(), matcher.find_longest_match().size

    close = [other for other in known if closeness(other) >= (_CLOSE, 0)]
    return max(close, key=closeness, default=None)


def nearest(name: object, known: Iterable[str]) -> str:
    """` (nearest: 'X')` for the closest of the known names, or "" if none is close."""
    found = closest(name, known)
    return "" if found is None else f" (nearest: {found!r})"
