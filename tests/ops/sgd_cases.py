"""Random arguments for masked_sgd, and the bound on its rounding error."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from impcore import ops
from impcore.ops.plan import words_of

from . import tensors

SIZES = [(), (0,), (1,), (31,), (33,), (4, 3, 2, 2), (5, 20)]


@dataclass
class Case:
    """Arguments of one call; `run` leaves them alone and returns what the call wrote."""

    params: list[torch.Tensor]
    grads: list[torch.Tensor]
    momenta: list[torch.Tensor]
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

    def copy(self) -> Case:
        lists = {
            name: [copy_of(t) for t in getattr(self, name)]
            for name in ("params", "grads", "momenta")
        }
        first = self.options["first"]
        options = {**self.options, "first": None if first is None else first.clone()}
        return replace(self, options=options, **lists)

    def run(self) -> Case:
        after = self.copy()
        ops.masked_sgd(
            after.params,
            after.grads,
            after.momenta if self.options["momentum"] else [],
            self.arena(),
            self.words(),
            **after.options,
        )
        return after


def copy_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor).copy_(tensor)


def scalar(value: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(value, dtype=dtype)


def make(
    dtype: torch.dtype, seed: int = 0, shapes: Any = None, density: float = 0.5, **options: Any
) -> Case:
    """Normal values; every second tensor is masked (none in float64)."""
    gen = torch.Generator().manual_seed(seed)
    shapes = SIZES if shapes is None else shapes
    rows = [[torch.randn(s, generator=gen).to(dtype) for s in shapes] for _ in range(3)]
    rng = np.random.default_rng(seed)
    masked = [dtype != torch.float64 and i % 2 == 0 for i in range(len(shapes))]
    masks = [
        rng.random(p.numel()) < density if on else None
        for p, on in zip(rows[0], masked, strict=True)
    ]
    defaults = {
        "lr": scalar(0.1),
        "momentum": 0.9,
        "dampening": 0.0,
        "weight_decay": scalar(0.01),
        "nesterov": False,
        "maximize": False,
        "first": None,
    }
    return Case(*rows, masks, {**defaults, **options})


def flat(tensor: torch.Tensor) -> np.ndarray:
    """The values in storage order, in float64."""
    return tensor.detach().as_strided((tensor.numel(),), (1,)).double().numpy()


def float64(case: Case) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each tensor: weight and momentum after the step, unrounded, and the size of the terms."""
    o = case.options
    lr, decay, m = float(o["lr"]), float(o["weight_decay"]), o["momentum"]
    scale = float(o.get("grad_scale") if o.get("grad_scale") is not None else 1)
    starts = o["first"] is not None and bool(o["first"])
    out = []
    for param, grad, momentum, mask in zip(
        case.params, case.grads, case.momenta, case.masks, strict=True
    ):
        theta, v = flat(param), flat(momentum)
        g = (-1 if o["maximize"] else 1) * flat(grad) / scale + decay * theta
        size = np.abs(flat(grad)) / scale + decay * np.abs(theta)
        step = g
        if m:
            v = g if starts else m * v + (1 - o["dampening"]) * g
            size = size + m * np.abs(flat(momentum))
            step = g + m * v if o["nesterov"] else v
        size = np.abs(theta) + size * (1 + 2 * lr)
        alive = np.ones(theta.shape, bool) if mask is None else mask
        out.append((np.where(alive, theta - lr * step, 0), np.where(alive, v, 0), size))
    return out


def check_against_float64(case: Case, after: Case) -> None:
    """A few float32 roundings of the terms, and one of the result to its storage dtype."""
    for i, (theta, v, size) in enumerate(float64(case)):
        dtype = case.params[i].dtype
        work = 2.0**-53 if dtype == torch.float64 else 2.0**-24
        rows = [(theta, after.params[i])]
        if case.options["momentum"]:
            rows.append((v, after.momenta[i]))
        for want, got in rows:
            # A subnormal float16 result is a multiple of 2^-24.
            grain = 2.0**-25 if dtype == torch.float16 else 0
            allowed = torch.finfo(dtype).eps / 2 * np.abs(want) + 8 * work * size + grain
            assert (np.abs(flat(got) - want) <= allowed).all(), (i, dtype)
