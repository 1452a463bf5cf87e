"""Small helpers over torch tensors that the op tests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from impcore import ops

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def storage(tensor: torch.Tensor) -> np.ndarray:
    """A copy of the tensor's bytes in storage order, as unsigned integers an element wide."""
    flat = tensor.detach().as_strided((tensor.numel(),), (1,))
    integers = flat.view(torch.int32 if tensor.element_size() == 4 else torch.int16)
    return integers.numpy().copy().view(np.uint32 if tensor.element_size() == 4 else np.uint16)


def pack(masks: Sequence[np.ndarray]) -> torch.Tensor:
    """An arena from one bool array a tensor (storage order)."""
    words = [np.zeros(-(-m.size // 32) * 32, dtype=bool) for m in masks]
    for padded, mask in zip(words, masks, strict=True):
        padded[: mask.size] = mask
    packed = [np.packbits(w, bitorder="little").view(np.int32) for w in words]
    return torch.from_numpy(np.concatenate([*packed, np.zeros(0, dtype=np.int32)]))


def unpack(plan: ops.Plan, arena: torch.Tensor) -> list[np.ndarray]:
    """The inverse of `pack`."""
    bits = np.unpackbits(arena.numpy().view(np.uint8), bitorder="little").astype(bool)
    return [bits[32 * w : 32 * w + n] for w, n in zip(plan.words, plan.numels, strict=True)]


def unpacked(plan: ops.Plan, arena: torch.Tensor) -> np.ndarray:
    """All masks in one bool array."""
    return np.concatenate(unpack(plan, arena))


def model(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[ops.Plan, list[torch.Tensor]]:
    """Weights in several layouts, one empty, one scalar, one misaligned; and a plan for them."""
    gen = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=gen).to(dtype)

    weights = [
        draw(8, 6, 3, 3).to(memory_format=torch.channels_last),
        draw(40, 70).t(),
        draw(0, 5),
        draw(),
        draw(101)[1:],
        draw(6, 5, 4).permute(2, 0, 1),
    ]
    return ops.Plan.make([w.numel() for w in weights]), weights


def ones(plan: ops.Plan) -> torch.Tensor:
    """An arena of live weights."""
    return pack([np.ones(n, dtype=bool) for n in plan.numels])


def sort_selects(
    keys: Sequence[Sequence[int]], masks: Sequence[Sequence[bool]], k: int
) -> list[list[bool]]:
    """What must survive: the contract in plain Python, by sorting (key, tensor, offset)."""
    order = sorted(
        (key, tensor, offset)
        for tensor, (row, mask) in enumerate(zip(keys, masks, strict=True))
        for offset, (key, alive) in enumerate(zip(row, mask, strict=True))
        if alive
    )
    kept = [list(map(bool, mask)) for mask in masks]
    for _, tensor, offset in order[:k]:
        kept[tensor][offset] = False
    return kept


def poisoned(plan: ops.Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask_out and a workspace full of garbage."""
    garbage = torch.randint(-(2**31), 2**31, (plan.total_words,), dtype=torch.int32)
    workspace = ops.workspace(plan)
    workspace.copy_(torch.randint(0, 256, workspace.shape, dtype=torch.uint8))
    return garbage, workspace


def prune(plan, weights, arena, k, **options):
    """Select on poisoned scratch and commit; returns the selection."""
    mask_out, workspace = poisoned(plan)
    selection = ops.topk_mask(plan, weights, arena, mask_out, k, workspace, **options)
    ops.commit(plan, weights, arena, mask_out, selection.status)
    return selection
