"""Packed masks by the CUDA kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops.cuda import launch
from impcore.ops.plan import words_of


def pack(bools: torch.Tensor) -> torch.Tensor:
    """int32 words of a bool tensor."""
    words = bools.new_empty(words_of(bools.numel()), dtype=torch.int32)
    with launch.on(bools.device) as stream:
        _C.cuda.pack(bools.data_ptr(), bools.numel(), words.data_ptr(), stream)
    return words


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """The first `numel` bits as bools."""
    bools = words.new_empty(numel, dtype=torch.bool)
    with launch.on(words.device) as stream:
        _C.cuda.unpack(words.data_ptr(), numel, bools.data_ptr(), stream)
    return bools


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set."""
    ones = words.new_empty((), dtype=torch.int64)
    with launch.on(words.device) as stream:
        _C.cuda.count(words.data_ptr(), words.numel(), ones.data_ptr(), stream)
    return ones


def counts(chunks: torch.Tensor, words: torch.Tensor, tensors: int) -> torch.Tensor:
    """How many bits of each tensor are set."""
    each = words.new_empty(tensors, dtype=torch.int64)
    with launch.on(words.device) as stream:
        _C.cuda.counts(
            chunks.data_ptr(),
            chunks.shape[0],
            words.data_ptr(),
            each.data_ptr(),
            tensors,
            stream,
        )
    return each


def permute(words: torch.Tensor, shape: list[int], old: list[int], new: list[int]) -> torch.Tensor:
    """The bits in another storage order."""
    out = torch.empty_like(words)
    with launch.on(words.device) as stream:
        _C.cuda.permute(words.data_ptr(), out.data_ptr(), shape, old, new, stream)
    return out
