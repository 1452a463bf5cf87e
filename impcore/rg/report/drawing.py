"""How the report's figures are drawn: one style, axes in percent, names taken literally, SVG.

Invariant: the same figure gives the same bytes, whatever matplotlibrc the user has; no pyplot, no
state left behind. A name is never read as a formula, and an SVG refers to nothing outside itself.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from impcore.rg.vectors import REST

# [R] Fig. 2: blue is the first application of IMP, red the last.
FIRST_TO_LAST = LinearSegmentedColormap.from_list("imp", ["#1f4fd8", "#8a3f9e", "#d7191c"])
DISTINCT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c510a", "#5e3c99"]
_WIDTH, _HEIGHT = 4.7, 3.4  # inches; at 9 points the text stays legible on a phone
_LABELS = 20  # slanted names that fit below an axis
_STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "impcore.rg",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """The one style of all figures; what the user configured is back afterwards."""
    # matplotlib.style would read the files of every style that there is
    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault, **_STYLE}
    del settings["backend"]
    with matplotlib.rc_context(settings):
        yield


def svg(figure: Figure, prefix: str) -> str:
    """The <svg> element of a figure, for HTML; `prefix`, a plain word, makes its ids unique."""
    text = svg_file(figure)
    text = text[text.index("<svg") :]  # no XML declaration or doctype inside HTML
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)  # implied inside HTML
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    return re.sub(r"[ \t]+\n", "\n", text).strip()


def svg_file(figure: Figure) -> str:
    """The figure as a whole SVG file."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with style():  # print_svg, not savefig, which would draw everything twice
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(buffer, metadata=nothing)
    return buffer.getvalue()


def pdf_file(figure: Figure) -> bytes:
    """The figure as a PDF file; its text stays text."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf  # 0.1 s to import

    buffer = io.BytesIO()
    nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    with style():
        canvas: Any = FigureCanvasPdf(figure)
        canvas.print_pdf(buffer, metadata=nothing)
    return buffer.getvalue()


def literal(name: str, limit: int = 26) -> str:
    """A name as matplotlib shall draw it: one line, printable, no formula, not too long."""
    plain = "".join(char if char.isprintable() else "\ufffd" for char in name)
    short = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    return short.replace("$", r"\$")


def literals(names: Sequence[str], limit: int = 26) -> list[str]:
    """Names that are drawn together, the long ones without the words that all of them share."""
    long = [name for name in names if len(name) > limit]
    head = _shared_words(long)
    tail = _shared_words([name[len(head) :][::-1] for name in long])
    cut = {name: name[len(head) : len(name) - len(tail)] for name in long}
    marks = ("…" if head else "", "…" if tail else "")
    return [literal(f"{marks[0]}{cut[name]}{marks[1]}" if name in cut else name, limit)
            for name in names]  # fmt: skip


def _shared_words(names: Sequence[str]) -> str:
    """What all begin with, up to a separator: of "a.b10" and "a.b11" it is "a."."""
    if len(set(names)) < 2:
        return ""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return re.sub(r"[^\W_]+$", "", "".join(letters[0] for letters in alike))


def block_axis(axes: Axes, names: Sequence[str]) -> None:
    """The blocks' names below the x axis; of very many every second, third, … is written."""
    labels = literals(names, 12)
    places = range(0, len(labels), math.ceil(len(labels) / _LABELS))
    shown = [labels[place] for place in places]
    turned = max(map(len, shown)) * len(shown) > 34
    slant: dict[str, Any] = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(list(places), shown, **(slant if turned else {}))


def new_figure(extra: float = 0.0, height: float = _HEIGHT) -> tuple[Figure, Axes]:
    """An empty figure with one axes; `extra` inches of height for long legends."""
    figure = Figure(figsize=(_WIDTH, height + extra), layout="constrained")
    return figure, figure.add_subplot()


def new_figure_with_residuals() -> tuple[Figure, Axes, Axes]:
    """A figure with a second, low axes under the first, on the same x axis."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT + 0.7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    return figure, upper, lower


def round_colors(states: int) -> list[tuple[float, float, float, float]]:
    """Blue for the first state to red for the last."""
    return [FIRST_TO_LAST(n / max(states - 1, 1)) for n in range(states)]


def block_colors(names: Sequence[str]) -> list[Any]:
    """Distinct colours for a few blocks, a sequence in depth for many; grey for the rest."""
    blocks = [name for name in names if name != REST]
    if len(blocks) <= len(DISTINCT):
        palette: list[Any] = list(DISTINCT)
    else:
        ramp = matplotlib.colormaps["viridis"]
        palette = [ramp(0.92 * i / (len(blocks) - 1)) for i in range(len(blocks))]
    colors = dict(zip(blocks, palette, strict=False))
    return [colors.get(name, "#777777") for name in names]


def legend_below(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """A legend outside the axes, so that it hides no data however many blocks there are."""
    # A leading underscore would hide the entry: matplotlib takes it for a private label.
    labels = literals(names, 18)
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    columns = 4 if max(map(len, labels), default=0) <= 10 else 3 if len(labels) != 4 else 2
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=math.ceil(len(labels) / math.ceil(len(labels) / columns)),
        columnspacing=1.4,
        handlelength=1.6,
    )


def pad(axes: Axes, values: npt.NDArray[np.float64], axis: str = "y", least: float = 0.0) -> None:
    """Room around the data, also where they are all the same; an axis is `least` long at least."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.08 * (high - low) or 0.01 * abs(high) or 1.0
    margin = max(margin, (least - (high - low)) / 2)
    setter = axes.set_ylim if axis == "y" else axes.set_xlim
    setter(low - margin, high + margin)


def round_ticks(axes: Axes, most: float = math.inf) -> None:
    """1-2-5 ticks on a linear y-axis whose limits are set, up to the `most` that there can be."""
    low, high = axes.get_ylim()
    ticks = np.asarray(MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high))
    high = min(high, most + 1e-9)
    axes.yaxis.set_major_locator(FixedLocator([float(t) for t in ticks if low <= t <= high]))


def percent_axis(axes: Axes, which: str, values: npt.NDArray[np.float64]) -> None:
    """`log_axis` for percentages, of which there are at most 100."""
    log_axis(axes, which, values, most=100.0)


def log_axis(
    axes: Axes, which: str, values: npt.NDArray[np.float64], most: float = math.inf
) -> None:
    """Limits and plain labels (50, 20, 10, …) on a logarithmic axis; 0 has no place."""
    positive = values[values > 0]
    if positive.size == 0:
        positive = np.array([1.0, 100.0])
    low, high = float(np.min(positive)), float(np.max(positive))
    margin = 1.06 if high > low else 1.2
    low, high = low / margin, high * margin
    ticks = _log_ticks(low, high, most)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis.set_minor_formatter(NullFormatter())
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)


def _log_ticks(low: float, high: float, most: float = 100.0) -> list[float]:
    """1-2-5 ticks up to `most`, decades alone where those are many, a linear few where too few."""
    high = min(high, most * (1 + 1e-9))  # the margin beyond 100 % needs no tick
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        ticks = [digit * 10.0**decade for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 9:
            break
    if len(ticks) < 3:
        linear = MaxNLocator(4).tick_values(low, high)
        ticks = [float(tick) for tick in linear if low <= tick <= high]
    return ticks
