"""Packed masks by the native CPU kernels."""

from __future__ import annotations

import torch

from impcore import _C
from impcore.ops.cpu.threads import threads
from impcore.ops.plan import words_of


def pack(bools: torch.Tensor) -> torch.Tensor:
    """int32 words of a bool tensor."""
    words = bools.new_empty(words_of(bools.numel()), dtype=torch.int32)
    _C.pack(bools.data_ptr(), bools.numel(), words.data_ptr(), threads(words.numel()))
    return words


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """The first `numel` bits as bools."""
    bools = words.new_empty(numel, dtype=torch.bool)
    _C.unpack(words.data_ptr(), numel, bools.data_ptr(), threads(words.numel()))
    return bools


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set."""
    ones = _C.count(words.data_ptr(), words.numel(), threads(words.numel()))
    return torch.tensor(ones, dtype=torch.int64, device="cpu")


def counts(chunks: torch.Tensor, words: torch.Tensor, tensors: int) -> torch.Tensor:
    """How many bits of each tensor are set."""
    each = words.new_empty(tensors, dtype=torch.int64)
    _C.counts(
        chunks.data_ptr(),
        chunks.shape[0],
        words.data_ptr(),
        each.data_ptr(),
        tensors,
        threads(words.numel()),
    )
    return each


def permute(words: torch.Tensor, shape: list[int], old: list[int], new: list[int]) -> torch.Tensor:
    """The bits in another storage order."""
    out = torch.empty_like(words)
    _C.permute(words.data_ptr(), out.data_ptr(), shape, old, new, threads(words.numel()))
    return out
