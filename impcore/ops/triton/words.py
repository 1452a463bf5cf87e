"""What kernels do with mask words and with weights as bits.

A tile is [words, 32] weights: row w is the weights of mask word w.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Weights in a tile, the work of one program; 128 words.
TILE = 4096
CHUNK = 65536

# What a dtype's bits are to a kernel.
INTEGERS = {
    torch.float32: tl.int32,
    torch.bfloat16: tl.int16,
    torch.float16: tl.int16,
    torch.float64: tl.int64,
}
FLOATS = {
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.float64: tl.float64,
}


def parts(weights: list[torch.Tensor]) -> int:
    """Tiles that the longest chunk has, rounded up to a power of two."""
    longest = min(CHUNK, max((w.numel() for w in weights), default=1))
    return int(triton.next_power_of_2(max(1, triton.cdiv(longest, TILE))))


@triton.jit
def popcount(x):
    """Bits set in each int32."""
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def pack_rows(flags):
    """bool [words, 32] as int32 [words], least significant bit first."""
    lane = tl.arange(0, 32)[None, :]
    return tl.sum(flags.to(tl.int32) << lane, axis=1).to(tl.int32)


@triton.jit
def unpack_rows(words):
    """int32 [words] as bool [words, 32]."""
    lane = tl.arange(0, 32)[None, :]
    return ((words[:, None] >> lane) & 1) != 0


@triton.jit
def row_of(chunks, chunk):
    """A chunk's tensor, offset, length, word and block."""
    row = chunks + chunk.to(tl.int64) * 5
    return (
        tl.load(row),
        tl.load(row + 1),
        tl.load(row + 2),
        tl.load(row + 3),
        tl.load(row + 4),
    )


@triton.jit
def at(pointers, tensor, offset, kind: tl.constexpr):
    """A tensor's address from an address table, moved by `offset` elements of the kind."""
    return tl.load(pointers + tensor).to(tl.pointer_type(kind)) + offset


@triton.jit
def tile_offsets(words: tl.constexpr):
    """The place in its tile of each weight: int32 [words, 32]."""
    return tl.arange(0, words)[:, None] * 32 + tl.arange(0, 32)[None, :]


@triton.jit
def magnitudes(bits, kind: tl.constexpr):
    """|theta| in float64, exactly, of weights given as bits."""
    if bits.dtype == tl.int32:
        return (bits & 0x7FFFFFFF).to(tl.float32, bitcast=True).to(tl.float64)
    elif kind == tl.bfloat16:
        # The upper half of a float32; a conversion may take subnormals for 0.
        return ((bits.to(tl.int32) & 0x7FFF) << 16).to(tl.float32, bitcast=True).to(tl.float64)
    else:
        return (bits & 0x7FFF).to(tl.int16).to(kind, bitcast=True).to(tl.float32).to(tl.float64)


@triton.jit
def keys_of(bits):
    """Order keys: 31 bits of float32, 15 of half types, as int32."""
    if bits.dtype == tl.int32:
        return bits & 0x7FFFFFFF
    else:
        return bits.to(tl.int32) & 0x7FFF
