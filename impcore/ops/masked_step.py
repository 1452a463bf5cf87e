"""What the optimisers' ops share: checks, and the registration of one op per optimiser.

Invariants: everything is checked before anything is written; the tensors that a step writes have
their versions bumped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.compiler import is_compiling
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from impcore.ops import backend, checks, library
from impcore.ops.plan import words_of
from impcore.ops.step_tensors import StepTensors

DTYPES = (*checks.MASKED_DTYPES, torch.float64)
NUMBERS = (torch.float64, torch.float32)  # what a scalar option may be

Tensors = Sequence[torch.Tensor]


def define(schema: str, states: int, *, counted: bool) -> Any:
    """Registers a step, and returns it unchecked.

    Args:
        schema: as torch.library takes it: params, grads, the lists of states, the counts if they
            are counted, the mask, words, and whatever else the backends take after `StepTensors`.
        states: how many lists of states there may be; the last ones may be empty.

    Returns:
        The op for callers whose own checks are stronger: of `StepTensors` and all other arguments
        by position. Eagerly it does without PyTorch's dispatcher, and `library.refuse_fake` rules.
    """
    name = schema.partition("(")[0]

    def run(on: StepTensors, *options: Any) -> None:
        if not on.params:
            return
        step = getattr(backend.find(name, on.params[0].device), name)
        library.written(on.written())  # before: afterwards little of them is left in the cache
        step(on, *options)

    def implementation(params: Any, grads: Any, *args: Any) -> None:
        kept = [state for state in args[:states] if state]
        counts, rest = (args[states], args[states + 1 :]) if counted else ([], args[states:])
        run(StepTensors(params, grads, kept, counts, *rest[:2]), *rest[2:])

    op = library.register(schema, implementation, lambda *args: None)

    def call(on: StepTensors, *options: Any) -> None:
        if is_compiling():
            kept = [*on.states, *[[] for _ in range(states - len(on.states))]]
            counts = [on.counts] if counted else []
            op(on.params, on.grads, *kept, *counts, on.mask, on.words, *options)
        else:
            library.refuse_fake()
            run(on, *options)

    return call


def check_lists(params: Tensors, lists: Mapping[str, Tensors]) -> None:
    """Raises unless each list by its name fits the params: number, dtype, device, storage order.

    Raises:
        TypeError, ValueError, LayoutError, NotImplementedError: what does not fit, by its place.
    """
    for name, others in lists.items():
        if len(others) != len(params):
            raise ValueError(f"{len(params)} params need as many {name}, not {len(others)}")
    for i, param in enumerate(params):
        check_param(param, f"params[{i}]")
        _check_same_kind(param, f"params[{i}]", params[0], "params[0]")
        for name, others in lists.items():
            _check_same_kind(others[i], f"{name}[{i}]", param, f"params[{i}]")
            _check_same_order(others[i], f"{name}[{i}]", param, f"params[{i}]")


def check_param(param: torch.Tensor, what: str) -> None:
    """Raises unless a step can be taken on the tensor.

    Raises:
        TypeError: its dtype is not one of DTYPES. LayoutError: it has gaps or overlaps in memory.
        NotImplementedError: it is sparse, a subclass such as DTensor, or negated only when used.
    """
    if is_traceable_wrapper_subclass(param):
        raise NotImplementedError(f"{what} is a {type(param).__name__}, not a plain tensor")
    if param.layout != torch.strided:
        raise NotImplementedError(f"{what} has layout {param.layout}; it must be dense")
    if param.dtype not in DTYPES:
        raise TypeError(f"{what} has dtype {param.dtype}; it must be one of {DTYPES}")
    checks.check_dense(param, what)
    checks.check_resolved(param, what)


def _check_same_kind(a: torch.Tensor, name: str, b: torch.Tensor, other: str) -> None:
    if a.layout != torch.strided:
        raise NotImplementedError(f"{name} has layout {a.layout}; it must be dense")
    checks.check_resolved(a, name)
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


def check_words(params: Tensors, mask: torch.Tensor | None, words: Sequence[int]) -> None:
    """Raises unless each param's mask lies in the arena (-1: it has none)."""
    if len(words) != len(params):
        raise ValueError(f"words has {len(words)} entries for {len(params)} params")
    arena_words = 0 if mask is None else mask.numel()
    if mask is not None:
        checks.check_arena(mask, arena_words, params[0], "mask")
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


def check_scalar(
    scalar: torch.Tensor | None,
    dtypes: tuple[torch.dtype, ...],
    device: torch.device,
    what: str,
) -> None:
    """Raises ValueError unless `scalar` is None or one element, of such a dtype, on the device."""
    if scalar is None:
        return
    if scalar.numel() != 1 or scalar.dtype not in dtypes or scalar.device != device:
        raise ValueError(
            f"{what} must be one element of {' or '.join(map(str, dtypes))} on {device}, not "
            f"{scalar.dtype} of shape {tuple(scalar.shape)} on {scalar.device}"
        )


def check_scaler(
    grad_scale: torch.Tensor | None, found_inf: torch.Tensor | None, device: torch.device
) -> None:
    """Raises ValueError unless both are what GradScaler makes on the device, or None."""
    check_scalar(grad_scale, (torch.float32,), device, "grad_scale")
    check_scalar(found_inf, (torch.float32,), device, "found_inf")
