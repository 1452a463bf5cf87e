"""What the analysis accepts as an argument: real arrays, levels, names, states.

Invariant: a value that passes is what the signature says; one that does not raises a ValueError, or
a TypeError where it is another kind of object altogether, that names the parameter, quotes the
value or its kind, and says what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from impcore.integers import integer

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.float64] | npt.NDArray[np.int64]


def kind(parameter: str, value: object, wanted: type, what: str) -> None:
    """Raise TypeError unless `value` is a `wanted`, which is `what` in words; no string is one."""
    if isinstance(value, str) or not isinstance(value, wanted):
        raise TypeError(f"{parameter} must be {what}, not {type(value).__name__}")


def real(parameter: str, value: npt.ArrayLike) -> Reals:
    """`value` as an array of real numbers; floats become float64, integers stay exact."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{parameter} must be an array of real numbers: {error}") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{parameter} must hold real numbers, not dtype {array.dtype}")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def observable(M: npt.ArrayLike) -> Floats:
    """`M` as float64 [N >= 2, blocks >= 1]; its values are not looked at."""
    array = real("M", M)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise ValueError(f"M must have shape [N >= 2, blocks >= 1], not {list(array.shape)}")
    return array.astype(np.float64)


def refuse_nonpositive(values: Floats, labels: tuple[str, ...], states: Sequence[int]) -> None:
    """Raise for the first value that is 0, negative or not finite; names block and round."""
    bad = np.argwhere(~(np.isfinite(values) & (values > 0)))
    if len(bad) == 0:
        return
    row, block = (int(i) for i in bad[0])
    where = f"block {labels[block]!r} at round {states[row]}"
    if values[row, block] == 0:
        raise ValueError(
            f"M is 0 for {where}: the block has collapsed, λ = M(n+1)/M(n) is undefined; "
            "leave it out"
        )
    raise ValueError(f"M must be positive and finite, not {values[row, block]} for {where}")


def counts(remaining: npt.ArrayLike, total: int, states: Sequence[int]) -> Reals:
    """`remaining` [total] at the `states` in use, positive; `coarse_graining` asks if it falls."""
    array = real("remaining", remaining)
    if array.shape != (total,):
        raise ValueError(f"remaining must have shape [{total}] as M has, not {list(array.shape)}")
    chosen = array[list(states)]
    if not (np.isfinite(chosen).all() and (chosen > 0).all()):
        raise ValueError(f"remaining must be positive and finite, not {array.tolist()}")
    return chosen


def coarse_graining(counts: Reals, states: Sequence[int]) -> tuple[Floats, Floats]:
    """c of every step between successive `states`, and its logarithm, from counts or densities.

    c = 1 / (1 - x(n)), where x is the measured fraction pruned at this step ([R] App. A).
    """
    rising = np.flatnonzero(~(counts[1:] < counts[:-1]))
    if len(rising):
        n = int(rising[0])
        raise ValueError(
            f"remaining must fall strictly, but round {states[n]} has {counts[n]} and round "
            f"{states[n + 1]} has {counts[n + 1]}"
        )
    removed = (counts[:-1] - counts[1:]).astype(np.float64)
    after = counts[1:].astype(np.float64)
    return counts[:-1].astype(np.float64) / after, np.log1p(removed / after)


def chosen_states(rounds: slice | Sequence[int] | None, states: int) -> tuple[int, ...]:
    """The states to use, as rising indices: all, a slice of them, or those listed."""
    if rounds is None:
        return tuple(range(states))
    if isinstance(rounds, slice):
        chosen = tuple(range(states))[rounds]
    elif not isinstance(rounds, Iterable):
        raise ValueError(f"rounds must be a slice or a list of states, not {rounds!r}")
    else:
        chosen = tuple(rounds)
        found = [integer(n, 0) for n in chosen]
        if any(n is None or n >= states for n in found):
            raise ValueError(f"rounds must be states from 0 to {states - 1}, not {list(chosen)}")
        chosen = tuple(map(int, chosen))
    if len(chosen) < 2 or any(a >= b for a, b in pairwise(chosen)):
        raise ValueError(
            f"rounds must pick 2 or more of the {states} states in rising order, not {list(chosen)}"
        )
    return chosen


def labels(names: Sequence[str] | None, blocks: int) -> tuple[str, ...]:
    """One different name a block; "block0", "block1", … by default."""
    if names is None:
        return tuple(f"block{i}" for i in range(blocks))
    given = tuple(str(name) for name in names)
    if len(given) != blocks or len(set(given)) != blocks:
        raise ValueError(f"names must be {blocks} different names, one a column of M: {given}")
    return given


def confidence(level: float) -> float:
    """A level strictly between 0 and 1."""
    if not is_number(level) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1, not {level!r}")
    return float(level)


def is_number(value: object) -> bool:
    """Whether `value` is an int or a float, Python's or NumPy's, and no bool."""
    numbers = (int, float, np.integer, np.floating)
    return isinstance(value, numbers) and not isinstance(value, bool)


def choice(parameter: str, value: str, known: Sequence[str]) -> str:
    """One of a few words."""
    if value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(known)}, not {value!r}")
    return value


def per_state(parameter: str, value: npt.ArrayLike, states: int) -> Floats:
    """Positive numbers, one a state of the run, or a single one for all."""
    array = real(parameter, value).astype(np.float64)
    if array.shape not in ((), (states,)):
        raise ValueError(
            f"{parameter} must be one number or have shape [{states}], not {list(array.shape)}"
        )
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{parameter} must be positive and finite, not {array.tolist()}")
    return np.broadcast_to(array, (states,)).astype(np.float64)
