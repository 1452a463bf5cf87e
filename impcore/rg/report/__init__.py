"""Make the report of one run, or one report of many: CSV files and a self-contained report.html.

Invariant: the same runs give the same bytes. Everything is rendered in full before the first file
is replaced, and a run that has no σ yet still gets a report, which says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from impcore import atomic
from impcore.errors import RunDirectoryError
from impcore.rg.report import joint, notes, page, sections, sigma_csv, tidy
from impcore.rg.report.comparison import Comparison, compare
from impcore.rg.report.page import Html
from impcore.rg.report.subject import AUTO, Group, Options, Subject, groups, subject, subjects
from impcore.rg.run import Run, load

__all__ = ["Options", "write", "write_joint"]

CSV, HTML, FIGURES = "sigma.csv", "report.html", "figures"


def write(
    run_dir: Path, *, options: Options | None = None, out: Path | None = None, files: bool = False
) -> Path:
    """Rewrite sigma.csv and report.html of a run directory; returns the path of the latter.

    Args:
        out: where they go; the run directory by default.
        files: also write every figure as SVG, PDF and tidy CSV into figures/.

    Raises:
        RunDirectoryError: the directory is not a whole run, or `out` cannot be written to.
        ValueError: an option is wrong.
    """
    chosen = options or Options()
    one = subject(load(run_dir), chosen)
    comparisons = compare([one], [], chosen)
    made = _single(one, comparisons, chosen, files)
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
        runs: label of the run's group (None: found from the configs) and run directory.

    Raises:
        RunDirectoryError, ValueError: as `write`; then nothing is written.
    """
    chosen = options or Options()
    loaded: list[tuple[str | None, Run]] = [(label, load(path)) for label, path in runs]
    if not loaded:
        raise ValueError("runs must hold at least one run, not none")
    made = subjects(loaded, chosen)
    found = groups(made)
    comparisons = compare(made, found, chosen)
    content = {
        CSV: sigma_csv.render_joint([(one.label, one.run, one.analyses) for one in made]),
        "rounds.csv": tidy.rounds(made),
        "exponents.csv": tidy.exponents(made),
        "distances.csv": tidy.distances(comparisons, chosen.level),
    }
    content |= _many(made, found, comparisons, chosen, files)
    return _write_all(out, content)


def _write_all(out: Path, content: dict[str, bytes]) -> Path:
    """Write the files, report.html last."""
    try:
        for name in content:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{out}: cannot be written: {error.strerror}") from error
    for name, data in content.items():
        atomic.write(out / name, data)
    return out / HTML


def _single(
    one: Subject, comparisons: Sequence[Comparison], options: Options, files: bool
) -> dict[str, bytes]:
    run = one.run
    known = any(analysis.eigen is not None for analysis in one.analyses.values())
    brief = page.prose(notes.BRIEFLY) if known else Html("")
    tables = [sections.sigma_table(analysis) for analysis in one.analyses.values()]
    beside = [joint.comparison(some) for some in comparisons if some.published]
    drawn = _figures([one], [some for some in comparisons if some.published], files)
    parts = [
        sections.heading(run),
        page.section("Eigenvalues", *tables, brief),
        _section("Figures", drawn[0]),
        _section("Beside the published values", [*beside, *_printed(options)]),
        _section("The flow as a whole", sections.flow_tables(one)),
        page.section("Critical exponent", sections.exponent_table(one)),
        page.section("Rounds", sections.rounds_table(run)),
        sections.about(run),
        sections.setup(run),
    ]
    title = f"{run.name} – impcore report"
    return {**drawn[1], HTML: page.page(title, [part for part in parts if part]).encode()}


def _many(
    made: Sequence[Subject],
    found: Sequence[Group],
    comparisons: Sequence[Comparison],
    options: Options,
    files: bool,
) -> dict[str, bytes]:
    drawn = _figures(made, comparisons, files)
    tables = [joint.comparison(one) for one in comparisons]
    apart = [joint.distances(one, options.level) for one in comparisons]
    parts = [
        joint.heading(made, found),
        page.section("Eigenvalues", *tables, joint.reasons(made)),
        _section("Over seeds", joint.seeds(found)),
        _section("Figures", drawn[0]),
        page.section("Similarity", *apart, joint.static(made)),
        _section("Critical exponents", joint.exponents(made, found)),
        _section("Published values", _printed(options)),
        joint.about(made),
        sections.environment_section(),
    ]
    title = f"{len(made)} runs – impcore report"
    return {**drawn[1], HTML: page.page(title, [part for part in parts if part]).encode()}


def _figures(
    made: Sequence[Subject], comparisons: Sequence[Comparison], files: bool
) -> tuple[list[Html], dict[str, bytes]]:
    """The figures' markup, and their files if they are wanted."""
    if not any(len(one.run.remaining) for one in made):
        return [], {}
    from impcore.rg.report.drawing import pdf_file, svg_file  # matplotlib takes half a second
    from impcore.rg.report.gallery import gallery

    drawn = gallery(made, comparisons)
    content: dict[str, bytes] = {}
    for one in drawn if files else ():
        content[f"{FIGURES}/{one.name}.svg"] = svg_file(one.figure).encode()
        content[f"{FIGURES}/{one.name}.pdf"] = pdf_file(one.figure)
        content[f"{FIGURES}/{one.name}.csv"] = tidy.render(one.headers, one.rows)
    return [page.figures([one.html() for one in drawn])], content


def _printed(options: Options) -> list[Html]:
    """Tables that were asked for by number, as printed."""
    if options.beside == AUTO:
        return []
    return joint.published_tables([int(number) for number in options.beside])


def _section(heading: str, parts: Sequence[Html]) -> Html:
    """A titled part of the page, or nothing where it would be empty."""
    shown = [part for part in parts if part]
    return page.section(heading, *shown) if shown else Html("")
