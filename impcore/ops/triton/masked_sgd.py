"""One step of SGD by a Triton kernel: weight, gradient, momentum and mask are each read once.

Of a float32 weight with momentum 20.13 bytes move: three reads, two writes, a mask bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.step_tensors import StepTensors
from impcore.ops.triton import masked_step, tables
from impcore.ops.triton.masked_step import alive_of, at, gradient, locate, put, read, skipped
from impcore.ops.triton.tiles import is_whole
from impcore.ops.triton.words import FLOATS


@triton.jit
def _update(theta_at, grad_at, momentum_at, left, alive, lr, momentum, dampening, weight_decay,
            first, grad_scale, MOMENTUM: tl.constexpr, NESTEROV: tl.constexpr,
            MAXIMIZE: tl.constexpr, FIRST: tl.constexpr, SCALED: tl.constexpr, KIND: tl.constexpr,
            WORK: tl.constexpr, WHOLE: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    theta = read(theta_at, left, alive, KIND, WORK, WHOLE, TILE)
    g = read(grad_at, left, alive, KIND, WORK, WHOLE, TILE)
    g = gradient(g, grad_scale, SCALED, MAXIMIZE, WORK)
    decay = tl.load(weight_decay)
    g = tl.where(decay != 0, g + decay.to(WORK) * theta, g)
    if MOMENTUM:
        gain = (1.0 - tl.full([], dampening, tl.float64)).to(WORK)
        factor = tl.full([], momentum, tl.float64).to(WORK)
        v = factor * read(momentum_at, left, alive, KIND, WORK, WHOLE, TILE) + gain * g
        if FIRST:
            v = tl.where(tl.load(first) != 0, g, v)
        put(momentum_at, left, alive, v, KIND, WHOLE, TILE)
        g = g + factor * v if NESTEROV else v
    put(theta_at, left, alive, theta - tl.load(lr).to(WORK) * g, KIND, WHOLE, TILE)


@triton.jit(do_not_specialize=["momentum", "dampening"])
def step(
    table,
    grads,
    num_params,
    mask,
    lr,
    momentum: tl.float64,
    dampening: tl.float64,
    weight_decay,
    first,
    grad_scale,
    found_inf,
    MASKED: tl.constexpr,
    MOMENTUM: tl.constexpr,
    NESTEROV: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    FIRST: tl.constexpr,
    SCALED: tl.constexpr,
    CHECKED: tl.constexpr,
    KIND: tl.constexpr,
    WORK: tl.constexpr,
    TILE: tl.constexpr,
):
    """One tile of one param."""
    if skipped(found_inf, CHECKED) == 0:
        i, start, left = locate(table, num_params, tl.program_id(0), TILE)
        alive = alive_of(table, num_params, i, mask, start, left, MASKED, TILE)
        theta = at(table, num_params, i, 0, start, KIND)
        grad = tl.load(grads + i) + start * (KIND.primitive_bitwidth // 8)
        state = at(table, num_params, i, 1, start, KIND) if MOMENTUM else theta
        if is_whole(theta | grad | state, left, TILE):
            _update(theta, grad, state, left, alive, lr, momentum, dampening, weight_decay, first,
                    grad_scale, MOMENTUM, NESTEROV, MAXIMIZE, FIRST, SCALED, KIND, WORK, True,
                    TILE)  # fmt: skip
        else:
            _update(theta, grad, state, left, alive, lr, momentum, dampening, weight_decay, first,
                    grad_scale, MOMENTUM, NESTEROV, MAXIMIZE, FIRST, SCALED, KIND, WORK, False,
                    TILE)  # fmt: skip


@triton.jit
def clear(first, found_inf, CHECKED: tl.constexpr):
    """The first step is taken, unless it was skipped."""
    tl.store(first, tl.load(first) * 0, mask=skipped(found_inf, CHECKED) == 0)


def masked_sgd(
    on: StepTensors,
    lr: torch.Tensor,
    momentum: float,
    dampening: float,
    weight_decay: torch.Tensor,
    nesterov: bool,
    maximize: bool,
    first: torch.Tensor | None,
    grad_scale: torch.Tensor | None,
    found_inf: torch.Tensor | None,
) -> None:
    """torch.optim.SGD's update; where the mask is 0, weight and momentum become +0."""
    kind, device = on.params[0].dtype, on.params[0].device
    flag = None if first is None else first.view(torch.uint8)
    checked = {"CHECKED": found_inf is not None}
    with tables.on(device):
        table, tiles = masked_step.tensors(on.params, on.states, on.words)
        if tiles:
            step[(tiles,)](
                table, tables.addresses(on.grads, device), len(on.params),
                masked_step.optional(on.mask, table), lr, momentum, dampening, weight_decay,
                masked_step.optional(flag, table), masked_step.optional(grad_scale, table),
                masked_step.optional(found_inf, table), MASKED=on.mask is not None,
                MOMENTUM=bool(on.states), NESTEROV=nesterov, MAXIMIZE=maximize,
                FIRST=flag is not None, SCALED=grad_scale is not None, KIND=FLOATS[kind],
                WORK=tl.float64 if kind == torch.float64 else tl.float32, TILE=masked_step.TILE,
                enable_fp_fusion=False, **checked,
            )  # fmt: skip
        if flag is not None:
            clear[(1,)](flag, masked_step.optional(found_inf, table), **checked)
