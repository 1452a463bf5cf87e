"""One step of AdamW by Triton kernels: weight, gradient, states and mask are each read once.

Of a float32 weight 28.13 bytes move, with amsgrad 36.13: each list is read, and all but the
gradient written.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore.ops.step_tensors import StepTensors
from impcore.ops.triton import masked_step, tables
from impcore.ops.triton.masked_step import (
    alive_of,
    at,
    divide,
    gradient,
    locate,
    put,
    read,
    root,
    skipped,
)
from impcore.ops.triton.tiles import is_whole
from impcore.ops.triton.words import FLOATS


@triton.jit
def _two_product(a, b):
    """a * b and its rounding error (Dekker); nothing here may be fused."""
    wide = a * 134217729.0
    a_high = wide - (wide - a)
    wide = b * 134217729.0
    b_high = wide - (wide - b)
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


@triton.jit
def _multiply(a, a_low, b, b_low):
    """The product of two numbers of twice float64's precision."""
    high, low = _two_product(a, b)
    low += a * b_low + a_low * b
    total = high + low
    return total, low - (total - high)


@triton.jit
def power(base, exponent):
    """base ** exponent for an integer exponent >= 0, by squaring, to the last bits of float64."""
    high, low = base * 0.0 + 1.0, base * 0.0
    square, square_low = base, base * 0.0
    left = exponent
    while left > 0:
        if left % 2 == 1:
            high, low = _multiply(high, low, square, square_low)
        square, square_low = _multiply(square, square_low, square, square_low)
        left = left // 2
    return high


@triton.jit
def advance(steps, constants, lr, beta1, beta2, found_inf, CHECKED: tl.constexpr):
    """Counts one param's step, and computes lr / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)."""
    if skipped(found_inf, CHECKED) == 0:
        i = tl.program_id(0)
        count = tl.load(steps + i).to(tl.pointer_type(tl.float32))
        taken = tl.load(count) + 1.0
        tl.store(count, taken)
        t = taken.to(tl.int64)
        b1 = tl.load(beta1).to(tl.float64)
        b2 = tl.load(beta2).to(tl.float64)
        tl.store(constants + 2 * i, tl.load(lr).to(tl.float64) / (1.0 - power(b1, t)))
        tl.store(constants + 2 * i + 1, 1.0 / tl.sqrt(1.0 - power(b2, t)))


@triton.jit
def _update(theta_at, grad_at, m_at, v_at, largest_at, left, alive, constants, lr, beta1, beta2,
            weight_decay, eps, grad_scale, AMSGRAD: tl.constexpr, MAXIMIZE: tl.constexpr,
            SCALED: tl.constexpr, KIND: tl.constexpr, WORK: tl.constexpr, WHOLE: tl.constexpr,
            TILE: tl.constexpr):  # fmt: skip
    b1, b2 = tl.load(beta1).to(tl.float64), tl.load(beta2).to(tl.float64)
    shrink = 1.0 - tl.load(lr).to(tl.float64) * tl.load(weight_decay).to(tl.float64)
    theta = read(theta_at, left, alive, KIND, WORK, WHOLE, TILE)
    g = read(grad_at, left, alive, KIND, WORK, WHOLE, TILE)
    g = gradient(g, grad_scale, SCALED, MAXIMIZE, WORK)
    m = read(m_at, left, alive, KIND, WORK, WHOLE, TILE)
    m = b1.to(WORK) * m + (1.0 - b1).to(WORK) * g
    v = read(v_at, left, alive, KIND, WORK, WHOLE, TILE)
    v = b2.to(WORK) * v + (1.0 - b2).to(WORK) * g * g
    put(m_at, left, alive, m, KIND, WHOLE, TILE)
    put(v_at, left, alive, v, KIND, WHOLE, TILE)
    if AMSGRAD:
        largest = read(largest_at, left, alive, KIND, WORK, WHOLE, TILE)
        v = tl.where((largest > v) | (largest != largest), largest, v)
        put(largest_at, left, alive, v, KIND, WHOLE, TILE)
    size, inverse_root = tl.load(constants).to(WORK), tl.load(constants + 1).to(WORK)
    bottom = root(v, WORK) * inverse_root + tl.full([], eps, tl.float64).to(WORK)
    theta = theta * shrink.to(WORK) - divide(size * m, bottom, WORK)
    put(theta_at, left, alive, theta, KIND, WHOLE, TILE)


@triton.jit(do_not_specialize=["eps"])
def step(
    table,
    grads,
    num_params,
    constants,
    mask,
    lr,
    beta1,
    beta2,
    weight_decay,
    eps: tl.float64,
    grad_scale,
    found_inf,
    MASKED: tl.constexpr,
    AMSGRAD: tl.constexpr,
    MAXIMIZE: tl.constexpr,
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
        m, v = at(table, num_params, i, 1, start, KIND), at(table, num_params, i, 2, start, KIND)
        largest = at(table, num_params, i, 3, start, KIND) if AMSGRAD else v
        if is_whole(theta | grad | m | v | largest, left, TILE):
            _update(theta, grad, m, v, largest, left, alive, constants + 2 * i, lr, beta1, beta2,
                    weight_decay, eps, grad_scale, AMSGRAD, MAXIMIZE, SCALED, KIND, WORK, True,
                    TILE)  # fmt: skip
        else:
            _update(theta, grad, m, v, largest, left, alive, constants + 2 * i, lr, beta1, beta2,
                    weight_decay, eps, grad_scale, AMSGRAD, MAXIMIZE, SCALED, KIND, WORK, False,
                    TILE)  # fmt: skip


def masked_adamw(
    on: StepTensors,
    lr: torch.Tensor,
    beta1: torch.Tensor,
    beta2: torch.Tensor,
    weight_decay: torch.Tensor,
    eps: float,
    maximize: bool,
    grad_scale: torch.Tensor | None,
    found_inf: torch.Tensor | None,
) -> None:
    """torch.optim.AdamW's update; where the mask is 0, weight and states become +0."""
    device, kind = on.params[0].device, on.params[0].dtype
    with tables.on(device):
        table, tiles = masked_step.tensors(on.params, on.states, on.words)
        constants = torch.empty((len(on.params), 2), dtype=torch.float64, device=device)
        found = masked_step.optional(found_inf, table)
        common = {"CHECKED": found_inf is not None, "enable_fp_fusion": False}
        counts = tables.addresses(on.counts, device)
        advance[(len(on.params),)](counts, constants, lr, beta1, beta2, found, **common)
        if tiles:
            step[(tiles,)](
                table, tables.addresses(on.grads, device), len(on.params), constants,
                masked_step.optional(on.mask, table), lr, beta1, beta2, weight_decay, eps,
                masked_step.optional(grad_scale, table), found, MASKED=on.mask is not None,
                AMSGRAD=len(on.states) == 3, MAXIMIZE=maximize, SCALED=grad_scale is not None,
                KIND=FLOATS[kind], WORK=tl.float64 if kind == torch.float64 else tl.float32,
                TILE=masked_step.TILE, **common,
            )  # fmt: skip
