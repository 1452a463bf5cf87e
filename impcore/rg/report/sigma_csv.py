"""Write sigma.csv: every λ and σ of a run, one row per observable, block and step.

Invariant: the file stands alone. Floats are written with the digits that restore them exactly, so
that within M or P Σ_block value · lambda = 1 at every round, from this file alone, unless a block
that was 0 came back.

Columns:
    observable        M (share of remaining magnitude) or P (share of remaining weights)
    block             name; "rest" is what the blocks do not cover
    round             n: the step goes from state n to the next one in use, n+1 as a rule
    remaining_before, remaining_after    weights at states n and n+1
    density_before, density_after        the same over the total
    c                 remaining_before / remaining_after
    value             the observable at state n
    lambda, sigma     value at state n+1 over value at n; log_c of it
    sigma_mean, sigma_sem, sigma_low, sigma_high, sigma_endpoint, lambda_mean, lambda_sem,
    straight_p, relevance, estimator
                      of the block over all steps, repeated on each of its rows: σ by the estimator,
                      its SEM and t-interval over the steps, and the test that log M is straight

What is not defined is "nan". Where a block collapses lambda is 0 and sigma -inf; where value is 0
lambda is nan (count the product as 0). The relevance of a block that is 0 at any state is
"collapsed". A run whose c or λ has no value (fewer than two states, say) gives the header alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import numpy as np

from impcore.rg.analysis import Analysis
from impcore.rg.report import tidy
from impcore.rg.run import Run

SUMMARY = (
    "sigma_mean",
    "sigma_sem",
    "sigma_low",
    "sigma_high",
    "sigma_endpoint",
    "lambda_mean",
    "lambda_sem",
    "straight_p",
)
COLUMNS = (
    "observable",
    "block",
    "round",
    "remaining_before",
    "remaining_after",
    "density_before",
    "density_after",
    "c",
    "value",
    "lambda",
    "sigma",
    *SUMMARY,
    "relevance",
    "estimator",
)


def render(run: Run, analyses: Mapping[str, Analysis]) -> bytes:
    """The file's content, UTF-8, lines ended by a newline."""
    return tidy.render(COLUMNS, _rows(run, analyses))


def render_joint(runs: Iterable[tuple[str, Run, Mapping[str, Analysis]]]) -> bytes:
    """The same of several runs, with their labels in a first column "run"."""
    rows = ([label, *row] for label, run, analyses in runs for row in _rows(run, analyses))
    return tidy.render(("run", *COLUMNS), rows)


def _rows(run: Run, analyses: Mapping[str, Analysis]) -> Iterator[list[str]]:
    for analysis in analyses.values():
        for column in range(len(run.names)):
            yield from _block_rows(run, analysis, column)


def _block_rows(run: Run, analysis: Analysis, column: int) -> Iterator[list[str]]:
    if np.isnan(analysis.lam).all():
        return
    name = run.names[column]
    summary = _summary(analysis, name)
    for k, (n, after) in enumerate(pairwise(analysis.states)):
        floats = (
            run.density[n],
            run.density[after],
            run.remaining[n] / run.remaining[after],
            analysis.values[k, column],
            analysis.lam[k, column],
            analysis.sigma[k, column],
        )
        counts = (n, run.remaining[n], run.remaining[after])
        yield [
            analysis.observable,
            name,
            *(str(int(count)) for count in counts),
            *(repr(float(value)) for value in floats),
            *summary,
        ]


def _summary(analysis: Analysis, name: str) -> list[str]:
    index, result = analysis.index(name), analysis.eigen
    if index is None or result is None:
        estimator = "" if result is None else result.estimator
        verdict = "collapsed" if name in analysis.collapsed else ""
        return [repr(math.nan)] * len(SUMMARY) + [verdict, estimator]
    vectors = (
        result.sigma_mean,
        result.sigma_sem,
        result.sigma_low,
        result.sigma_high,
        result.sigma_endpoint,
        result.lam_mean,
        result.lam_sem,
        result.straight_p,
    )
    words = [result.relevance[index], result.estimator]
    return [repr(float(vector[index])) for vector in vectors] + words
