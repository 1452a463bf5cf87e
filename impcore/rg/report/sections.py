"""The parts of a report that are words and tables; numbers are set as a reader compares them.

Invariant: a value that is not defined is shown as a dash, never as 0, and never left out silently.
"""

from __future__ import annotations

import math

import numpy as np

from impcore.rg.analysis import Analysis
from impcore.rg.formats import decimals, duration, interval, percent, plus_minus, signed
from impcore.rg.report import notes, page
from impcore.rg.report.environment import environment, recorded
from impcore.rg.report.page import Html
from impcore.rg.run import Run

_WHAT = {"M": "share of the remaining magnitude", "P": "share of the remaining weights"}


def heading(run: Run) -> Html:
    """The run's name, what it is, and its key figures."""
    parts = [_setting(run, "model", "arch"), _setting(run, "data", "name")]
    subject = " on ".join(part for part in parts if part)
    lead = f"{subject}: iterative" if subject else "Iterative"
    title = Html(f"<h1>{page.text(run.name)}</h1>")
    return page.join(
        title, page.paragraph(f"{lead} magnitude pruning and its flow.", "lead"), _facts(run)
    )


def _setting(run: Run, table: str, key: str) -> str:
    values = run.config.get(table)
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, str) else ""


def _facts(run: Run) -> Html:
    pairs = [("trained states", str(len(run.rows)))]
    if run.rows:
        first, last = run.rows[0], run.rows[-1]
        best = max(run.rows, key=lambda row: row.accuracy)
        pairs += [
            ("weights at the start", f"{first.remaining:,}"),
            ("weights at the end", f"{last.remaining:,}"),
            ("density at the end", percent(float(run.density[-1]))),
            ("accuracy at the start", percent(first.accuracy)),
            ("accuracy at the end", percent(last.accuracy)),
            (f"best accuracy (round {best.round})", percent(best.accuracy)),
            ("total time", duration(sum(row.seconds for row in run.rows))),
        ]
    return page.facts(pairs)


def sigma_table(analysis: Analysis) -> Html:
    """σ of every block, or why there is none; and how far the shares are from closing."""
    what = f"{analysis.observable}, the {_WHAT[analysis.observable]}"
    if analysis.eigen is None:
        return page.paragraph(f"No σ for {what}. {analysis.reason}", "warning")
    result = analysis.eigen
    rows = [_sigma_row(analysis, name) for name in analysis.names]
    headers = ("block", "σ mean ± SEM", "relevance", "95 % interval", "endpoint σ", "λ mean ± SEM")
    steps = len(result.c)
    table = page.table(headers, rows, f"σ of {what} ({steps} step{'' if steps == 1 else 's'})")
    gone = "; ".join(f"{name} at round {n}" for name, n in analysis.collapsed.items())
    warning = page.paragraph(
        f"Without any weight or magnitude left, and so without averages: {gone}.", "warning"
    )
    error = float(np.max(np.abs(analysis.closure - 1)))
    precision = f"to within {error:.1e}" if error else "exactly"
    closure = page.prose(f"Σ_i {analysis.observable}_i(n) λ_i(n) = 1 in every round, {precision}.")
    return page.join(table, warning if gone else Html(""), closure)


def _sigma_row(analysis: Analysis, name: str) -> tuple[str, ...]:
    index, result = analysis.index(name), analysis.eigen
    if index is None or result is None:
        return (name, "–", "collapsed", "–", "–", "–")
    sem = float(result.sigma_sem[index])
    places = decimals(sem)
    lam_sem = float(result.lam_sem[index])
    lam = f"{float(result.lam_mean[index]):.{decimals(lam_sem)}f}"
    return (
        name,
        signed(float(result.sigma_mean[index]), places) + plus_minus(sem, places),
        result.relevance[index],
        interval(float(result.sigma_low[index]), float(result.sigma_high[index]), places),
        signed(float(result.sigma_endpoint[index]), places),
        lam + plus_minus(lam_sem, decimals(lam_sem)),
    )


def rounds_table(run: Run) -> Html:
    """One line a trained state."""
    if not run.rows:
        return page.paragraph("No state has been trained yet.", "warning")
    headers = (
        "round", "density", "remaining", "accuracy", "loss", "seconds", "mask"
    )  # fmt: skip
    rows = [
        (
            str(row.round),
            percent(row.remaining / row.total),
            f"{row.remaining:,}",
            percent(row.accuracy),
            f"{row.loss:.4f}" if math.isfinite(row.loss) else "not finite",
            f"{row.seconds:,.1f}",
            row.mask_hash[:12],
        )
        for row in run.rows
    ]
    table = page.table(headers, rows, f"Of {run.rows[0].total:,} prunable weights")
    forced = [row.round for row in run.rows if row.extra.get("bit_exact") is False]
    if not forced:
        return table
    words = f"From round {forced[0]} on, resumed by force under other settings: not bit-exact."
    return page.join(page.paragraph(words, "warning"), table)


def about(run: Run) -> Html:
    """Definitions, sources and limits."""
    paragraphs = [page.prose(words) for words in notes.closing(run.theta)]
    return page.section("What these numbers are", *paragraphs)


def setup(run: Run) -> Html:
    """The resolved configuration and the environment."""
    parts = [page.table(("analysed with", "version"), list(environment().items()))]
    if known := recorded(run.rows):
        parts.insert(0, page.table(("recorded by the run", "value"), list(known.items())))
    return page.join(
        page.section("Configuration", page.preformatted(run.config_text.strip("\n"))),
        page.section("Environment", *parts),
    )
