"""What every call into the native module `impcore._C` needs: addresses and dtype codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore import _C

# csrc/keys.h: enum DType.
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}


def addresses(tensors: Sequence[torch.Tensor]) -> list[int]:
    """The address of each tensor's first element."""
    return [t.data_ptr() for t in tensors]


def plan_args(chunks: torch.Tensor, weights: Sequence[torch.Tensor]) -> _C.PlanArgs:
    """The plan's table and the weights' dtype, as the native ops take them."""
    dtype = weights[0].dtype if weights else torch.float32
    return _C.PlanArgs(DTYPE_CODES[dtype], chunks.data_ptr(), chunks.shape[0])
