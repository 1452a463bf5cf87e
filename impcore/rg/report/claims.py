"""What the paper says of tasks and pre-training, and the same measures of the runs at hand.

Invariant: a measure is a function of the runs' σ alone, and stands beside the claim that it is of;
no verdict is given, because the runs are of another network, other data and a single seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from impcore.rg.formats import DASH, rounded
from impcore.rg.report import joint, page
from impcore.rg.report.comparison import OF_M
from impcore.rg.report.grid import Grid, common_blocks
from impcore.rg.report.page import Html
from impcore.rg.report.subject import AUTO, Options
from impcore.rg.similarity import distance, fixed_point
from impcore.rg.vectors import Vector


def claims(grid: Grid, options: Options) -> list[Html]:
    """What [R] Sec. 5 says of tasks and pre-training, and the same numbers here."""
    inits = grid.tasks.inits
    found = {init: grid.vectors(init) for init in inits}
    if not grid.measured:
        return []
    rows = [
        ("Tasks have the same relevant and irrelevant blocks (Sec. 5.1, Table 2): blocks whose σ "
         "has one sign in all tasks compared", *(_one_sign(found[init]) for init in inits)),
        ("Pre-training leaves relevant blocks relevant (Sec. 5.1): signs of σ as from "
         f"{inits[0]} weights", DASH,
         *(_as_before(found[inits[0]], found[init]) for init in inits[1:])),
        ("Pre-training makes σ more alike across tasks (Sec. 5.1): distance between tasks, mean of "
         "pairs (noise alone)", *(_apart(found[init]) for init in inits)),
        ("The flow of pre-trained BERT is nearly static (Sec. 5.2): rms σ, mean of the tasks "
         "compared", *(_speed(found[init]) for init in inits)),
    ]  # fmt: skip
    headers = ("what Redman et al. find, and its measure", *(f"from {init}" for init in inits))
    words = (
        f"Compared are σ of {grid.measured}, over the blocks that all tasks compared have. "
        "The measures are of this model and these tasks, from one seed each: they show whether the "
        "same is seen here, and can neither support nor refute what was found on other networks "
        "and data. Signs are those of mean σ, whatever its interval."
    )
    printed = _printed(found, options)
    missing = " ".join(filter(None, (grid.left_out(init) for init in inits)))
    return [
        page.wide_table(headers, rows),
        page.paragraph(missing, "warning") if missing else Html(""),
        page.paragraph(words),
        *joint.published_tables(printed),
        page.paragraph(OF_M, "note") if printed and grid.measured == "P" else Html(""),
    ]


def _printed(found: Mapping[str, Mapping[str, Vector]], options: Options) -> list[int]:
    """The paper's table of tasks over blocks of this kind, unless others were asked for."""
    names = next((one.names for some in found.values() for one in some.values()), ())
    if options.beside != AUTO or not names:
        return []
    if all(name.startswith("stage") for name in names):
        return [2]
    return [3] if all(name.startswith("layer.") for name in names) else []


def _one_sign(found: Mapping[str, Vector]) -> str:
    if len(found) < 2:
        return DASH
    signs = np.sign([one.sigma_mean for one in found.values()])
    same = (signs == signs[0]).all(axis=0)
    return f"{int(same.sum())} of {len(same)}"


def _as_before(first: Mapping[str, Vector], other: Mapping[str, Vector]) -> str:
    pairs = [
        (first[task].of(names).sigma_mean, one.of(names).sigma_mean)
        for task, one in other.items()
        if task in first and (names := common_blocks({"": first[task], task: one}))
    ]
    if not pairs:
        return DASH
    same = sum(int((np.sign(a) == np.sign(b)).sum()) for a, b in pairs)
    return f"{same} of {sum(len(a) for a, _ in pairs)}"


def _apart(found: Mapping[str, Vector]) -> str:
    pairs = [distance(a, b) for a, b in combinations(found.values(), 2)]
    if not pairs:
        return DASH
    value, noise = (np.mean([getattr(d, key) for d in pairs]) for key in ("value", "noise"))
    return f"{rounded(float(value))} ({rounded(float(noise))})"


def _speed(found: Mapping[str, Vector]) -> str:
    speeds = [fixed_point(one).speed for one in found.values()]
    return rounded(float(np.mean(speeds))) if speeds else DASH
