"""What calls into the native module `impcore._C` need: addresses and dtype codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore import _C

# csrc/keys.h: enum DType.
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}


def addresses(tensors: Sequence[torch.Tensor]) -> list[int]:
    """The address of each tensor's first element."""
    return [t.data_ptr() for t in tensors]


def address(tensor: torch.Tensor | None) -> int:
    """The address of a tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def plan_args(chunks: torch.Tensor, weights: Sequence[torch.Tensor]) -> _C.PlanArgs:
    """The plan's table and the weights' dtype, as the native ops take them."""
    dtype = weights[0].dtype if weights else torch.float32
    return _C.PlanArgs(DTYPE_CODES[dtype], chunks.data_ptr(), chunks.shape[0])


def step_args(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    states: list[list[torch.Tensor]],
    mask: torch.Tensor | None,
    words: list[int],
) -> _C.StepArgs:
    """What every optimiser's step begins with; states: a list a kind, in the kernel's order."""
    return (
        DTYPE_CODES[params[0].dtype],
        addresses(params),
        addresses(grads),
        [addresses(state) for state in states],
        [p.numel() for p in params],
        words,
        address(mask),
    )
