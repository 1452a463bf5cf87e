// The chunk loops in plain C++: any CPU.
#include "../../floats.h"
#include "chunk_kernels.h"

#define IMPCORE_ISA portable

namespace impcore::cpu::portable {

// A bit a weight of one word.
struct Mask {
  uint32_t bits;

  static Mask load(const uint32_t* word) { return Mask{*word}; }
  void store(uint32_t* word) const { *word = bits; }
  bool has(int i) const { return bits >> i & 1; }
};

// The bit of each weight: a shift by the loop's index would not be vectorised, but jumped on.
constexpr struct WordBits {
  uint32_t of[32] = {};
  constexpr WordBits() {
    for (int i = 0; i < 32; ++i) of[i] = 1u << i;
  }
} kBits;

struct Keys {
  uint32_t lane[32];

  template <class T>
  static Keys load(const typename T::Bits* data) {
    Keys keys;
    for (int i = 0; i < 32; ++i) keys.lane[i] = T::key(data[i]);
    return keys;
  }
  template <class T>
  static Keys load(const typename T::Bits* data, Mask alive) {
    Keys keys = load<T>(data);
    for (int i = 0; i < 32; ++i) {
      keys.lane[i] &= 0u - uint32_t((alive.bits & kBits.of[i]) == kBits.of[i]);
    }
    return keys;
  }
  // The largest key in place of those whose bit is not set.
  void store(uint32_t* out, Mask mask) const {
    for (int i = 0; i < 32; ++i) out[i] = mask.has(i) ? lane[i] : kMaxKey;
  }
  Mask above(uint32_t bound) const {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(lane[i] > bound) << i;
    return Mask{bits};
  }
  Mask equal(uint32_t key, Mask among) const {
    uint32_t bits = 0;
    for (int i = 0; i < 32; ++i) bits |= uint32_t(lane[i] == key) << i;
    return Mask{bits & among.bits};
  }
};

struct Sums {
  double lane[16] = {};

  template <class T>
  void add(const Keys& keys) {
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 16; ++i) lane[i] += double(T::magnitude(keys.lane[16 * half + i]));
    }
  }
  template <class T>
  void add(const Keys& keys, Mask mask) {
    for (int i = 0; i < 32; ++i) {
      lane[i % 16] += mask.has(i) ? double(T::magnitude(keys.lane[i])) : 0.0;
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
