"""The parts of a report that are words and tables; numbers are set as a reader compares them.

Invariant: a value that is not defined is shown as a dash, never as 0, and never left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from impcore.rg.analysis import SHARES, Analysis
from impcore.rg.formats import DASH, duration, percent
from impcore.rg.report import notes, page
from impcore.rg.report.environment import environment, recorded
from impcore.rg.report.page import Html
from impcore.rg.report.subject import Options, Subject
from impcore.rg.run import Run
from impcore.rg.similarity import fixed_point, uniformity
from impcore.rg.table import Table

_WHAT = {"M": "share of the remaining magnitude", "P": "share of the remaining weights"}

_CLOSED = 1e-9  # to which flow.npz holds shares, and what is asserted of them


def heading(run: Run) -> Html:
    """The run's name, what it is, and its key figures."""
    parts = [run.setting("model", "arch"), run.setting("data", "name")]
    subject = " on ".join(part for part in parts if part)
    lead = f"{subject}: iterative" if subject else "Iterative"
    title = Html(f"<h1>{page.text(run.name)}</h1>")
    return page.join(
        title, page.paragraph(f"{lead} {run.method} and its flow.", "lead"), _facts(run)
    )


def _facts(run: Run) -> Html:
    pairs = [("trained states", str(len(run.remaining)))]
    if len(run.remaining):
        pairs += [
            ("weights at the start", f"{int(run.remaining[0]):,}"),
            ("weights at the end", f"{int(run.remaining[-1]):,}"),
            ("density at the end", percent(float(run.density[-1]))),
        ]
    accuracy = run.accuracy
    if np.isfinite(accuracy).any():
        best = int(np.nanargmax(accuracy))
        pairs += [
            ("accuracy at the start", percent(float(accuracy[0]))),
            ("accuracy at the end", percent(float(accuracy[-1]))),
            (f"best accuracy (round {best})", percent(float(accuracy[best]))),
        ]
    seconds = sum(row.seconds for row in run.rows)
    if run.rows and math.isfinite(seconds):
        pairs.append(("total time", duration(seconds)))
    return page.facts(pairs)


def sigma_table(analysis: Analysis) -> Html:
    """σ of every block, or why there is none; and how far the shares are from closing."""
    name = analysis.observable
    what = f"{name}, {_WHAT.get(name, 'an observable of the user')}"
    if analysis.eigen is None:
        return page.paragraph(f"No σ for {what}. {analysis.reason}", "warning")
    shown = analysis.eigen.table()
    rows = [_sigma_row(analysis, shown, name) for name in analysis.names]
    steps = len(analysis.eigen.c)
    how = "" if analysis.eigen.estimator == "mean_log" else f", by {analysis.eigen.estimator}"
    title = f"σ of {what} ({steps} step{'' if steps == 1 else 's'}{how})"
    return page.join(
        page.table(shown.headers, rows, title), collapses(analysis), _closure(analysis)
    )


def collapses(analysis: Analysis, of: str = "") -> Html:
    """A warning that names the blocks without averages because they were empty, if any."""
    if not analysis.collapsed or analysis.eigen is None:
        return Html("")
    back = {name: f", back at round {n}" for name, n in analysis.returned.items()}
    gone = "; ".join(
        f"{name} at round {n}{back.get(name, '')}" for name, n in analysis.collapsed.items()
    )
    words = f"Without any weight or magnitude{of}, and so without averages: {gone}."
    return page.paragraph(words, "warning")


def nesting(one: Subject, named: bool = False) -> Html:
    """A warning where σ of P shows that masks are not nested: a block has gained weights."""
    analysis = one.analyses["P"]
    above = np.argwhere(analysis.sigma > 1 + _CLOSED)
    if not len(above):
        return Html("")
    step, column = above[0]
    where = f"{analysis.names[column]} after round {analysis.states[step]}"
    of = f"{one.label}: " if named else ""
    words = f"{of}σ of P is above 1 for {where}: the masks are not nested."
    return page.paragraph(words, "warning")


def _sigma_row(analysis: Analysis, shown: Table, name: str) -> Sequence[str]:
    index = analysis.index(name)
    if index is None:
        return (name, DASH, "collapsed", *[DASH] * (len(shown.headers) - 3))
    return shown.rows[index]


def _closure(analysis: Analysis) -> Html:
    if analysis.observable not in SHARES:
        return Html("")
    error = float(np.max(np.abs(analysis.closure - 1)))
    product = f"Σ_i {analysis.observable}_i(n) λ_i(n)"
    if error > _CLOSED:
        back = ", ".join(analysis.returned)
        return page.prose(f"{product} is up to {error:.1e} from 1: {back} came back from 0.")
    precision = f"to within {error:.1e}" if error else "exactly"
    return page.prose(f"{product} = 1 in every round, {precision}.")


def flow_tables(one: Subject) -> list[Html]:
    """How static the flow is, and how uniform within its stages where they have several blocks."""
    if (blocks := one.blocks) is None:
        return []
    score = fixed_point(blocks).table()
    title = f"How static the flow of {one.first.observable} is: 0 at a fixed point"
    parts = [page.table(("run", *score.headers), [(one.label, *score.rows[0])], title)]
    within = uniformity(blocks)
    if len(within.stages) > 1 and max(within.blocks) > 1:
        parts.append(page.shown(within.table()))
    return parts


def rounds_in_use(subjects: Sequence[Subject]) -> Html:
    """Which rounds σ is of, where these are not all of each run."""
    some = [one for one in subjects if one.first.states]
    if all(one.first.states == tuple(range(len(one.run.remaining))) for one in some):
        return Html("")
    found = {one.label: _rounds(one.first.states) for one in some}
    alike = set(found.values())
    which = alike.pop() if len(alike) == 1 else "; ".join(f"{a}: {b}" for a, b in found.items())
    words = f"σ is of some of the rounds alone: {which}. Accuracies and eq. 15 are of all rounds."
    return page.paragraph(words, "note")


def _rounds(states: Sequence[int]) -> str:
    first, last = states[0], states[-1]
    if last - first + 1 == len(states):
        return f"{first} to {last}"
    return ", ".join(map(str, states))


def exponent_table(one: Subject) -> Html:
    """The fit of eq. 15, or why there is none."""
    if one.fit is None:
        return page.paragraph(f"No critical exponent. {one.no_fit}")
    return page.shown(one.fit.table())


def rounds_table(run: Run) -> Html:
    """One line a trained state."""
    if not len(run.remaining):
        return page.paragraph("No state has been trained yet.", "warning")
    if not run.rows:
        return page.shown(run.table())
    headers = (
        "round", "density", "remaining", "accuracy", "loss", "seconds", "mask"
    )  # fmt: skip
    unknown = DASH if "import" in run.config else "not finite"  # imports may have recorded none
    rows = [
        (
            str(row.round),
            percent(row.remaining / row.total),
            f"{row.remaining:,}",
            percent(row.accuracy),
            f"{row.loss:.4f}" if math.isfinite(row.loss) else unknown,
            f"{row.seconds:,.1f}" if math.isfinite(row.seconds) else DASH,
            row.mask_hash[:12] or DASH,
        )
        for row in run.rows
    ]
    table = page.table(headers, rows, f"Of {run.rows[0].total:,} prunable weights")
    why = run.rows[-1].extra.get("stopped")
    if isinstance(why, str):
        table = page.join(page.paragraph(f"Stopped early: {why}.", "note"), table)
    forced = [row.round for row in run.rows if row.extra.get("bit_exact") is False]
    if not forced:
        return table
    words = f"From round {forced[0]} on, resumed by force under other settings: not bit-exact."
    return page.join(page.paragraph(words, "warning"), table)


def about(run: Run, options: Options) -> Html:
    """Definitions, sources and limits."""
    words = notes.closing(run.theta, estimator=options.estimator)
    paragraphs = [page.prose(some) for some in words]
    return page.section("What these numbers are", *paragraphs)


def setup(run: Run) -> Html:
    """The resolved configuration and the environment."""
    words = run.config_text.strip("\n") or "none: the directory has no config.toml"
    return page.join(
        page.section("Configuration", page.preformatted(words)), environment_section(run)
    )


def environment_section(run: Run | None = None) -> Html:
    """What the analysis ran with, and what the run recorded of itself."""
    parts = [page.table(("analysed with", "version"), list(environment().items()))]
    if run is not None and (known := recorded(run.rows)):
        parts.insert(0, page.table(("recorded by the run", "value"), list(known.items())))
    return page.section("Environment", *parts)
