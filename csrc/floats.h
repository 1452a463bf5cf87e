// The storage dtypes as float32 and back: exact, and rounded once to nearest even.
#pragma once

#include "keys.h"

namespace impcore {

IMPCORE_HD float widen(Float32, uint32_t bits) { return float_of_bits(bits); }

IMPCORE_HD float widen(BFloat16, uint32_t bits) { return float_of_bits(bits << 16); }

IMPCORE_HD float widen(Float16, uint32_t bits) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(uint16_t(bits)));
  return value;
#else
  const float magnitude = Float16::magnitude((bits & 0x7fffu) << 16);
  return float_of_bits(bits_of_float(magnitude) | (bits & 0x8000u) << 16);
#endif
}

IMPCORE_HD uint32_t narrow_to(Float32, float value) { return bits_of_float(value); }

// A NaN stays a (quiet) NaN.
IMPCORE_HD uint16_t narrow_to(BFloat16, float value) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#else
  const uint32_t bits = bits_of_float(value);
  if (value != value) return uint16_t(bits >> 16 | 0x40u);
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
#endif
}

IMPCORE_HD uint16_t narrow_to(Float16, float value) {
#if defined(__CUDA_ARCH__)
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
#else
  const uint32_t bits = bits_of_float(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  uint32_t key = bits & kMaxKey;
  if (key > 0x7f800000u) return uint16_t(sign | 0x7e00u | (key >> 13 & 0x3ffu));
  if (key >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // rounds above 65504
  if (key < 0x38800000u) {  // a subnormal half: adding 0.5 rounds at the right bit
    return uint16_t(sign | (bits_of_float(float_of_bits(key) + 0.5f) - 0x3f000000u));
  }
  key += 0xc8000000u + 0xfffu + (key >> 13 & 1);
  return uint16_t(sign | key >> 13);
#endif
}

}  // namespace impcore
