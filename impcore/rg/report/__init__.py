"""Make a run's report: sigma.csv and one self-contained report.html.

Invariant: the same run directory gives the same bytes. Both files are rendered in full before the
first is replaced, and a run that has no σ yet still gets a report, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from impcore.rg.analysis import Analysis, analyse
from impcore.rg.atomic import write_bytes
from impcore.rg.formats import percent
from impcore.rg.report import notes, page, sections, sigma_csv
from impcore.rg.report.page import Html
from impcore.rg.run import Run, load

CSV, HTML = "sigma.csv", "report.html"


def write(run_dir: Path) -> Path:
    """Rewrite sigma.csv and report.html of a run directory; returns the path of the latter.

    Raises:
        RunDirectoryError: the directory is not a whole run, or cannot be written to.
    """
    run = load(run_dir)
    analyses = analyse(run)
    table = sigma_csv.render(run, analyses)
    document = render(run, analyses).encode("utf-8")
    write_bytes(run.path / CSV, table)
    write_bytes(run.path / HTML, document)
    return run.path / HTML


def render(run: Run, analyses: Mapping[str, Analysis]) -> str:
    """The report as one HTML document."""
    known = any(analysis.eigen is not None for analysis in analyses.values())
    brief = page.prose(notes.BRIEFLY) if known else Html("")
    tables = [sections.sigma_table(analysis) for analysis in analyses.values()]
    parts = [
        sections.heading(run),
        page.section("Eigenvalues", *tables, brief),
        page.section("Figures", page.figures(_figures(run, analyses))) if run.rows else Html(""),
        page.section("Rounds", sections.rounds_table(run)),
        sections.about(run),
        sections.setup(run),
    ]
    return page.page(f"{run.name} – impcore report", [part for part in parts if part])


def _figures(run: Run, analyses: Mapping[str, Analysis]) -> list[Html]:
    from impcore.rg.report import figures  # matplotlib takes half a second to import
    from impcore.rg.report.drawing import svg

    first, last = run.rows[0].accuracy, run.rows[-1].accuracy
    made = [
        page.figure(
            svg(figures.accuracy(run), "accuracy"),
            "Test accuracy against density",
            "Test accuracy against density, pruning from left to right, blue (first round) to red "
            f"(last): {percent(first)} at first (dashed), {percent(last)} at "
            f"density {percent(float(run.density[-1]))}.",
        )
    ]
    magnitude = analyses["M"]
    if pair := figures.projection_blocks(magnitude):
        i, j = (run.names[column] for column in pair)
        known = None not in (magnitude.index(i), magnitude.index(j))
        choice = ", the blocks with the largest and the smallest mean σ" if known else ""
        made.append(
            page.figure(
                svg(figures.projection(run, magnitude, pair), "projection"),
                f"Flow projected on M of {i} and M of {j}",
                f"The flow projected on {i} and {j}{choice}, as in Fig. 2 of Redman et al.: one "
                "point a round, blue (first) to red (last).",
            )
        )
    for name, analysis in analyses.items():
        drawing = svg(figures.flow(run, analysis), f"flow-{name}")
        complete = len(figures.flow_columns(analysis)) == len(analysis.names)
        made.append(_flow_figure(drawing, analysis, complete))
    for name, analysis in analyses.items():
        if analysis.eigen is not None:
            made.append(_sigma_figure(svg(figures.sigma(analysis), f"sigma-{name}"), name))
    return made


def _flow_figure(drawing: str, analysis: Analysis, complete: bool) -> Html:
    caption = (
        f"Flow of {analysis.observable} per block on a logarithmic axis: a block whose λ is "
        "constant is a straight line."
    )
    if not complete:
        share = analysis.values[:, analysis.names.index("rest")]
        first, last = percent(float(share[0])), percent(float(share[-1]))
        caption += f" Not drawn, because far off: “rest”, {first} at first and {last} at last."
    return page.figure(drawing, f"Flow of {analysis.observable} per block", caption)


def _sigma_figure(drawing: str, name: str) -> Html:
    return page.figure(
        drawing,
        f"Mean σ of {name} per block with error bars",
        f"Mean σ of {name} per block. Thick bar: ± SEM over the steps; thin bar: 95 % t-interval; "
        "colour and marker: relevance.",
    )
