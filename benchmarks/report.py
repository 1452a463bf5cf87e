"""What a person sees of a report: a table of times, a table of targets, a figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import Comparison, Report
from rich.console import Console
from rich.table import Table
from targets import Target


def show(report: Report, targets: Sequence[Target], about: dict[str, Any]) -> None:
    """Prints the machine, a row a contender, and what the targets are worth."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    console.print(_times(report.comparisons))
    if targets:
        console.print(_judged(targets))
    for op, why in report.left_out.items():
        console.print(f"left out: {op}: {why}", highlight=False, markup=False)


def _times(comparisons: Sequence[Comparison]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("op", "dtype", "weights", "density", "contender"):
        table.add_column(heading, justify="right" if heading in ("weights", "density") else "left")
    for heading in ("ms", "GB/s", "of floor", "ratio"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        data = comparison.as_json()
        floor = comparison.ms.get(comparison.floor)
        head = [comparison.op, comparison.dtype, f"{comparison.n:,}", f"{comparison.density:.0%}"]
        for name, ms in comparison.ms.items():
            mine = name == comparison.subject
            rate = f"{data['gb_per_s']:.1f}" if mine else ""
            of_floor = f"{ms / floor:.0%}" if floor else ""
            ratio = f"{data['ratio'][name]:.2f}x"
            style = "bold" if mine else None
            table.add_row(*head, name, f"{ms:,.3g}", rate, of_floor, ratio, style=style)
            head = [""] * 4
        for name, why in comparison.left_out.items():
            table.add_row(*head, name, "-", "", "", why.replace("[", r"\["), style="dim")
            head = [""] * 4
    return table


def _judged(targets: Sequence[Target]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("target", "limit", "measured", ""):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for target in targets:
        limit = f"{'>=' if target.at_least else '<='} {target.limit:g}"
        value = "-" if target.value is None else f"{target.value:.3g}"
        verdict = {True: "pass", False: "FAIL", None: target.why or "not measured"}[target.passed]
        table.add_row(target.what, limit, value, verdict.replace("[", r"\["))
    return table


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws times over the number of weights and over density, wherever there are several.

    What was measured in several shapes ("sweep-select few", "sweep-select many") has a line each.
    Adversarial inputs have nothing to be drawn over.
    """
    from matplotlib.figure import Figure

    panels = _panels([c for c in comparisons if not c.op.startswith("adversarial-")])
    if not panels:
        print(f"not drawn: {path}: all was measured at one size and one density")
        return
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for ax, (title, attribute, group) in zip(axes, panels, strict=False):
        _draw(ax, group, attribute)
        ax.set(title=title, xlabel={"n": "weights"}.get(attribute, attribute))
        ax.legend(fontsize="x-small")
    for ax in axes[len(panels) :]:
        ax.remove()
    figure.savefig(path)
    print(f"drawn: {path}")


def _panels(comparisons: Sequence[Comparison]) -> list[tuple[str, str, list[Comparison]]]:
    """Title, what it is drawn over, and what is drawn, an op and what varies each."""
    panels = []
    for kind in dict.fromkeys(c.op.split()[0] for c in comparisons):
        own = [c for c in comparisons if c.op.split()[0] == kind]
        largest = max(own, key=lambda c: c.n)
        for title, attribute, group in (
            (kind, "n", [c for c in own if c.density == 1]),
            (largest.op, "density", [c for c in own if c.op == largest.op and c.n == largest.n]),
        ):
            if len({getattr(c, attribute) for c in group}) > 1:
                panels.append((title, attribute, group))
    return panels


def _draw(axes: Any, comparisons: Sequence[Comparison], attribute: str) -> None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for comparison in comparisons:
        kind, _, shape = comparison.op.partition(" ")
        for name, ms in comparison.ms.items():
            line = f"{name}, {shape}" if kind.startswith("sweep-") else name
            lines.setdefault(line, []).append((getattr(comparison, attribute), ms))
    for line, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=line)
    axes.set(xscale="log", yscale="log", ylabel="ms")
