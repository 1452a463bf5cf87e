"""Numbers as a reader compares them: signs, digits, intervals, percentages, durations.

Invariant: a value that is not defined is a dash, never 0; a number carries no more digits than its
uncertainty earns; the bounds of an interval are shown as the same, or as 0, only where they are so
to a rounding error.
"""

from __future__ import annotations

import math

DASH = "–"
_MOST = 12  # decimals of σ that are not rounding error


def percent(fraction: float) -> str:
    """0.168 → "16.80 %", with more digits below 1 %."""
    if not math.isfinite(fraction):
        return DASH
    value = 100 * fraction
    return f"{value:.2f} %" if value >= 1 or value == 0 else f"{value:.2g} %"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if not math.isfinite(seconds):
        return DASH
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def decimals(sem: float) -> int:
    """Enough decimals for two digits of the SEM; three where there is none but rounding error."""
    if not math.isfinite(sem) or sem < 10.0**-_MOST:
        return 3
    return min(max(1 - math.floor(math.log10(sem)), 3), _MOST)


def signed(value: float, places: int = 3) -> str:
    """With an explicit sign, a true minus, and no "−0.000"."""
    if not math.isfinite(value):
        return DASH
    shown = f"{value:+.{places}f}"
    if float(shown) == 0:
        shown = f"{0:.{places}f}"
    return shown.replace("-", "−")


def with_sem(value: float, sem: float) -> str:
    """A signed number and its SEM, where there is one."""
    places = decimals(sem)
    return signed(value, places) + plus_minus(sem, places)


def plus_minus(sem: float, places: int) -> str:
    """The SEM behind its sign, or nothing where a single step gives no SEM."""
    return f" ± {sem:.{places}f}" if math.isfinite(sem) else ""


def interval(low: float, high: float, places: int = 3) -> str:
    """Both bounds, with enough decimals to tell them from each other and from 0."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return DASH
    apart = {round(value, _MOST) for value in (low, high, 0.0)}
    while len({round(value, places) for value in apart}) < len(apart):
        places += 1
    return f"{signed(low, places)} … {signed(high, places)}"


def span(low: float, high: float, digits: int = 3) -> str:
    """Both bounds of a positive quantity, to as many significant digits as tell them apart or more.

    ∞ where it is unbounded.
    """
    if math.isnan(low) or math.isnan(high):
        return DASH
    while digits < _MOST and low != high and rounded(low, digits) == rounded(high, digits):
        digits += 1
    return f"{rounded(low, digits)} … {rounded(high, digits)}"


def rounded(value: float, digits: int = 3) -> str:
    """A number to significant digits, with a true minus."""
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def probability(p: float) -> str:
    """A p-value; below a thousandth its exact size means nothing."""
    if not math.isfinite(p):
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
