"""What the native steps of the CPU optimisers begin with."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import native


def native_args(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    states: list[list[torch.Tensor]],
    mask: torch.Tensor | None,
    words: list[int],
) -> _C.StepArgs:
    """What every native step begins with; states: a list for each kind, in the kernel's order."""
    return _C.StepArgs(
        native.DTYPE_CODES[params[0].dtype],
        native.addresses(params),
        native.addresses(grads),
        [native.addresses(state) for state in states],
        [p.numel() for p in params],
        words,
        0 if mask is None else mask.data_ptr(),
        torch.get_num_threads(),  # the kernel wakes as many as have a chunk each
    )


def is_skipped(found_inf: torch.Tensor | None) -> bool:
    """Whether GradScaler found infinities, on the host."""
    return found_inf is not None and bool(found_inf.item() != 0)
