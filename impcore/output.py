"""What the commands print, on whatever they print it to.

Invariant: no character ends a command: one that the output's encoding lacks is shown escaped.
"""

from __future__ import annotations

import io
import sys


def escape_what_it_lacks() -> None:
    """Let standard output show "Ω" as "\\u03a9" where it has no "Ω", as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
