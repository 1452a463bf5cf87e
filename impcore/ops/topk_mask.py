"""Exact global magnitude selection, in two phases.

`topk_mask` selects: it reads weights and mask and writes a scratch mask, sums and a status.
`commit` swaps the mask in and zeroes (or rewinds) the weights, only if the status is clean. So
nothing is ever half-done.

The order is total: by |theta| as an unsigned bit pattern (-0 ties with 0, subnormals count), then
by tensor index, then by storage offset. The k smallest alive weights under it are unique, so the
mask is the same on every backend and at any number of threads.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch

from impcore.ops import backend, checks, chunk_table, library, native, selection
from impcore.ops.plan import Plan
from impcore.ops.selection import Selection

MAX_KEY = 0x7FFFFFFF  # csrc/keys.h: kMaxKey


def workspace(plan: Plan, device: torch.device | str = "cpu") -> torch.Tensor:
    """Scratch memory for `topk_mask`: uint8, to be reused from call to call.

    For the backend that serves `device` now; one for each stream that selects at the same time. At
    most 3 % of float32 weights of a large model. On the CPU at most 3 % of any or, if that is more,
    112 KiB and 210 bytes a tensor (or 65,536 weights of one); so 3 % is enough for a million
    weights in fifty tensors, and for two million in a thousand.
    """
    return torch.empty(
        workspace_bytes(plan, torch.device(device)), dtype=torch.uint8, device=device
    )


def workspace_bytes(plan: Plan, device: torch.device) -> int:
    """Bytes of `workspace`, for the backend that serves `device` now."""
    module = backend.find("topk_mask", device)
    size = plan.workspaces.get(module.__name__)
    if size is None:
        size = plan.workspaces[module.__name__] = module.workspace_bytes(plan.chunks)
    return size


def topk_mask(
    plan: Plan,
    weights: Sequence[torch.Tensor],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    k: int | torch.Tensor,
    workspace: torch.Tensor,
    *,
    bracket: tuple[int, int] | None = None,
) -> Selection:
    """Marks the k smallest alive weights as pruned in `mask_out`; changes nothing else.

    Args:
        plan: made for the weights' sizes.
        weights: float32, bfloat16 or float16, one dtype, one device, dense layouts.
        mask_in: int32 [plan.total_words], the current mask arena.
        mask_out: int32 [plan.total_words], scratch for the new one; must not be `mask_in`.
        k: how many alive weights to prune; an int, or an int64 scalar on the device.
        workspace: from `workspace(plan)`.
        bracket: for tests: the interval of 31-bit order keys to begin with, in place of a sampled
            one. The result does not depend on it.

    Raises:
        TypeError, ValueError: an argument does not fit the plan. A k that does not fit the mask, or
            non-finite weights, are reported by the status.
    """
    found = checks.check_weights(plan.numels, weights, "weights")
    beside = checks.place_of(found, mask_in)
    checks.check_arena(mask_in, plan.total_words, beside, "mask_in")
    checks.check_arena(mask_out, plan.total_words, beside, "mask_out")
    if plan.total_words and mask_in.data_ptr() == mask_out.data_ptr():
        raise ValueError("mask_out must not be mask_in: a select changes nothing")
    _check_workspace(plan, workspace, beside)
    return Selection(
        *_topk_mask(
            plan.chunks,
            found,
            mask_in,
            mask_out,
            _amount(k, plan.total, beside),
            workspace,
            plan.num_blocks,
            _forced(bracket),
        )
    )


def _check_workspace(plan: Plan, workspace: torch.Tensor, beside: torch.Tensor) -> None:
    device = beside.device
    needed = workspace_bytes(plan, device)
    if native.row_of(workspace, 8, beside) >= needed:
        return
    if (
        workspace.dtype != torch.uint8
        or not workspace.is_contiguous()
        or workspace.device != device
        or workspace.data_ptr() % 8
    ):
        raise ValueError(
            f"workspace must be a contiguous, aligned uint8 tensor on {device}, as ops.workspace "
            f"makes it, not {workspace.dtype} with strides {workspace.stride()} on "
            f"{workspace.device}"
        )
    if workspace.numel() < needed:
        raise ValueError(f"workspace has {workspace.numel()} bytes, this plan needs {needed}")


def _amount(k: int | torch.Tensor, total: int, beside: torch.Tensor) -> int | torch.Tensor:
    """k as it is, but within 64 bits; of what is traced a scalar tensor, as the op has it."""
    if not isinstance(k, torch.Tensor):
        if isinstance(k, bool) or not hasattr(k, "__index__"):
            raise TypeError(f"k must be an int or an int64 scalar tensor, not {k!r}")
        # Beyond both ends it stays wrong.
        amount = max(-1, min(operator.index(k), total + 1))
        return selection.scalar(amount, beside.device) if torch.compiler.is_compiling() else amount
    if k.dtype != torch.int64 or k.numel() != 1:
        raise ValueError(f"k must be an int64 scalar, not {k.dtype} of shape {tuple(k.shape)}")
    if k.device != beside.device:
        raise ValueError(f"k is on {k.device}, the weights are on {beside.device}")
    return k


def _forced(bracket: tuple[int, int] | None) -> list[int]:
    if bracket is None:
        return []
    lo, hi = bracket
    if not 0 <= lo <= hi <= MAX_KEY:
        raise ValueError(f"bracket must satisfy 0 <= lo <= hi <= {MAX_KEY}, got {bracket}")
    return [lo, hi]


def commit(
    plan: Plan,
    weights: Sequence[torch.Tensor],
    mask: torch.Tensor,
    mask_out: torch.Tensor,
    status: torch.Tensor,
    source: Sequence[torch.Tensor] | None = None,
) -> None:
    """If `status` is clean: mask <- mask_out, and weights <- mask ? source : +0, in place.

    Otherwise nothing happens.

    Args:
        plan: made for the weights' sizes.
        weights: written in place; float32, bfloat16 or float16, one dtype, one device, dense
            layouts.
        mask: int32 [plan.total_words], the current mask arena; written.
        mask_out: int32 [plan.total_words], what `topk_mask` has filled.
        status: int64 [1], that of its Selection.
        source: tensors of the weights' sizes, dtype and storage order; None: the weights keep their
            own values.

    Raises:
        TypeError, ValueError: an argument does not fit the plan.
    """
    targets = checks.check_weights(plan.numels, weights, "weights")
    beside = checks.place_of(targets, mask)
    checks.check_arena(mask, plan.total_words, beside, "mask")
    checks.check_arena(mask_out, plan.total_words, beside, "mask_out")
    if status.dtype != torch.int64 or status.numel() != 1 or status.device != beside.device:
        raise ValueError(
            f"status must be the int64 [1] of a Selection on {beside.device}, not {status.dtype} "
            f"of shape {tuple(status.shape)} on {status.device}"
        )
    sources = checks.check_source(plan.numels, source, targets)
    _commit(plan.chunks, targets, mask, mask_out, status, sources)


def _topk_mask_any(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    k: int | torch.Tensor,
    workspace: torch.Tensor,
    num_blocks: int,
    bracket: list[int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    run = backend.find("topk_mask", mask_in.device).topk_mask
    library.written([mask_out, workspace])  # before: afterwards nothing of them is in the cache
    out: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = run(
        chunk_table.on(mask_in.device, chunks),
        weights,
        mask_in,
        mask_out,
        k,
        workspace,
        num_blocks,
        bracket,
    )
    return out


def _commit_any(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    mask_out: torch.Tensor,
    status: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    run = backend.find("topk_mask", mask.device).commit
    library.written([mask, *weights])
    run(chunk_table.on(mask.device, chunks), weights, mask, mask_out, status, source)


_topk_mask = library.register(
    "topk_mask(Tensor chunks, Tensor[] weights, Tensor mask_in, Tensor(a!) mask_out, Tensor k, "
    "Tensor(b!) workspace, int num_blocks, int[] bracket) -> (Tensor, Tensor, Tensor)",
    _topk_mask_any,
    lambda chunks, weights, mask_in, mask_out, k, workspace, num_blocks, bracket: selection.empty(
        mask_in, num_blocks
    ),
)
_commit = library.register(
    "commit(Tensor chunks, Tensor(a!)[] weights, Tensor(b!) mask, Tensor mask_out, Tensor status, "
    "Tensor[] source) -> ()",
    _commit_any,
    lambda chunks, weights, mask, mask_out, status, source: None,
)
