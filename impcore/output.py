"""What the commands print, on whatever they print it to.

Invariant: no character ends a command: one that the output's encoding lacks is shown escaped.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Tell = Callable[[str], None]
_PLAIN_SECONDS = 30.0


def escape_what_it_lacks() -> None:
    """Let standard output show "Ω" as "\\u03a9" where it has no "Ω", as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def doing(console: Console | None = None) -> Iterator[Tell]:
    """Within the block, what the yielded function is told is shown as what is being done.

    On standard error, unless another `console` is given: on a terminal as a live line, elsewhere as
    a line every half minute at most, with none in the first.
    """
    from rich.console import Console as Rich  # a tenth of a second
    from rich.text import Text

    shown = console or Rich(stderr=True)
    if shown.is_terminal and not shown.is_dumb_terminal:
        with shown.status("", refresh_per_second=2) as status:
            yield lambda text: status.update(Text(text))
        return
    due = monotonic() + _PLAIN_SECONDS

    def tell(text: str) -> None:
        nonlocal due
        if monotonic() >= due:
            shown.print(Text(text), soft_wrap=True)
            due = monotonic() + _PLAIN_SECONDS

    yield tell
