"""Packed masks of one tensor: 1 bit a weight in int32 words, least significant bit first.

Invariant: padding bits are 0, so that counting and comparing words is counting and comparing masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from impcore.ops import backend, checks, chunk_table, library
from impcore.ops.plan import Plan, words_of


def pack(bools: torch.Tensor) -> torch.Tensor:
    """Packs a contiguous 1-D bool tensor of n elements into int32 words [ceil(n / 32)].

    Raises:
        TypeError: not bool. ValueError: not 1-D and contiguous.
    """
    if bools.dtype != torch.bool:
        raise TypeError(f"bools must have dtype torch.bool, not {bools.dtype}")
    if bools.dim() != 1 or not bools.is_contiguous():
        raise ValueError(f"bools must be 1-D and contiguous, not of shape {tuple(bools.shape)}")
    words: torch.Tensor = _pack(bools)
    return words


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """Unpacks int32 words [ceil(numel / 32)] into a bool tensor [numel].

    Raises:
        ValueError: `numel` is negative, or `words` does not fit it.
    """
    if numel < 0:
        raise ValueError(f"numel must not be negative, got {numel}")
    checks.check_arena(words, words_of(numel), words, "words")
    bools: torch.Tensor = _unpack(words, numel)
    return bools


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set: an int64 scalar on the words' device.

    Raises:
        ValueError: `words` is not a contiguous 1-D int32 tensor.
    """
    checks.check_arena(words, words.numel(), words, "words")
    ones: torch.Tensor = _count(words)
    return ones


def counts(plan: Plan, words: torch.Tensor) -> torch.Tensor:
    """How many bits of each of a plan's tensors are set: int64 [tensors] on the words' device.

    Raises:
        ValueError: `words` is not an arena of this plan.
    """
    checks.check_arena(words, plan.total_words, words, "words")
    each: torch.Tensor = _counts(plan.chunks, words, len(plan.numels))
    return each


def permute(
    words: torch.Tensor, shape: Sequence[int], old: Sequence[int], new: Sequence[int]
) -> torch.Tensor:
    """Reorders a mask from the storage order of strides `old` to that of strides `new`.

    Args:
        words: int32 [ceil(prod(shape) / 32)].
        shape: the tensor's shape.
        old, new: strides of dense, non-overlapping layouts, in elements.

    Raises:
        ValueError: the lengths differ, or `words` does not fit the shape.
        LayoutError: strides that are not dense and non-overlapping.
    """
    numel = 1
    for size in shape:
        numel *= size
    checks.check_arena(words, words_of(numel), words, "words")
    for name, strides in (("old", old), ("new", new)):
        if len(strides) != len(shape):
            raise ValueError(f"{name} has {len(strides)} strides for {len(shape)} dimensions")
        if not _is_dense(tuple(shape), tuple(strides)):
            checks.check_dense(torch.empty_strided(shape, strides, device="meta"), name)
    permuted: torch.Tensor = _permute(words, list(shape), list(old), list(new))
    return permuted


@lru_cache(maxsize=4096)
def _is_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    return checks.is_dense(torch.empty_strided(shape, strides, device="meta"))


_pack = library.register(
    "pack(Tensor bools) -> Tensor",
    lambda bools: backend.find("bits", bools.device).pack(bools),
    lambda bools: bools.new_empty(words_of(bools.numel()), dtype=torch.int32),
)
_unpack = library.register(
    "unpack(Tensor words, int numel) -> Tensor",
    lambda words, numel: backend.find("bits", words.device).unpack(words, numel),
    lambda words, numel: words.new_empty(numel, dtype=torch.bool),
)
_count = library.register(
    "count(Tensor words) -> Tensor",
    lambda words: backend.find("bits", words.device).count(words),
    lambda words: words.new_empty((), dtype=torch.int64),
)
_counts = library.register(
    "counts(Tensor chunks, Tensor words, int tensors) -> Tensor",
    lambda chunks, words, tensors: backend.find("bits", words.device).counts(
        chunk_table.on(words.device, chunks), words, tensors
    ),
    lambda chunks, words, tensors: words.new_empty(tensors, dtype=torch.int64),
)
_permute = library.register(
    "permute(Tensor words, int[] shape, int[] old, int[] new) -> Tensor",
    lambda words, shape, old, new: backend.find("bits", words.device).permute(
        words, shape, old, new
    ),
    lambda words, shape, old, new: torch.empty_like(words),
)
