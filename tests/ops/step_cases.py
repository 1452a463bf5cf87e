"""Random arguments for the optimisers' ops, and bounds on their rounding errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from impcore import ops
from impcore.ops.plan import words_of

from . import tensors

SIZES = [(), (0,), (1,), (31,), (33,), (4, 3, 2, 2), (5, 20)]
DTYPES = [*tensors.DTYPES, torch.float64]


@dataclass
class Case:
    """Arguments of one call; `run` leaves them alone and returns what the call wrote.

    states: the lists that the op takes after the gradients, empty ones among them.
    """

    op: Callable[..., None]
    params: list[torch.Tensor]
    grads: list[torch.Tensor]
    states: list[list[torch.Tensor]]
    masks: list[np.ndarray | None]
    options: dict[str, Any] = field(default_factory=dict)

    def words(self) -> list[int]:
        """Masked tensors lie in the arena one after the other."""
        words, at = [], 0
        for param, mask in zip(self.params, self.masks, strict=True):
            words.append(-1 if mask is None else at)
            at += 0 if mask is None else words_of(param.numel())
        return words

    def arena(self) -> torch.Tensor | None:
        masks = [m for m in self.masks if m is not None]
        return tensors.pack(masks) if masks else None

    def lists(self) -> list[list[torch.Tensor]]:
        """Parameters, gradients and states."""
        return [self.params, self.grads, *self.states]

    def replaced(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Case:
        """Every list with `change` applied to its tensors."""
        params, grads, *states = ([change(t) for t in row] for row in self.lists())
        return replace(self, params=params, grads=grads, states=states)

    def copy(self) -> Case:
        options = {
            key: value.clone() if isinstance(value, torch.Tensor) else value
            for key, value in self.options.items()
        }
        return replace(self.replaced(copy_of), options=options)

    def run(self) -> Case:
        after = self.copy()
        after.op(*after.lists(), self.arena(), self.words(), **after.options)
        return after

    def bits(self) -> list[bytes]:
        """Everything a call might write, as bytes in storage order."""
        flat = [t.detach().as_strided((t.numel(),), (1,)) for row in self.lists() for t in row]
        return [t.view(torch.uint8).numpy().tobytes() for t in flat]


def copy_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor).copy_(tensor)


def scalar(value: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(value, dtype=dtype)


def flat(tensor: torch.Tensor) -> np.ndarray:
    """The values in storage order, in float64."""
    return tensor.detach().as_strided((tensor.numel(),), (1,)).double().numpy()


def _draw(
    dtype: torch.dtype, seed: int, shapes: Any, density: float, rows: int
) -> tuple[list[list[torch.Tensor]], list[np.ndarray | None]]:
    """Normal values; every second tensor is masked (none in float64)."""
    gen = torch.Generator().manual_seed(seed)
    shapes = SIZES if shapes is None else shapes
    lists = [[torch.randn(s, generator=gen).to(dtype) for s in shapes] for _ in range(rows)]
    rng = np.random.default_rng(seed)
    masked = [dtype != torch.float64 and i % 2 == 0 for i in range(len(shapes))]
    masks = [
        rng.random(p.numel()) < density if on else None
        for p, on in zip(lists[0], masked, strict=True)
    ]
    return lists, masks


def sgd(
    dtype: torch.dtype, seed: int = 0, shapes: Any = None, density: float = 0.5, **options: Any
) -> Case:
    """A call of masked_sgd."""
    (params, grads, momenta), masks = _draw(dtype, seed, shapes, density, 3)
    options = {
        "lr": scalar(0.1),
        "momentum": 0.9,
        "dampening": 0.0,
        "weight_decay": scalar(0.01),
        "nesterov": False,
        "maximize": False,
        "first": None,
        **options,
    }
    states = [momenta if options["momentum"] else []]
    return Case(ops.masked_sgd, params, grads, states, masks, options)


def adamw(
    dtype: torch.dtype,
    seed: int = 0,
    shapes: Any = None,
    density: float = 0.5,
    amsgrad: bool = True,
    **options: Any,
) -> Case:
    """A call of masked_adamw, each parameter after another number of steps."""
    (params, grads, averages, *squares), masks = _draw(dtype, seed, shapes, density, 5)
    squares = [[t.square() for t in row] for row in squares]
    steps = [torch.tensor(float(i % 4 * 100)) for i in range(len(params))]
    options = {
        "lr": scalar(0.1),
        "beta1": scalar(0.9),
        "beta2": scalar(0.99),
        "weight_decay": scalar(0.01),
        "eps": 1e-8,
        "maximize": False,
        **options,
    }
    states = [averages, squares[0], squares[1] if amsgrad else [], steps]
    return Case(ops.masked_adamw, params, grads, states, masks, options)


MAKERS = {"sgd": sgd, "adamw": adamw}
every_op = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@dataclass
class Exact:
    """One tensor after a step in float64, unrounded, and the size of the terms that make it."""

    values: np.ndarray
    size: np.ndarray


def sgd_exact(case: Case) -> list[list[Exact]]:
    """For each tensor: weight, and momentum if there is one."""
    o = case.options
    lr, decay, m = float(o["lr"]), float(o["weight_decay"]), o["momentum"]
    out = []
    for i, (param, mask) in enumerate(zip(case.params, case.masks, strict=True)):
        theta = flat(param)
        g, size = _gradient(case, i)
        g, size = g + decay * theta, size + decay * np.abs(theta)
        rows, step = [], g
        if m:
            v = flat(case.states[0][i])
            size = size + m * np.abs(v)
            v = g if o["first"] is not None and o["first"] else m * v + (1 - o["dampening"]) * g
            rows.append(Exact(v, size))
            step = g + m * v if o["nesterov"] else v
        weight = Exact(theta - lr * step, np.abs(theta) + 2 * lr * size)
        out.append(_masked([weight, *rows], mask))
    return out


def adamw_exact(case: Case) -> list[list[Exact]]:
    """For each tensor: weight, both averages, and the largest squares with amsgrad."""
    o = case.options
    lr, b1, b2 = float(o["lr"]), float(o["beta1"]), float(o["beta2"])
    averages, squares, largest, steps = case.states
    out = []
    for i, (param, mask) in enumerate(zip(case.params, case.masks, strict=True)):
        theta, t = flat(param), float(steps[i]) + 1
        g, size = _gradient(case, i)
        m = b1 * flat(averages[i]) + (1 - b1) * g
        m_size = b1 * np.abs(flat(averages[i])) + (1 - b1) * size
        v = b2 * flat(squares[i]) + (1 - b2) * g**2
        rows = [Exact(m, m_size), Exact(v, v)]
        if largest:
            v = np.maximum(v, flat(largest[i]))
            rows.append(Exact(v, v))
        rate = lr / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + o["eps"])
        shrink = 1 - lr * float(o["weight_decay"])
        weight = Exact(theta * shrink - rate * m, np.abs(theta) + rate * m_size)
        out.append(_masked([weight, *rows], mask))
    return out


def _gradient(case: Case, i: int) -> tuple[np.ndarray, np.ndarray]:
    scale = case.options.get("grad_scale")
    g = flat(case.grads[i]) / (1 if scale is None else float(scale))
    return (-g if case.options["maximize"] else g), np.abs(g)


def _masked(rows: list[Exact], mask: np.ndarray | None) -> list[Exact]:
    if mask is None:
        return rows
    return [Exact(np.where(mask, row.values, 0), row.size) for row in rows]


def written(case: Case, i: int) -> list[torch.Tensor]:
    """What a call wrote of tensor i, in the order of the exact rows."""
    return [case.params[i], *(row[i] for row in case.states[:3] if row)]


def check_rounded_once(exact: list[list[Exact]], after: Case, roundings: int = 8) -> None:
    """A few float32 roundings of the terms, and one of the result to its storage dtype."""
    for i, rows in enumerate(exact):
        dtype = after.params[i].dtype
        work = 2.0**-53 if dtype == torch.float64 else 2.0**-24
        # A subnormal float16 result is a multiple of 2^-24.
        grain = 2.0**-25 if dtype == torch.float16 else 0
        for row, got in zip(rows, written(after, i), strict=True):
            allowed = torch.finfo(dtype).eps / 2 * np.abs(row.values) + grain
            allowed = allowed + roundings * work * row.size
            assert (np.abs(flat(got) - row.values) <= allowed).all(), (i, dtype)


def check_nearest(exact: list[list[Exact]], after: Case) -> None:
    """Only the rounding to the storage dtype."""
    for i, rows in enumerate(exact):
        dtype = after.params[i].dtype
        for row, got in zip(rows, written(after, i), strict=True):
            want = torch.from_numpy(np.asarray(row.values)).to(dtype).double().numpy()
            np.testing.assert_allclose(flat(got), want, rtol=1e-9, atol=1e-12)
