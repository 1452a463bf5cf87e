"""Selection and commit by the native CPU kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import native
from impcore.ops.cpu.threads import threads
from impcore.ops.selection import empty


def workspace_bytes(chunks: torch.Tensor) -> int:
    """Bytes of scratch that a selection over these chunks needs."""
    return _C.topk_mask_workspace(chunks.data_ptr(), chunks.shape[0])


def topk_mask(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    k: int | torch.Tensor,
    workspace: torch.Tensor,
    num_blocks: int,
    bracket: list[int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k smallest of all alive keys, in the order (key, tensor, storage offset)."""
    status, before, after = empty(mask_in, num_blocks)
    _C.topk_mask(
        native.operands(weights),
        chunks.data_ptr(),
        chunks.shape[0],
        num_blocks,
        mask_in.data_ptr(),
        mask_out.data_ptr(),
        k if isinstance(k, int) else _C.int64_at(k.data_ptr()),
        workspace.data_ptr(),
        status.data_ptr(),
        before.data_ptr(),
        after.data_ptr(),
        (bracket[0], bracket[1]) if bracket else None,
        threads(mask_in.numel()),
    )
    return status, before, after


def commit(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    mask_out: torch.Tensor,
    status: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Nothing unless the status is 0; then the new mask, and the weights under it."""
    _C.commit(
        native.operands(weights),
        chunks.data_ptr(),
        chunks.shape[0],
        native.operands(source),
        mask.data_ptr(),
        mask_out.data_ptr(),
        status.data_ptr(),
        threads(mask.numel()),
    )
