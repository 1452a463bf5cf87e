"""Exact global magnitude selection by Triton kernels: sample, bracket, one full read, exact finish.

The stages are those of csrc/README.md: one clear and twelve launches or fewer, by the plan and the
dtype alone. Candidates lie in one pool, each tile's together and in order; where a tile's lie
depends on scheduling, nothing else does. If the bracket missed or the pool was too small, the
stages after the scan read the weights instead of the candidates. Half types use keys of 15 bits in
a field of 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton

from impcore.ops.selection import empty, scalar
from impcore.ops.triton import fold, tables, topk_finish, topk_sample, topk_scan
from impcore.ops.triton.rewind import launch
from impcore.ops.triton.topk_state import CONTROL, HIGH, LOW
from impcore.ops.triton.words import CHUNK, FLOATS, INTEGERS, TILE, parts

SMALL = 131072  # weights that are not worth a sample: all of them are candidates
NARROWING = 264  # programs that narrow; few, for they seldom have anything to do


def capacity_of(total: int) -> int:
    """Candidates that the pool holds: 23 standard errors of independent samples; 8 will do then."""
    if total <= SMALL:
        return total
    return min(total, int(1.35 * max(68 * total**0.5, 0.0083 * total)) + 8192)


@dataclass
class Scratch:
    """The workspace, cut up; sampled keys and candidates share their bytes."""

    control: torch.Tensor  # int64 [CONTROL]
    first: torch.Tensor  # int64 [tiles]: where a tile's candidates begin in the pool
    count: torch.Tensor  # int64 [tiles]: alive, kept and candidates (fold.packed)
    sums: torch.Tensor  # float64 [2, tiles]: before and after
    ties: torch.Tensor  # int64 [chunks]
    keys: torch.Tensor  # int32 [capacity]
    offsets: torch.Tensor  # int16 [capacity]: a candidate's place in its tile
    samples: torch.Tensor  # int32 [samples]

    @staticmethod
    def sizes(chunks: int, total: int) -> list[tuple[torch.dtype, int]]:
        """Type and number of elements of each piece but the samples."""
        tiles = chunks * (CHUNK // TILE)
        capacity = capacity_of(total)
        return [
            (torch.int64, CONTROL),
            (torch.int64, tiles),
            (torch.int64, tiles),
            (torch.float64, 2 * tiles),
            (torch.int64, chunks),
            (torch.int32, capacity),
            (torch.int16, capacity),
        ]

    @staticmethod
    def cut(workspace: torch.Tensor, chunks: int, total: int) -> Scratch:
        """The pieces of a workspace."""
        pieces: list[torch.Tensor] = []
        at = 0
        for dtype, count in Scratch.sizes(chunks, total):
            size = count * dtype.itemsize
            pieces.append(workspace[at : at + size].view(dtype))
            at += _aligned(size)
        pool = sum(_aligned(d.itemsize * n) for d, n in Scratch.sizes(chunks, total)[:-2])
        samples = chunks * topk_sample.groups_of(total) * topk_sample.GROUP
        shared = workspace[pool : pool + 4 * samples]
        pieces.append(shared.view(torch.int32))
        return Scratch(*pieces)

    @staticmethod
    def bytes(chunks: int, total: int) -> int:
        """What all pieces take."""
        sizes = [_aligned(d.itemsize * n) for d, n in Scratch.sizes(chunks, total)]
        samples = 4 * chunks * topk_sample.groups_of(total) * topk_sample.GROUP
        return sum(sizes[:-2]) + max(sum(sizes[-2:]), _aligned(samples))


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def workspace_bytes(chunks: torch.Tensor) -> int:
    """Bytes of scratch that a selection over these chunks (on the host) needs."""
    return Scratch.bytes(chunks.shape[0], int(chunks[:, 2].sum()))


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
    num_chunks, total = chunks.shape[0], sum(w.numel() for w in weights)
    scratch = Scratch.cut(workspace, num_chunks, total)
    with tables.on(mask_in.device):
        amount = scalar(k, mask_in.device)
        scratch.control.zero_()
        pieces = parts(weights)
        tiles = num_chunks * pieces
        if num_chunks:
            pointers = tables.addresses(weights, mask_in.device)
            _find_bracket(scratch, chunks, pointers, weights, mask_in, amount, bracket)
            _scan(scratch, chunks, pointers, weights, mask_in, mask_out)
        else:
            pointers = scratch.ties
        _finish(scratch, chunks, pointers, weights, mask_in, mask_out, amount, status)
        values = scratch.sums[: 2 * tiles].view(2, tiles)
        fold.launch(values, scratch.count, chunks, pieces, status, [before, after])
    return status, before, after


def _kinds(weights: list[torch.Tensor]) -> tuple[int, int, dict[str, Any]]:
    """Bits of a key's field, digits of 8 bits in it, and what kernels over tiles are told."""
    dtype = weights[0].dtype if weights else torch.float32
    key_bits, levels = (31, 4) if dtype == torch.float32 else (16, 2)
    return key_bits, levels, {"INTEGER": INTEGERS[dtype], "PARTS": parts(weights), "TILE": TILE}


def _find_bracket(
    scratch: Scratch,
    chunks: torch.Tensor,
    pointers: torch.Tensor,
    weights: list[torch.Tensor],
    mask_in: torch.Tensor,
    k: torch.Tensor,
    forced: list[int],
) -> None:
    """Leaves the bracket in the control numbers LOW and HIGH."""
    key_bits, _, _ = _kinds(weights)
    total = sum(w.numel() for w in weights)
    if forced or total <= SMALL:
        low, high = forced or (0, 0x7FFFFFFF)
        if key_bits == 16:  # keys of 31 bits to keys of half types
            low, high = low >> 16, -(-high // 65536)
        scratch.control[LOW.value : LOW.value + 1].fill_(low)
        scratch.control[HIGH.value : HIGH.value + 1].fill_(high)
        return
    groups = topk_sample.groups_of(total)
    count = chunks.shape[0] * groups * topk_sample.GROUP
    rows = topk_sample.BLOCK // (groups * topk_sample.GROUP)
    levels = 3 if key_bits == 31 else 2
    kinds = {"LEVELS": levels, "KEY_BITS": key_bits, "num_warps": 8}
    topk_sample.take[(triton.cdiv(chunks.shape[0], rows),)](
        chunks, pointers, mask_in, scratch.control, scratch.samples, chunks.shape[0], k, total,
        scratch.keys.numel(), GROUPS=groups, STRIDE=CHUNK // groups, ROWS=rows,
        INTEGER=INTEGERS[weights[0].dtype], **kinds,
    )  # fmt: skip
    for level in range(1, levels):
        topk_sample.refine[(triton.cdiv(count, topk_sample.BLOCK),)](
            scratch.control, scratch.samples, count, k, total, scratch.keys.numel(),
            LEVEL=level, BLOCK=topk_sample.BLOCK, **kinds,
        )  # fmt: skip


def _scan(
    scratch: Scratch,
    chunks: torch.Tensor,
    pointers: torch.Tensor,
    weights: list[torch.Tensor],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
) -> None:
    _, _, kinds = _kinds(weights)
    topk_scan.scan[(chunks.shape[0] * parts(weights),)](
        chunks, pointers, mask_in, mask_out, scratch.control, scratch.first, scratch.count,
        scratch.sums, scratch.keys, scratch.offsets, scratch.keys.numel(),
        FLOAT=FLOATS[weights[0].dtype], **kinds,
    )  # fmt: skip


def _finish(
    scratch: Scratch,
    chunks: torch.Tensor,
    pointers: torch.Tensor,
    weights: list[torch.Tensor],
    mask_in: torch.Tensor,
    mask_out: torch.Tensor,
    k: torch.Tensor,
    status: torch.Tensor,
) -> None:
    """The status, and unless it is dirty the exact mask, sums and counts."""
    key_bits, levels, kinds = _kinds(weights)
    num_chunks = chunks.shape[0]
    tiles = num_chunks * parts(weights)
    for level in range(levels):
        topk_finish.narrow[(max(1, min(tiles, NARROWING)),)](
            chunks, pointers, mask_in, scratch.control, scratch.keys, k, status, tiles,
            scratch.keys.numel(), LEVEL=level, LEVELS=levels, KEY_BITS=key_bits, num_warps=8,
            **kinds,
        )  # fmt: skip
    if num_chunks == 0:
        return
    topk_finish.ties[(num_chunks,)](
        chunks, pointers, mask_in, scratch.control, scratch.first, scratch.count, scratch.keys,
        status, scratch.ties, BLOCK=1024, **kinds,
    )  # fmt: skip
    topk_finish.fix[(num_chunks,)](
        chunks, pointers, mask_in, mask_out, scratch.control, scratch.first, scratch.count,
        scratch.sums[tiles:], scratch.keys, scratch.offsets, status,
        FLOAT=FLOATS[weights[0].dtype], **kinds,
    )  # fmt: skip


def commit(
    chunks: torch.Tensor,
    weights: list[torch.Tensor],
    mask: torch.Tensor,
    mask_out: torch.Tensor,
    status: torch.Tensor,
    source: list[torch.Tensor],
) -> None:
    """Nothing unless the status is 0; then the new mask, and the weights under it."""
    launch(chunks, weights, mask, mask_out, status, source)
