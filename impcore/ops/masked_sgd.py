"""One step of SGD over many tensors: weight, gradient, momentum and mask are each read once.

Invariants: after a step weight and momentum are exactly +0 wherever the mask is 0, whatever the
gradient holds there (a selection, never a multiplication); a step that `found_inf` skips touches
nothing. Everything that may change from step to step lives in tensors, so that a captured graph can
replay it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from impcore import _C
from impcore.ops import backend, checks, library, native
from impcore.ops.plan import words_of
from impcore.ops.reference import masked_sgd as reference

DTYPES = (*checks.MASKED_DTYPES, torch.float64)


def masked_sgd(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    momenta: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    words: Sequence[int],
    *,
    lr: torch.Tensor,
    momentum: float,
    dampening: float,
    weight_decay: torch.Tensor,
    nesterov: bool,
    maximize: bool,
    first: torch.Tensor | None,
    grad_scale: torch.Tensor | None = None,
    found_inf: torch.Tensor | None = None,
) -> None:
    """Updates weights and momenta in place as torch.optim.SGD does, in float32 at least.

    Args:
        params: float32, bfloat16, float16 or (unmasked) float64; one dtype, one device, dense.
        grads: of the params' sizes, dtype and storage order.
        momenta: likewise; empty if and only if momentum is 0.
        mask: int32 mask arena, or None.
        words: for each param the first arena word of its mask, or -1 for none.
        lr, weight_decay: float64 or float32, 0-dim.
        first: bool or uint8, one element: while it is 1 a momentum becomes the gradient itself,
            without dampening. Cleared by the first step that is not skipped. None: it is 0.
        grad_scale: float32, one element; gradients are divided by it.
        found_inf: float32, one element; unless it is 0, nothing is touched.

    Raises:
        TypeError: a dtype is not one of these, or differs. LayoutError: gaps or overlaps in memory.
        ValueError: numbers, sizes, devices, storage orders or mask words that do not fit.
        NotImplementedError: sparse params, or subclasses such as DTensor.
    """
    _check_lists(params, grads, momenta, momentum)
    if not params:
        return
    device = params[0].device
    _check_words(params, mask, words)
    _check_scalar(lr, (torch.float64, torch.float32), device, "lr")
    _check_scalar(weight_decay, (torch.float64, torch.float32), device, "weight_decay")
    _check_scalar(first, (torch.bool, torch.uint8), device, "first")
    _check_scalar(grad_scale, (torch.float32,), device, "grad_scale")
    _check_scalar(found_inf, (torch.float32,), device, "found_inf")
    unchecked(
        list(params),
        list(grads),
        list(momenta),
        mask,
        list(words),
        lr,
        momentum,
        dampening,
        weight_decay,
        nesterov,
        maximize,
        first,
        grad_scale,
        found_inf,
    )


def _check_lists(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    momenta: Sequence[torch.Tensor],
    momentum: float,
) -> None:
    wanted = len(params) if momentum != 0 else 0
    if len(grads) != len(params) or len(momenta) != wanted:
        raise ValueError(
            f"{len(params)} params with momentum {momentum} need as many grads and {wanted} "
            f"momenta, not {len(grads)} and {len(momenta)}"
        )
    for i, param in enumerate(params):
        check_param(param, f"params[{i}]")
        _check_same_kind(param, f"params[{i}]", params[0], "params[0]")
        for name, others in (("grads", grads), ("momenta", momenta)):
            if others:
                _check_same_kind(others[i], f"{name}[{i}]", param, f"params[{i}]")
                _check_same_order(others[i], f"{name}[{i}]", param, f"params[{i}]")


def check_param(param: torch.Tensor, what: str) -> None:
    """Raises unless the optimisers' kernels can step the tensor (as `masked_sgd` does)."""
    if is_traceable_wrapper_subclass(param):
        raise NotImplementedError(f"{what} is a {type(param).__name__}, not a plain tensor")
    if param.layout != torch.strided:
        raise NotImplementedError(f"{what} has layout {param.layout}; it must be dense")
    if param.dtype not in DTYPES:
        raise TypeError(f"{what} has dtype {param.dtype}; it must be one of {DTYPES}")
    checks.check_dense(param, what)


def _check_same_kind(a: torch.Tensor, name: str, b: torch.Tensor, other: str) -> None:
    if a.layout != torch.strided:
        raise NotImplementedError(f"{name} has layout {a.layout}; it must be dense")
    if a.dtype != b.dtype:
        raise TypeError(f"{name} is {a.dtype}, {other} is {b.dtype}: one call takes one dtype")
    if a.device != b.device:
        raise ValueError(f"{name} is on {a.device}, {other} is on {b.device}")


def _check_same_order(a: torch.Tensor, name: str, b: torch.Tensor, other: str) -> None:
    if a.shape != b.shape or a.stride() != b.stride():
        raise ValueError(
            f"{name} has shape {tuple(a.shape)} and strides {a.stride()}, {other} has "
            f"{tuple(b.shape)} and {b.stride()}"
        )


def _check_words(
    params: Sequence[torch.Tensor], mask: torch.Tensor | None, words: Sequence[int]
) -> None:
    if len(words) != len(params):
        raise ValueError(f"words has {len(words)} entries for {len(params)} params")
    arena_words = 0 if mask is None else mask.numel()
    if mask is not None:
        checks.check_arena(mask, arena_words, params[0].device, "mask")
    for i, (param, word) in enumerate(zip(params, words, strict=True)):
        if word < -1 or (word >= 0 and word + words_of(param.numel()) > arena_words):
            raise ValueError(
                f"words[{i}] is {word}, but params[{i}] needs {words_of(param.numel())} of the "
                f"mask's {arena_words} words; -1 means no mask"
            )
        if word >= 0 and param.dtype not in checks.MASKED_DTYPES:
            raise TypeError(
                f"params[{i}] is {param.dtype} and has a mask; masks support {checks.MASKED_DTYPES}"
            )


def _check_scalar(
    scalar: torch.Tensor | None,
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    what: str,
) -> None:
    if scalar is None:
        return
    if scalar.numel() != 1 or scalar.dtype not in dtypes or scalar.device != device:
        raise ValueError(
            f"{what} must be one element of {' or '.join(map(str, dtypes))} on {device}, not "
            f"{scalar.dtype} of shape {tuple(scalar.shape)} on {scalar.device}"
        )


def _cpu(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    momenta: list[torch.Tensor],
    mask: torch.Tensor | None,
    words: list[int],
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
    if found_inf is not None and found_inf.item() != 0:
        return
    _C.masked_sgd(
        native.DTYPE_CODES[params[0].dtype],
        native.addresses(params),
        native.addresses(grads),
        native.addresses(momenta),
        [p.numel() for p in params],
        words,
        0 if mask is None else mask.data_ptr(),
        lr.item(),
        momentum,
        dampening,
        weight_decay.item(),
        nesterov,
        maximize,
        first is not None and bool(first.item()),
        0 if grad_scale is None else grad_scale.data_ptr(),
        torch.get_num_threads(),  # the kernel wakes as many as have a chunk each
    )
    if first is not None:
        first.zero_()


def _any(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    momenta: list[torch.Tensor],
    *rest: Any,
) -> None:
    if not params:
        return
    backend.select({"cpu": _cpu, "reference": reference.masked_sgd}, params[0].device)(
        params, grads, momenta, *rest
    )
    library.written(params + momenta)


_masked_sgd = library.register(
    "masked_sgd(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] momenta, Tensor? mask,"
    " int[] words, Tensor lr, float momentum, float dampening, Tensor weight_decay, bool nesterov,"
    " bool maximize, Tensor(c!)? first, Tensor? grad_scale, Tensor? found_inf) -> ()",
    _any,
    lambda *args: None,
)


def unchecked(*args: Any) -> None:
    """The registered op, for callers whose own checks are stronger; eagerly without the dispatcher.

    The arguments of `masked_sgd`, all positional, lists as lists.
    """
    if torch.compiler.is_compiling():
        _masked_sgd(*args)
    else:
        _any(*args)
