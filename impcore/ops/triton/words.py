"""What kernels do with mask words and with weights as bits.

A tile is [words, packs, lanes] weights: a row is the 32 weights of a mask word, a pack 16 bytes of
them, which one thread holds. So packs are loaded and stored as a whole, and a mask word is read
once, not once a weight.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from impcore import _C

# Weights in a tile, the work of one program; 128 words.
TILE = 4096
# Weights in a whole chunk of a plan.
CHUNK = _C.CHUNK_LENGTH

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
    """Bits set in each int32; by logical shifts, so that the compiler sees one instruction."""
    x = x.to(tl.uint32, bitcast=True)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def pack_rows(flags):
    """bool [words, packs, lanes] as int32 [words], least significant bit first."""
    lanes: tl.constexpr = flags.shape[2]
    bit = (1 << tl.arange(0, lanes))[None, None, :]
    packs = tl.sum(tl.where(flags, bit, 0), axis=2).to(tl.int32)
    words = tl.sum(packs << (tl.arange(0, flags.shape[1]) * lanes)[None, :], axis=1).to(tl.int32)
    # One word a thread from here on: every thread of a row would repeat what is done with words.
    return tl.gather(words, tl.arange(0, flags.shape[0]), 0)


@triton.jit
def bits_of_packs(words, LANES: tl.constexpr):
    """int32 [words] as the bits of each pack, int32 [words, packs, 1]."""
    shift = (tl.arange(0, 32 // LANES) * LANES)[None, :, None]
    return (words[:, None, None] >> shift) & ((1 << LANES) - 1)


@triton.jit
def unpack_rows(words, LANES: tl.constexpr):
    """int32 [words] as bool [words, packs, lanes]."""
    return (bits_of_packs(words, LANES) & (1 << tl.arange(0, LANES))[None, None, :]) != 0


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
