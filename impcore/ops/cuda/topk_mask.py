"""Selection and commit by the CUDA kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops import chunk_table
from impcore.ops.cuda import launch, tables
from impcore.ops.selection import empty, scalar


def workspace_bytes(chunks: torch.Tensor) -> int:
    """Bytes of scratch that a selection over these chunks needs."""
    return _C.cuda.topk_mask_workspace(chunks.shape[0], int(chunks[:, 2].sum()))


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
    with launch.on(mask_in.device) as stream:
        order, first = chunk_table.by_block(chunks, num_blocks)
        targets, _kept = tables.weights(chunks, weights, stream)
        amount = scalar(k, mask_in.device)
        _C.cuda.topk_mask(
            targets,
            sum(w.numel() for w in weights),
            _C.cuda.BlockOrder(order.data_ptr(), first.data_ptr(), num_blocks),
            mask_in.data_ptr(),
            mask_out.data_ptr(),
            amount.data_ptr(),
            workspace.data_ptr(),
            status.data_ptr(),
            before.data_ptr(),
            after.data_ptr(),
            (bracket[0], bracket[1]) if bracket else None,
            stream,
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
    with launch.on(mask.device) as stream:
        targets, _kept = tables.weights(chunks, weights, stream)
        sources = tables.addresses(source, mask.device, stream) if source else None
        _C.cuda.commit(
            targets,
            0 if sources is None else sources.data_ptr(),
            mask.data_ptr(),
            mask_out.data_ptr(),
            status.data_ptr(),
            stream,
        )
