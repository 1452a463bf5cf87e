"""What the engine sees of masks: commits that count, and counts that are right or unknown."""

from __future__ import annotations

import torch
from library_cases import net

import impcore
from impcore import ops


def cut(masks: impcore.Masks, k: int) -> torch.Tensor:
    bound = masks.bound()
    selected = (bound.words, bound.scratch, k, bound.workspace)
    return ops.topk_mask(masks.plan, bound.weights, *selected).status


def commit(masks: impcore.Masks, k: int, count: int | None, sync: bool) -> None:
    masks.commit(masks.bound(), cut(masks, k), count, sync)


def test_a_commit_counts_what_it_is_told_or_leaves_the_count_open() -> None:
    masks = impcore.Masks(net())
    commit(masks, 10, 10, sync=True)
    assert masks.expected_remaining() == masks.total - 10
    commit(masks, 5, None, sync=True)
    assert masks._ledger.remaining is None
    assert masks.expected_remaining() == masks.remaining == masks.total - 15


def test_a_refused_commit_is_expected_until_it_is_read() -> None:
    masks = impcore.Masks(net())
    words = masks.words.clone()
    commit(masks, masks.total + 1, 7, sync=False)
    assert masks.expected_remaining() == masks.total - 7
    assert torch.equal(masks.words, words)


def test_stored_masks_are_in_the_order_of_memory() -> None:
    model = net().to(memory_format=torch.channels_last)
    masks = impcore.prune_global(model, 0.5)
    for i, (name, p) in enumerate(zip(masks.names, masks.parameters, strict=True)):
        flat = p.detach().as_strided((p.numel(),), (1,))
        assert torch.equal(masks.stored(i), flat != 0)
        assert torch.equal(masks.stored(i).as_strided(p.shape, p.stride()), masks[name])
