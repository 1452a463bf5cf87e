"""A report put together: which parts, in which order, with the files that go beside it.

Invariant: a part that would be empty is left out with its heading; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from impcore.rg.report import claims, grid_sections, joint, notes, page, sections, tidy
from impcore.rg.report.comparison import Comparison
from impcore.rg.report.grid import Grid
from impcore.rg.report.page import Html
from impcore.rg.report.subject import AUTO, Group, Options, Subject

if TYPE_CHECKING:
    from impcore.rg.report.gallery import Drawn

HTML, FIGURES = "report.html", "figures"


def single(
    one: Subject, comparisons: Sequence[Comparison], options: Options, files: bool
) -> dict[str, bytes]:
    """The report of one run; returns file name -> content."""
    run = one.run
    known = any(analysis.eigen is not None for analysis in one.analyses.values())
    brief = page.prose(notes.BRIEFLY) if known else Html("")
    tables = [sections.sigma_table(analysis) for analysis in one.analyses.values()]
    beside = [joint.comparison(some) for some in comparisons if some.published]
    drawn = _figures([one], [some for some in comparisons if some.published], files)
    parts = [
        sections.heading(run),
        page.section(
            "Eigenvalues", sections.rounds_in_use([one]), *tables, sections.nesting(one), brief
        ),
        _section("Figures", drawn[0]),
        _section("Beside the published values", [*beside, *_printed(options)]),
        _section("The flow as a whole", sections.flow_tables(one)),
        page.section("Critical exponent", sections.exponent_table(one)),
        page.section("Rounds", sections.rounds_table(run)),
        sections.about(run, options),
        sections.setup(run),
    ]
    title = f"{run.name} – impcore report"
    return {**drawn[1], HTML: page.page(title, [part for part in parts if part]).encode()}


def many(
    made: Sequence[Subject],
    found: Sequence[Group],
    comparisons: Sequence[Comparison],
    options: Options,
    files: bool,
) -> dict[str, bytes]:
    """The report of several runs; returns file name -> content."""
    drawn = _figures(made, comparisons, files)
    tables = [joint.comparison(one) for one in comparisons]
    apart = [joint.distances(one, options.level) for one in comparisons]
    collapses = [sections.collapses(one.first, of=f" in {one.label}") for one in made]
    nesting = [sections.nesting(one, named=True) for one in made]
    notices = [joint.reasons(made), *collapses, *nesting]
    parts = [
        joint.heading(made, found),
        page.section("Eigenvalues", sections.rounds_in_use(made), *tables, *notices),
        _section("Over seeds", joint.seeds(found)),
        _section("Figures", drawn[0]),
        page.section("Similarity", *apart, joint.static(made)),
        _section("Critical exponents", joint.exponents(made, found)),
        _section("Published values", _printed(options)),
        joint.about(made, options),
        sections.environment_section(),
    ]
    title = f"{len(made)} runs – impcore report"
    return {**drawn[1], HTML: page.page(title, [part for part in parts if part]).encode()}


def over_tasks(
    of: Grid, comparisons: Sequence[Comparison], options: Options, files: bool
) -> dict[str, bytes]:
    """The report of an experiment over tasks; returns file name -> content."""
    from impcore.rg.report import grid_figures  # matplotlib takes half a second

    made = list(of.subjects.values())
    own = grid_figures.drawn(of)
    drawn = _figures(made, comparisons, files)
    tables = [joint.comparison(one) for one in comparisons]
    apart = [joint.distances(one, options.level) for one in comparisons]
    notices = [joint.reasons(made), *(sections.nesting(one, named=True) for one in made)]
    parts = [
        grid_sections.heading(of),
        _section("Pre-training and given weights", grid_sections.start(of)),
        _section("Scores", grid_sections.scores(of)),
        page.section(
            "Eigenvalues side by side",
            sections.rounds_in_use(made),
            grid_sections.sigmas(of, options),
            *notices,
        ),
        page.figures([one.html() for one in own]) if own else Html(""),
        _section("Beside the paper", claims.claims(of, options)),
        page.section("All runs", joint.overview(made), *tables),
        _section("Figures of all runs", drawn[0]),
        page.section("Similarity", *apart, joint.static(made)),
        _section("Critical exponents", joint.exponents(made, [])),
        _section("Published values", _printed(options)),
        joint.about(made, options),
        page.section("Configuration", page.preformatted(of.tasks.config_text.strip("\n"))),
        sections.environment_section(),
    ]
    content = {**drawn[1], **(_files(own) if files else {})}
    title = f"{of.tasks.name} – impcore report"
    return {**content, HTML: page.page(title, [part for part in parts if part]).encode()}


def _figures(
    made: Sequence[Subject], comparisons: Sequence[Comparison], files: bool
) -> tuple[list[Html], dict[str, bytes]]:
    """The figures' markup, and their files if they are wanted."""
    if not any(len(one.run.remaining) for one in made):
        return [], {}
    from impcore.rg.report.gallery import gallery  # matplotlib takes half a second

    drawn = gallery(made, comparisons)
    return [page.figures([one.html() for one in drawn])], _files(drawn) if files else {}


def _files(drawn: Sequence[Drawn]) -> dict[str, bytes]:
    from impcore.rg.report.drawing import pdf_file, svg_file

    content: dict[str, bytes] = {}
    for one in drawn:
        content[f"{FIGURES}/{one.name}.svg"] = svg_file(one.figure).encode()
        content[f"{FIGURES}/{one.name}.pdf"] = pdf_file(one.figure)
        content[f"{FIGURES}/{one.name}.csv"] = tidy.render(one.headers, one.rows)
    return content


def _printed(options: Options) -> list[Html]:
    """Tables that were asked for by number, as printed."""
    if options.beside == AUTO:
        return []
    return joint.published_tables([int(number) for number in options.beside])


def _section(heading: str, parts: Sequence[Html]) -> Html:
    """A titled part of the page, or nothing where it would be empty."""
    shown = [part for part in parts if part]
    return page.section(heading, *shown) if shown else Html("")
