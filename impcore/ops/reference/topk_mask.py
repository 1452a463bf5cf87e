"""Selection by one stable sort."""

from __future__ import annotations

import math

import numpy as np
import torch

from impcore.ops.plan import words_of
from impcore.ops.reference import rewind, storage


def workspace_bytes(chunks: torch.Tensor) -> int:
    """None is needed."""
    return 0


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
    table = storage.tensor_table(chunks, len(weights))
    masks = [
        storage.mask_of(mask_in, word, w.numel())
        for (word, _), w in zip(table, weights, strict=True)
    ]
    keys = [storage.keys(w) for w in weights]
    status = _status(weights, masks, int(k))
    after = [mask.copy() for mask in masks]
    if status == 0:
        alive = [np.flatnonzero(mask) for mask in masks]
        candidates = np.concatenate([*(ks[a] for ks, a in zip(keys, alive, strict=True)), []])
        pruned = np.zeros(candidates.size, dtype=bool)
        pruned[np.argsort(candidates, kind="stable")[: int(k)]] = True
        start = 0
        for mask, a in zip(after, alive, strict=True):
            mask[a] = ~pruned[start : start + a.size]
            start += a.size
    for (word, _), mask in zip(table, after, strict=True):
        words = torch.from_numpy(storage.words_from(mask))
        mask_out[word : word + words.numel()] = words.to(mask_out.device)
    blocks = [block for _, block in table]
    return (
        torch.tensor([status], device=mask_in.device),
        block_sums(weights, masks, blocks, num_blocks).to(mask_in.device),
        block_sums(weights, after, blocks, num_blocks).to(mask_in.device),
    )


def _status(weights: list[torch.Tensor], masks: list[storage.BoolArray], k: int) -> int:
    if not 0 <= k <= sum(int(mask.sum()) for mask in masks):
        return -1
    return sum(
        int((~np.isfinite(storage.magnitudes(w)[mask])).sum())
        for w, mask in zip(weights, masks, strict=True)
    )


def block_sums(
    weights: list[torch.Tensor], masks: list[storage.BoolArray], blocks: list[int], num_blocks: int
) -> torch.Tensor:
    """Correctly rounded sums of |m theta|, and counts: float64 [2, num_blocks]."""
    parts: list[list[np.ndarray]] = [[] for _ in range(num_blocks)]
    for weight, mask, block in zip(weights, masks, blocks, strict=True):
        parts[block].append(storage.magnitudes(weight)[mask])
    joined = [np.concatenate([*part, []]) for part in parts]
    return torch.tensor(
        [[_exact_sum(x) for x in joined], [float(x.size) for x in joined]], dtype=torch.float64
    ).reshape(2, num_blocks)


def _exact_sum(values: np.ndarray) -> float:
    # fsum raises on inf - inf, which magnitudes never give; NaN passes through.
    return math.fsum(values) if np.isfinite(values).all() else float(values.sum())


def commit(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    mask_out: torch.Tensor,
    status: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Nothing unless the status is 0; then the new mask, and the weights under it."""
    if int(status) == 0:
        table = storage.tensor_table(chunks, len(weights))
        for (word, _), weight in zip(table, weights, strict=True):
            span = slice(word, word + words_of(weight.numel()))
            mask[span] = mask_out[span]
        rewind.rewind(chunks, weights, mask, source)
