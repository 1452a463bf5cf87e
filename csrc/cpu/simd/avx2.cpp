// The chunk loops in AVX2: 8 lanes.
#include "chunk_kernels.h"

#if defined(IMPCORE_X86_SIMD)
#include <immintrin.h>

// From here on everything is compiled for AVX2, templates at their instantiation included.
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")

#define IMPCORE_ISA avx2

namespace impcore::cpu::avx2 {

inline __m256i load_keys(const uint32_t* data) {
  return _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)),
                          _mm256_set1_epi32(int(kMaxKey)));
}
inline __m256i load_keys(const uint16_t* data) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  return _mm256_and_si256(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16),
                          _mm256_set1_epi32(int(kMaxKey)));
}

// All ones in the lanes whose mask bit is set.
inline __m256 lane_mask(uint32_t mask) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(int(mask)), bit);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bit));
}

// A bit a weight of one word.
struct Mask {
  uint32_t bits;

  static Mask load(const uint32_t* word) { return Mask{*word}; }
  void store(uint32_t* word) const { *word = bits; }
};

struct Keys {
  __m256i lane[4];

  template <class T>
  static Keys load(const typename T::Bits* data) {
    return Keys{{load_keys(data), load_keys(data + 8), load_keys(data + 16), load_keys(data + 24)}};
  }
  template <class T>
  static Keys load(const typename T::Bits* data, Mask alive) {
    Keys keys = load<T>(data);
    for (int i = 0; i < 4; ++i) {
      const __m256i lanes = _mm256_castps_si256(lane_mask(alive.bits >> (8 * i)));
      keys.lane[i] = _mm256_and_si256(keys.lane[i], lanes);
    }
    return keys;
  }
  // The largest key in place of those whose bit is not set.
  void store(uint32_t* out, Mask mask) const {
    const __m256i none = _mm256_set1_epi32(int(kMaxKey));
    for (int i = 0; i < 4; ++i) {
      const __m256i set = _mm256_castps_si256(lane_mask(mask.bits >> (8 * i)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out) + i,
                          _mm256_blendv_epi8(none, lane[i], set));
    }
  }
  // Keys have 31 bits, so a signed comparison does.
  Mask above(uint32_t bound) const {
    const __m256i b = _mm256_set1_epi32(int(bound));
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits |= sign_bits(_mm256_cmpgt_epi32(lane[i], b)) << (8 * i);
    return Mask{bits};
  }
  Mask equal(uint32_t key, Mask among) const {
    const __m256i k = _mm256_set1_epi32(int(key));
    uint32_t bits = 0;
    for (int i = 0; i < 4; ++i) bits |= sign_bits(_mm256_cmpeq_epi32(lane[i], k)) << (8 * i);
    return Mask{bits & among.bits};
  }
  static uint32_t sign_bits(__m256i lanes) {
    return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(lanes)));
  }
};

inline __m256 magnitude(Float32, __m256i keys) { return _mm256_castsi256_ps(keys); }
inline __m256 magnitude(BFloat16, __m256i keys) { return _mm256_castsi256_ps(keys); }
inline __m256 magnitude(Float16, __m256i keys) {
  const __m256 finite =
      _mm256_mul_ps(_mm256_castsi256_ps(_mm256_srli_epi32(keys, 3)), _mm256_set1_ps(0x1p112f));
  const __m256i above = _mm256_cmpgt_epi32(keys, _mm256_set1_epi32(int(Float16::kInfinity - 1)));
  const __m256i top = _mm256_and_si256(above, _mm256_set1_epi32(0x7f800000));
  return _mm256_or_ps(finite, _mm256_castsi256_ps(top));
}

struct Sums {
  __m256d lane[4];

  // Written out: an implicit constructor would not be compiled for AVX2.
  Sums() { lane[0] = lane[1] = lane[2] = lane[3] = _mm256_setzero_pd(); }

  template <class T>
  void add(const Keys& keys) {
#pragma GCC unroll 4  // so that the sums stay in registers
    for (int i = 0; i < 4; ++i) add8(i, magnitude(T{}, keys.lane[i]));
  }
  // A lane that is left out adds +0, which leaves the sum as it is.
  template <class T>
  void add(const Keys& keys, Mask mask) {
    for (int i = 0; i < 4; ++i) {
      const __m256 values = magnitude(T{}, keys.lane[i]);
      add8(i, _mm256_and_ps(values, lane_mask(mask.bits >> (8 * i))));
    }
  }
  void add8(int i, __m256 values) {
    const int at = (i % 2) * 2;
    lane[at] = _mm256_add_pd(lane[at], _mm256_cvtps_pd(_mm256_castps256_ps128(values)));
    lane[at + 1] = _mm256_add_pd(lane[at + 1], _mm256_cvtps_pd(_mm256_extractf128_ps(values, 1)));
  }
  void store(double* out) const {
    for (int i = 0; i < 4; ++i) _mm256_storeu_pd(out + 4 * i, lane[i]);
  }
};

inline __m256 load_floats(Float32, const uint32_t* data) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(data));
}
inline __m256 load_floats(BFloat16, const uint16_t* data) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline __m256 load_floats(Float16, const uint16_t* data) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data)));
}

// The low halves of eight 32-bit lanes.
inline void store_halves(uint16_t* data, __m256i lanes) {
  const __m256i packed = _mm256_packus_epi32(lanes, lanes);
  const __m256i ordered = _mm256_permute4x64_epi64(packed, 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(data), _mm256_castsi256_si128(ordered));
}

inline void store_floats(Float32, uint32_t* data, __m256 values) {
  _mm256_storeu_ps(reinterpret_cast<float*>(data), values);
}
inline void store_floats(BFloat16, uint16_t* data, __m256 values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  store_halves(data, _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16));
}
inline void store_floats(Float16, uint16_t* data, __m256 values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(data),
                   _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

struct Floats {
  __m256 lane[2];

  static Floats all(float value) { return Floats{{_mm256_set1_ps(value), _mm256_set1_ps(value)}}; }
  template <class T>
  static Floats load(const typename T::Bits* data) {
    return Floats{{load_floats(T{}, data), load_floats(T{}, data + 8)}};
  }
  template <class T>
  void store(typename T::Bits* data, uint32_t mask) const {
    store_floats(T{}, data, _mm256_and_ps(lane[0], lane_mask(mask)));
    store_floats(T{}, data + 8, _mm256_and_ps(lane[1], lane_mask(mask >> 8)));
  }
};

inline Floats operator+(Floats a, Floats b) {
  return Floats{{_mm256_add_ps(a.lane[0], b.lane[0]), _mm256_add_ps(a.lane[1], b.lane[1])}};
}
inline Floats operator-(Floats a, Floats b) {
  return Floats{{_mm256_sub_ps(a.lane[0], b.lane[0]), _mm256_sub_ps(a.lane[1], b.lane[1])}};
}
inline Floats operator*(Floats a, Floats b) {
  return Floats{{_mm256_mul_ps(a.lane[0], b.lane[0]), _mm256_mul_ps(a.lane[1], b.lane[1])}};
}
inline Floats operator/(Floats a, Floats b) {
  return Floats{{_mm256_div_ps(a.lane[0], b.lane[0]), _mm256_div_ps(a.lane[1], b.lane[1])}};
}
inline Floats sqrt(Floats a) {
  return Floats{{_mm256_sqrt_ps(a.lane[0]), _mm256_sqrt_ps(a.lane[1])}};
}
// The larger one; NaN if either is. The instruction itself returns its second operand then.
inline __m256 max(__m256 a, __m256 b) {
  return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
inline Floats max(Floats a, Floats b) {
  return Floats{{max(a.lane[0], b.lane[0]), max(a.lane[1], b.lane[1])}};
}

}  // namespace impcore::cpu::avx2

#include "chunk_kernels.inc"
#endif
