"""What a message about an unknown name adds: the known one that is meant, most likely.

Invariant: importing this module does not import PyTorch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """` (nearest: 'X')` for the closest of the known names, or "" if none is close."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" (nearest: {close[0]!r})" if close else ""
