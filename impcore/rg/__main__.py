"""`python -m impcore.rg report RUN_DIR…`: rewrite sigma.csv and report.html of finished runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from impcore.errors import RunDirectoryError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 when a directory could not be analysed (the others are)."""
    options = _parser().parse_args(arguments)
    from impcore.rg import report

    failures = 0
    for directory in options.run_dir:
        try:
            print(report.write(directory))
        except RunDirectoryError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
    return 2 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m impcore.rg",
        description="Renormalisation-group analysis of pruning runs.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="rewrite sigma.csv and report.html in run directories",
        description="Reads config.toml, rounds.jsonl and flow.npz of each run directory, and "
        "rewrites its sigma.csv and report.html.",
    )
    report.add_argument("run_dir", nargs="+", type=Path, metavar="RUN_DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
