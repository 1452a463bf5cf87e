"""impcore-run: the command from its first moment, before even its own modules are loaded.

Invariant: whenever Ctrl-C comes, no traceback answers it. Exit codes: 0 done, 2 a wrong command
line or recipe, 1 any other error of impcore's own, 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (sys.argv without it) and returns its exit code."""
    try:
        from impcore import command, output  # a second, in which Ctrl-C may come already

        output.escape_what_it_lacks()
        return command.main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has left: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
