// The chunk loops in AVX-512: 16 lanes.
#include "chunk_kernels.h"

#if defined(IMPCORE_X86_SIMD)
#include <immintrin.h>

// From here on everything is compiled for AVX-512, templates at their instantiation included.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,bmi,bmi2,popcnt")

#define IMPCORE_ISA avx512

namespace impcore::cpu::avx512 {

inline __m512i load_bits(const uint32_t* data) { return _mm512_loadu_si512(data); }
inline __m512i load_bits(const uint16_t* data) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
  return _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16);
}

// Half a word's mask, read and written where 32-bit words are: the compiler must know that the two
// are the same memory, which it need not assume of what _load_mask16 and _store_mask16 take.
typedef __mmask16 __attribute__((may_alias)) HalfWord;

// A bit a weight of one word, in mask registers: general ones would cost a move each way.
struct Mask {
  __mmask16 lo, hi;

  static Mask load(const uint32_t* word) {
    const auto* halves = reinterpret_cast<const HalfWord*>(word);
    return Mask{_cvtu32_mask16(halves[0]), _cvtu32_mask16(halves[1])};
  }
  void store(uint32_t* word) const {
    auto* halves = reinterpret_cast<HalfWord*>(word);
    halves[0] = __mmask16(_cvtmask16_u32(lo));
    halves[1] = __mmask16(_cvtmask16_u32(hi));
  }
};

struct Keys {
  __m512i lo, hi;

  template <class T>
  static Keys load(const typename T::Bits* data) {
    return load<T>(data, Mask{0xffff, 0xffff});
  }
  template <class T>
  static Keys load(const typename T::Bits* data, Mask alive) {
    const __m512i all = _mm512_set1_epi32(int(kMaxKey));
    return Keys{_mm512_maskz_and_epi32(alive.lo, load_bits(data), all),
                _mm512_maskz_and_epi32(alive.hi, load_bits(data + 16), all)};
  }
  // The largest key in place of those whose bit is not set.
  void store(uint32_t* out, Mask mask) const {
    const __m512i none = _mm512_set1_epi32(int(kMaxKey));
    _mm512_storeu_si512(out, _mm512_mask_mov_epi32(none, mask.lo, lo));
    _mm512_storeu_si512(out + 16, _mm512_mask_mov_epi32(none, mask.hi, hi));
  }
  Mask above(uint32_t bound) const {
    const __m512i b = _mm512_set1_epi32(int(bound));
    return Mask{_mm512_cmpgt_epu32_mask(lo, b), _mm512_cmpgt_epu32_mask(hi, b)};
  }
  Mask equal(uint32_t key, Mask among) const {
    const __m512i k = _mm512_set1_epi32(int(key));
    return Mask{_mm512_mask_cmpeq_epi32_mask(among.lo, lo, k),
                _mm512_mask_cmpeq_epi32_mask(among.hi, hi, k)};
  }
};

inline __m512 magnitude(Float32, __m512i keys) { return _mm512_castsi512_ps(keys); }
inline __m512 magnitude(BFloat16, __m512i keys) { return _mm512_castsi512_ps(keys); }
inline __m512 magnitude(Float16, __m512i keys) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(keys, 16)));
}

struct Sums {
  __m512d lane[2];

  // Written out: an implicit constructor would not be compiled for AVX-512.
  Sums() { lane[0] = lane[1] = _mm512_setzero_pd(); }

  template <class T>
  void add(const Keys& keys) {
    add16(magnitude(T{}, keys.lo));
    add16(magnitude(T{}, keys.hi));
  }
  template <class T>
  void add(const Keys& keys, Mask mask) {
    add16(magnitude(T{}, keys.lo), mask.lo);
    add16(magnitude(T{}, keys.hi), mask.hi);
  }
  void add16(__m512 values) {
    lane[0] = _mm512_add_pd(lane[0], _mm512_cvtps_pd(_mm512_castps512_ps256(values)));
    lane[1] = _mm512_add_pd(lane[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(values, 1)));
  }
  void add16(__m512 values, __mmask16 mask) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(values));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(values, 1));
    lane[0] = _mm512_mask_add_pd(lane[0], __mmask8(mask), lane[0], low);
    lane[1] = _mm512_mask_add_pd(lane[1], __mmask8(_kshiftri_mask16(mask, 8)), lane[1], high);
  }
  void store(double* out) const {
    _mm512_storeu_pd(out, lane[0]);
    _mm512_storeu_pd(out + 8, lane[1]);
  }
};

inline __m512 load_floats(Float32, const uint32_t* data) {
  return _mm512_castsi512_ps(_mm512_loadu_si512(data));
}
inline __m512 load_floats(BFloat16, const uint16_t* data) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline __m512 load_floats(Float16, const uint16_t* data) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)));
}

inline void store_floats(Float32, uint32_t* data, __m512 values, __mmask16 mask) {
  _mm512_storeu_ps(data, _mm512_maskz_mov_ps(mask, values));
}
inline void store_floats(BFloat16, uint16_t* data, __m512 values, __mmask16 mask) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(data), _mm256_maskz_mov_epi16(mask, halves));
}
inline void store_floats(Float16, uint16_t* data, __m512 values, __mmask16 mask) {
  const __m256i halves = _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(data), _mm256_maskz_mov_epi16(mask, halves));
}

struct Floats {
  __m512 lane;

  static Floats all(float value) { return Floats{_mm512_set1_ps(value)}; }
  template <class T>
  static Floats load(const typename T::Bits* data) {
    return Floats{load_floats(T{}, data)};
  }
  template <class T>
  void store(typename T::Bits* data, uint32_t mask) const {
    store_floats(T{}, data, lane, __mmask16(mask));
  }
};

inline Floats operator+(Floats a, Floats b) { return Floats{_mm512_add_ps(a.lane, b.lane)}; }
inline Floats operator-(Floats a, Floats b) { return Floats{_mm512_sub_ps(a.lane, b.lane)}; }
inline Floats operator*(Floats a, Floats b) { return Floats{_mm512_mul_ps(a.lane, b.lane)}; }
inline Floats operator/(Floats a, Floats b) { return Floats{_mm512_div_ps(a.lane, b.lane)}; }
inline Floats sqrt(Floats a) { return Floats{_mm512_sqrt_ps(a.lane)}; }
// The larger one; NaN if either is. The instruction itself returns its second operand then.
inline Floats max(Floats a, Floats b) {
  const __mmask16 nan = _mm512_cmp_ps_mask(a.lane, a.lane, _CMP_UNORD_Q);
  return Floats{_mm512_mask_mov_ps(_mm512_max_ps(a.lane, b.lane), nan, a.lane)};
}

}  // namespace impcore::cpu::avx512

#include "chunk_kernels.inc"
#endif
