// The chunk loops in plain C++: any CPU.
#include "../../floats.h"
#include "chunk_kernels.h"

#define IMPCORE_ISA portable

namespace impcore::cpu::portable {

struct Keys {
  uint32_t lane[32];

  template <class T>
  static Keys load(const typename T::Bits* data) {
    Keys keys;
    for (int i = 0; i < 32; ++i) keys.lane[i] = T::key(data[i]);
    return keys;
  }
  void store(uint32_t* out, uint32_t mask) const {
    for (int i = 0; i < 32; ++i) out[i] = (mask & (1u << i)) ? lane[i] : kDeadKey;
  }
  uint32_t below(uint32_t bound) const {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(lane[i] < bound) << i;
    return bits;
  }
  uint32_t equal(uint32_t key) const {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(lane[i] == key) << i;
    return bits;
  }
  uint32_t below_or_equal(uint32_t bound) const {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(lane[i] <= bound) << i;
    return bits;
  }
};

struct Sums {
  double lane[16] = {};

  template <class T>
  void add(const Keys& keys, uint32_t mask) {
    for (int i = 0; i < 32; ++i) {
      lane[i % 16] += (mask & (1u << i)) ? double(T::magnitude(keys.lane[i])) : 0.0;
    }
  }
  void store(double* out) const {
    for (int i = 0; i < 16; ++i) out[i] = lane[i];
  }
};

struct Floats {
  float lane[16];

  static Floats all(float value) {
    Floats out;
    for (float& x : out.lane) x = value;
    return out;
  }
  template <class T>
  static Floats load(const typename T::Bits* data) {
    Floats out;
    for (int i = 0; i < 16; ++i) out.lane[i] = widen(T{}, data[i]);
    return out;
  }
  template <class T>
  void store(typename T::Bits* data, uint32_t mask) const {
    for (int i = 0; i < 16; ++i) {
      data[i] = (mask & (1u << i)) ? typename T::Bits(narrow_to(T{}, lane[i])) : 0;
    }
  }
};

inline Floats operator+(const Floats& a, const Floats& b) {
  Floats out;
  for (int i = 0; i < 16; ++i) out.lane[i] = a.lane[i] + b.lane[i];
  return out;
}
inline Floats operator-(const Floats& a, const Floats& b) {
  Floats out;
  for (int i = 0; i < 16; ++i) out.lane[i] = a.lane[i] - b.lane[i];
  return out;
}
inline Floats operator*(const Floats& a, const Floats& b) {
  Floats out;
  for (int i = 0; i < 16; ++i) out.lane[i] = a.lane[i] * b.lane[i];
  return out;
}
inline Floats operator/(const Floats& a, const Floats& b) {
  Floats out;
  for (int i = 0; i < 16; ++i) out.lane[i] = a.lane[i] / b.lane[i];
  return out;
}
inline Floats sqrt(const Floats& a) {
  Floats out;
  for (int i = 0; i < 16; ++i) out.lane[i] = __builtin_sqrtf(a.lane[i]);
  return out;
}
inline Floats max(const Floats& a, const Floats& b) {
  Floats out;
  for (int i = 0; i < 16; ++i) {
    out.lane[i] = a.lane[i] > b.lane[i] || a.lane[i] != a.lane[i] ? a.lane[i] : b.lane[i];
  }
  return out;
}

}  // namespace impcore::cpu::portable

#include "chunk_kernels.inc"
