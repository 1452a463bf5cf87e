"""`python -m impcore.rg report RUN…` and `python -m impcore.rg import KIND PATH --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from impcore.errors import ImpcoreError
from impcore.output import doing, escape_what_it_lacks
from impcore.rg.estimators import ESTIMATORS
from impcore.rg.exponents import DEVIATIONS
from impcore.rg.published import NUMBERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, or 2 when something could not be read (the rest is done)."""
    escape_what_it_lacks()
    options = _parser().parse_args(arguments)
    try:
        made: int = options.run(options)
    except (ImpcoreError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return made


def _report(options: argparse.Namespace) -> int:
    from impcore.rg import report

    chosen = report.Options(
        estimator=options.estimator,
        rounds=_rounds(options.rounds),
        level=options.level,
        eps_np=options.eps_np,
        deviation=options.deviation,
        beside=tuple(options.beside) if options.beside is not None else "auto",
    )
    runs = [_labelled(text) for text in options.runs]
    if options.out is not None:
        if len(runs) == 1:
            path = runs[0][1]
            made = report.write(path, options=chosen, out=options.out, files=options.figures)
        else:
            made = report.write_joint(runs, options.out, options=chosen, files=options.figures)
        print(made)
        return 0
    failures = 0
    for _, directory in runs:
        try:
            print(report.write(directory, options=chosen, files=options.figures))
        except ImpcoreError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
        except ValueError as error:  # an option that does not fit this run
            failures += 1
            print(f"error: {directory}: {error}", file=sys.stderr)
    return 2 if failures else 0


def _import(options: argparse.Namespace) -> int:
    from impcore.rg.importers import Options, import_run

    chosen = Options(
        blocks=_blocks(options.block),
        granularity=options.granularity,
        theta=options.theta,
        files=options.files,
        include=options.include,
        exclude=options.exclude,
    )
    with doing() as tell:
        made = import_run(options.kind, options.path, options.out, chosen, tell)
    for directory in made:
        print(directory)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m impcore.rg",
        description="Renormalisation-group analysis of pruning runs.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_report(commands)
    _add_import(commands)
    return parser


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="make the report of one run, or one report of many",
        description="Without --out, rewrites sigma.csv and report.html in every run directory. "
        "With --out, makes one report of all the runs in DIR and leaves their directories alone.",
    )
    report.set_defaults(run=_report)
    report.add_argument(
        "runs", nargs="+", metavar="RUN_DIR",
        help="a run directory, or LABEL=RUN_DIR: runs of one label are seeds of one experiment "
        "(else those whose configs differ in [run] alone)",
    )  # fmt: skip
    report.add_argument("--out", type=Path, metavar="DIR", help="where the report goes")
    report.add_argument(
        "--figures", action="store_true",
        help="also write every figure as SVG, PDF and tidy CSV into figures/",
    )  # fmt: skip
    report.add_argument("--estimator", choices=ESTIMATORS, default="mean_log", help="of σ")
    report.add_argument(
        "--rounds", metavar="FIRST:LAST", help="states that σ is of, both included: 2:10, 2:, :10"
    )
    report.add_argument("--level", type=float, default=0.95, help="of the intervals")
    report.add_argument(
        "--eps-np", type=_eps_np, default="free", metavar="free|measured|NUMBER",
        help="ε_np of eq. 15: free within ±10 %%, measured at the densest state, or given",
    )  # fmt: skip
    report.add_argument("--deviation", choices=DEVIATIONS, default="relative", help="of eq. 15")
    report.add_argument(
        "--beside", type=int, choices=NUMBERS, nargs="*", metavar="TABLE",
        help="published tables 2 to 7 to set beside the runs; none: leave them out "
        "(default: those with the same blocks)",
    )  # fmt: skip


def _add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from impcore.rg.importers import GRANULARITIES, KINDS

    command = commands.add_parser(
        "import",
        help="make a run directory of a run that other code made",
        description="Reads the checkpoints of another code base and writes flow.npz, import.toml "
        "(what was read) and, where accuracies are recorded, rounds.jsonl. Never runs code from a "
        "file.",
        epilog="KIND is one of: " + "; ".join(f"{name}: {what}" for name, what in KINDS.items()),
    )
    command.set_defaults(run=_import)
    command.add_argument("kind", choices=KINDS, metavar="KIND", help="whose files they are")
    command.add_argument("path", type=Path, metavar="PATH")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="run directory")
    command.add_argument(
        "--block", action="append", default=[], metavar="NAME=PATTERN[,PATTERN]",
        help="a block and the tensors in it, by shell patterns; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--granularity", choices=GRANULARITIES, default="stage",
        help="blocks by the names of known models, where no --block is given",
    )  # fmt: skip
    command.add_argument(
        "--theta", choices=("trained", "rewound"), default="trained",
        help="which weights M is of (rewound: open_lth and cv_lth)",
    )  # fmt: skip
    command.add_argument("--files", metavar="GLOB", help="checkpoints under PATH, in natural order")
    for name in ("include", "exclude"):
        command.add_argument(
            f"--{name}", action="append", default=[], metavar="PATTERN",
            help="prunable tensors, by shell patterns (state_dicts)",
        )  # fmt: skip


def _labelled(text: str) -> tuple[str | None, Path]:
    """LABEL=RUN_DIR, or a run directory, whose name may hold "=" itself."""
    label, equals, path = text.partition("=")
    if equals and label and path and not Path(text).exists():
        return label, Path(path)
    return None, Path(text)


def _rounds(text: str | None) -> slice | None:
    """FIRST:LAST, both included."""
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not colon or not all(part == "" or part.isdigit() for part in (first, last)):
        raise ValueError(f"rounds must be FIRST:LAST, such as 2:10, not {text!r}")
    return slice(int(first) if first else None, int(last) + 1 if last else None)


def _eps_np(text: str) -> float | str:
    with suppress(ValueError):  # what is no number either is refused by name, with the rest
        return float(text)
    return text


def _blocks(given: Sequence[str]) -> dict[str, list[str]]:
    blocks: dict[str, list[str]] = {}
    for text in given:
        name, _, patterns = text.partition("=")
        if not name or not patterns:
            raise ValueError(f"block must be NAME=PATTERN[,PATTERN], not {text!r}")
        blocks.setdefault(name, []).extend(patterns.split(","))
    return blocks


if __name__ == "__main__":
    sys.exit(main())
