"""How the reference sees tensors: flat NumPy arrays in storage order, and masks as bool arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

BoolArray = npt.NDArray[np.bool_]

_INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's elements in storage order, as a 1-D view of the same memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def keys(tensor: torch.Tensor) -> npt.NDArray[np.uint32]:
    """Order keys in storage order: the bit pattern without its sign, as an unsigned integer."""
    bits = flat(tensor).view(_INTEGERS[tensor.dtype]).cpu().numpy()
    sign = np.iinfo(bits.dtype).max
    return (bits & sign).astype(np.uint32)


def magnitudes(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    """|theta| in storage order, exactly, in float64."""
    values: npt.NDArray[np.float64] = np.abs(flat(tensor).double().cpu().numpy())
    return values


def mask_of(arena: torch.Tensor, word: int, numel: int) -> BoolArray:
    """A tensor's mask, whose bits begin at an arena word."""
    words = arena[word : word + -(-numel // 32)].cpu().numpy()
    return np.unpackbits(words.view(np.uint8), count=numel, bitorder="little").astype(bool)


def select(values: torch.Tensor, arena: torch.Tensor | None, word: int) -> torch.Tensor:
    """Flat values where the mask that begins at an arena word is 1, +0 elsewhere; -1: no mask."""
    if arena is None or word < 0:
        return values
    alive = torch.from_numpy(mask_of(arena, word, values.numel())).to(values.device)
    return torch.where(alive, values, torch.zeros_like(values))


def words_from(mask: BoolArray) -> npt.NDArray[np.int32]:
    """A mask as int32 words, padded with 0."""
    packed = np.packbits(mask, bitorder="little")
    padded = np.zeros(-(-mask.size // 32) * 4, dtype=np.uint8)
    padded[: packed.size] = packed
    return padded.view(np.int32)


def tensor_table(chunks: torch.Tensor, tensors: int) -> list[tuple[int, int]]:
    """For each tensor its first arena word and its block (0, 0 for an empty tensor)."""
    table = [(0, 0)] * tensors
    for tensor, offset, _, word, block in chunks.tolist():
        if offset == 0:
            table[tensor] = (word, block)
    return table
