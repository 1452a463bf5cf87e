// The total order of magnitudes, shared by every backend.
//
// A weight's order key is its absolute value's bit pattern, placed in the upper bits of a 31-bit
// unsigned integer: -0 ties with +0, subnormals are exact whatever the flush mode, and NaN lies
// above infinity above every finite value. Invariant: key(a) < key(b) iff |a| < |b| for finite a,
// b.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace impcore {

// The numbers are part of the binding: impcore/ops/native.py passes them.
enum class DType : int32_t { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2, kFloat64 = 3 };

constexpr uint32_t kMaxKey = 0x7fffffffu;

IMPCORE_HD float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

IMPCORE_HD uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct Float32 {
  using Bits = uint32_t;
  static constexpr DType kDType = DType::kFloat32;
  static constexpr uint32_t kInfinity = 0x7f800000u;
  static IMPCORE_HD uint32_t key(Bits bits) { return bits & kMaxKey; }
  static IMPCORE_HD float magnitude(uint32_t key) { return float_of_bits(key); }
};

struct BFloat16 {
  using Bits = uint16_t;
  static constexpr DType kDType = DType::kBFloat16;
  static constexpr uint32_t kInfinity = 0x7f800000u;
  static IMPCORE_HD uint32_t key(Bits bits) { return (uint32_t(bits) & 0x7fffu) << 16; }
  static IMPCORE_HD float magnitude(uint32_t key) { return float_of_bits(key); }
};

struct Float16 {
  using Bits = uint16_t;
  static constexpr DType kDType = DType::kFloat16;
  static constexpr uint32_t kInfinity = 0x7c000000u;
  static IMPCORE_HD uint32_t key(Bits bits) { return (uint32_t(bits) & 0x7fffu) << 16; }
  // The exponent's bias differs by 112; the product is exact for normal and subnormal halves.
  // Infinity and NaN come out as 65536 and more, and get float's top exponent.
  static IMPCORE_HD float magnitude(uint32_t key) {
    const float finite = float_of_bits(key >> 3) * 5192296858534827628530496329220096.0f;  // 2^112
    return key < kInfinity ? finite : float_of_bits(bits_of_float(finite) | 0x7f800000u);
  }
};

}  // namespace impcore
