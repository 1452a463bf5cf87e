"""Packed masks by numpy.packbits."""

from __future__ import annotations

import numpy as np
import torch

from impcore.ops.plan import words_of
from impcore.ops.reference import storage


def pack(bools: torch.Tensor) -> torch.Tensor:
    """int32 words of a bool tensor."""
    return torch.from_numpy(storage.words_from(bools.cpu().numpy())).to(bools.device)


def unpack(words: torch.Tensor, numel: int) -> torch.Tensor:
    """The first `numel` bits as bools."""
    return torch.from_numpy(storage.mask_of(words, 0, numel)).to(words.device)


def count(words: torch.Tensor) -> torch.Tensor:
    """How many bits are set."""
    ones = int(np.unpackbits(words.cpu().numpy().view(np.uint8)).sum())
    return torch.tensor(ones, dtype=torch.int64, device=words.device)


def counts(chunks: torch.Tensor, words: torch.Tensor, tensors: int) -> torch.Tensor:
    """How many bits of each tensor are set."""
    host, each = words.cpu(), [0] * tensors
    for tensor, _, length, word, _ in chunks.tolist():
        each[tensor] += int(count(host[word : word + words_of(length)]))
    return torch.tensor(each, dtype=torch.int64, device=words.device)


def permute(words: torch.Tensor, shape: list[int], old: list[int], new: list[int]) -> torch.Tensor:
    """Through bool tensors with those strides."""
    bools = unpack(words, int(np.prod(shape, dtype=np.int64)))
    target = torch.empty_strided(shape, new, dtype=torch.bool, device=words.device)
    target.copy_(bools.as_strided(shape, old))
    return pack(storage.flat(target).contiguous())
