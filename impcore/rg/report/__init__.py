"""Make the report of one run, or one report of many: CSV files and a self-contained report.html.

Invariant: the same runs give the same bytes. Everything is rendered in full before the first file
is replaced, and a run that has no σ yet still gets a report, which says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from impcore import atomic
from impcore.rg.report import assemble, sigma_csv, tidy
from impcore.rg.report.assemble import HTML
from impcore.rg.report.comparison import Comparison, compare
from impcore.rg.report.grid import Grid
from impcore.rg.report.subject import Options, Subject, groups, subject, subjects, together
from impcore.rg.run import Run, load
from impcore.rg.tasks import is_tasks, load_tasks

__all__ = ["Options", "write", "write_joint"]

CSV = "sigma.csv"


def write(
    run_dir: Path, *, options: Options | None = None, out: Path | None = None, files: bool = False
) -> Path:
    """Rewrite sigma.csv and report.html of a run directory; returns the path of the latter.

    The directory of an experiment over tasks gets one report of all its runs, and the tidy files
    of `write_joint`.

    Args:
        out: where they go; the run directory by default.
        files: also write every figure as SVG, PDF and tidy CSV into figures/.

    Raises:
        RunDirectoryError: the directory is not a whole run, or `out` cannot be written to.
        ValueError: an option is wrong.
    """
    chosen = options or Options()
    if is_tasks(Path(run_dir)):
        return _write_tasks(Path(run_dir), chosen, out, files)
    one = subject(load(run_dir), chosen)
    comparisons = compare([one], [], chosen)
    made = assemble.single(one, comparisons, chosen, files)
    made = {CSV: sigma_csv.render(one.run, one.analyses), **made}
    return _write_all(out or one.run.path, made)


def write_joint(
    runs: Sequence[tuple[str | None, Path]],
    out: Path,
    *,
    options: Options | None = None,
    files: bool = False,
) -> Path:
    """Write one report of several runs into `out`: report.html and tidy CSV files.

    Args:
        runs: label of the run's group (None: found from the configs) and run directory; that of
            an experiment over tasks stands for all its runs.

    Raises:
        RunDirectoryError, ValueError: as `write`, or a run is given twice; then nothing is written.
    """
    chosen = options or Options()
    loaded: list[tuple[str | None, Run]] = [
        (label, run) for label, path in runs for run in _runs(Path(path))
    ]
    if not loaded:
        raise ValueError("runs must hold at least one run, not none")
    _refuse_repeated([run.path for _, run in loaded])
    made = subjects(loaded, chosen)
    found = groups(made)
    comparisons = compare(made, found, chosen)
    content = assemble.many(made, found, comparisons, chosen, files)
    return _write_all(out, {**_tidy(made, comparisons, chosen), **content})


def _refuse_repeated(paths: Sequence[Path]) -> None:
    """One run is not two: not two seeds, and not a pair at distance 0."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise ValueError(f"runs must be different, but {path} is given twice")
        seen.add(path.resolve())


def _runs(path: Path) -> list[Run]:
    return list(load_tasks(path).runs.values()) if is_tasks(path) else [load(path)]


def _write_tasks(directory: Path, options: Options, out: Path | None, files: bool) -> Path:
    of = load_tasks(directory)
    labels, tasks = [f"{init}-{task}" for init, task in of.runs], [task for _, task in of.runs]
    made = together(list(of.runs.values()), labels, tasks, options)
    grid = Grid(of, dict(zip(of.runs, made, strict=True)))
    comparisons = compare(made, [], options)
    content = assemble.over_tasks(grid, comparisons, options, files)
    return _write_all(out or directory, {**_tidy(made, comparisons, options), **content})


def _tidy(
    made: Sequence[Subject], comparisons: Sequence[Comparison], options: Options
) -> dict[str, bytes]:
    """The CSV files of several runs."""
    return {
        CSV: sigma_csv.render_joint([(one.label, one.run, one.analyses) for one in made]),
        "rounds.csv": tidy.rounds(made),
        "exponents.csv": tidy.exponents(made),
        "distances.csv": tidy.distances(comparisons, options.level),
    }


def _write_all(out: Path, content: dict[str, bytes]) -> Path:
    """Write the files, report.html last."""
    for name in content:
        atomic.make_directory((out / name).parent)
    for name, data in content.items():
        atomic.write(out / name, data)
    return out / HTML
