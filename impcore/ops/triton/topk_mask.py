"""Exact global magnitude selection by Triton kernels: sample, bracket, one full read, exact finish.

The stages are those of csrc/README.md, with a fixed number of launches. Candidates lie in one pool,
each tile's together and in order; where a tile's lie depends on scheduling, nothing else does.
If the bracket missed or the pool was too small, the stages after the scan read the weights instead
of the candidates. Half types use keys of 15 bits in a field of 16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

from impcore.ops.selection import empty
from impcore.ops.triton import fold, tables, topk_finish, topk_sample, topk_scan
from impcore.ops.triton.rewind import launch
from impcore.ops.triton.topk_state import CONTROL
from impcore.ops.triton.words import CHUNK, FLOATS, INTEGERS, TILE, parts

SMALL = 131072  # weights that are not worth a sample: all of them are candidates
NARROWING = 264  # programs that narrow; few, for they seldom have anything to do


def capacity_of(total: int) -> int:
    """Candidates that the pool holds: a third more than 17 standard errors of the sample."""
    if total <= SMALL:
        return total
    return min(total, int(1.35 * max(68 * total**0.5, 0.0083 * total)) + 8192)


@dataclass
class Scratch:
    """The workspace, cut up; sampled keys and candidates share their bytes."""

    control: torch.Tensor  # int64 [CONTROL]
    first: torch.Tensor  # int64 [tiles]: where a tile's candidates begin in the pool
    found: torch.Tensor  # int64 [tiles]: how many it has
    before: torch.Tensor  # float64 [tiles]
    after: torch.Tensor  # float64 [tiles]
    alive: torch.Tensor  # int64 [tiles]
    kept: torch.Tensor  # int64 [tiles]
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
            *[(torch.int64, tiles)] * 2,
            *[(torch.float64, tiles)] * 2,
            *[(torch.int64, tiles)] * 2,
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
    k: torch.Tensor,
    workspace: torch.Tensor,
    num_blocks: int,
    bracket: list[int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k smallest of all alive keys, in the order (key, tensor, storage offset)."""
    status, before, after = empty(mask_in, num_blocks)
    num_chunks, total = chunks.shape[0], sum(w.numel() for w in weights)
    scratch = Scratch.cut(workspace, num_chunks, total)
    scratch.control.zero_()
    if num_chunks == 0:
        topk_finish.quota[(1,)](scratch.control, k, scratch.ties, 0, 0, status, 16, 2, BLOCK=1024)
        for sums in (before, after):
            sums.zero_()
        return status, before, after

    dtype = weights[0].dtype
    key_bits, levels = (31, 4) if dtype == torch.float32 else (16, 2)
    pointers = tables.addresses(weights, mask_in.device)
    pieces = parts(weights)
    tiles = num_chunks * pieces
    capacity = scratch.keys.numel()
    kinds = {"KEY_BITS": key_bits, "INTEGER": INTEGERS[dtype]}
    tile = {"PARTS": pieces, "TILE": TILE}
    _find_bracket(scratch, chunks, pointers, mask_in, k, total, bracket, kinds)
    topk_scan.scan[(tiles,)](
        chunks, pointers, mask_in, mask_out, scratch.control, scratch.first, scratch.found,
        scratch.before, scratch.after, scratch.alive, scratch.kept, scratch.keys, scratch.offsets,
        capacity, FLOAT=FLOATS[dtype], **kinds, **tile,
    )  # fmt: skip
    for level in range(levels):
        topk_finish.narrow[(min(tiles, NARROWING),)](
            chunks, pointers, mask_in, scratch.control, scratch.keys, k, tiles, capacity,
            LEVEL=level, **kinds, **tile,
        )  # fmt: skip
    topk_finish.ties[(num_chunks,)](
        chunks, pointers, mask_in, scratch.control, scratch.first, scratch.found, scratch.keys, k,
        scratch.ties, capacity, LEVELS=levels, **kinds, **tile,
    )  # fmt: skip
    topk_finish.quota[(1,)](
        scratch.control, k, scratch.ties, num_chunks, capacity, status, key_bits, levels, BLOCK=1024
    )
    topk_finish.fix[(num_chunks,)](
        chunks, pointers, mask_in, mask_out, scratch.control, scratch.first, scratch.found,
        scratch.after, scratch.kept, scratch.keys, scratch.offsets, k, status, capacity,
        FLOAT=FLOATS[dtype], **kinds, **tile,
    )  # fmt: skip
    fold.launch(scratch.before, scratch.alive, chunks, tiles, pieces, status, before)
    fold.launch(scratch.after, scratch.kept, chunks, tiles, pieces, status, after)
    return status, before, after


def _find_bracket(
    scratch: Scratch,
    chunks: torch.Tensor,
    pointers: torch.Tensor,
    mask_in: torch.Tensor,
    k: torch.Tensor,
    total: int,
    forced: list[int],
    kinds: dict[str, object],
) -> None:
    """Leaves the bracket in the control numbers 1 and 2."""
    key_bits = int(str(kinds["KEY_BITS"]))
    top = (1 << key_bits) - 1
    if forced or total <= SMALL:
        low, high = forced or (0, 0x7FFFFFFF)
        if key_bits == 16:  # keys of 31 bits to keys of half types
            low, high = low >> 16, -(-high // 65536)
        scratch.control[1:2].fill_(top - low)
        scratch.control[2:3].fill_(high)
        return
    groups = topk_sample.groups_of(total)
    count = chunks.shape[0] * groups * topk_sample.GROUP
    rows = topk_sample.BLOCK // (groups * topk_sample.GROUP)
    topk_sample.take[(triton.cdiv(chunks.shape[0], rows),)](
        chunks, pointers, mask_in, scratch.control, scratch.samples, chunks.shape[0],
        GROUPS=groups, ROWS=rows, **kinds,
    )  # fmt: skip
    grid = (triton.cdiv(count, topk_sample.BLOCK),)
    levels = 3 if key_bits == 31 else 2
    for level in range(1, levels + 1):
        kernel = topk_sample.refine if level < levels else topk_sample.bracket
        kernel[grid](
            scratch.control, scratch.samples, count, k, total,
            LEVEL=level, KEY_BITS=key_bits, BLOCK=topk_sample.BLOCK,
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
