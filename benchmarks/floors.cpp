// The memory floors: bare loops over the same memory as the ops, on the same threads and chunks.
// What an op takes beyond these is its own. Compiled by floors.py for the machine it runs on.
#include <cstdint>
#include <cstring>

namespace {

// Consecutive 256 KB pieces of one tensor, as the ops' chunks are.
constexpr int64_t kPiece = 65536;

// body(tensor, from, to) for every piece of every tensor.
template <class Body>
void for_pieces(const int64_t* sizes, int64_t tensors, int threads, const Body& body) {
#pragma omp parallel num_threads(threads)
  for (int64_t t = 0; t < tensors; ++t) {
    const int64_t pieces = (sizes[t] + kPiece - 1) / kPiece;
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t end = (p + 1) * kPiece;
      body(t, p * kPiece, end < sizes[t] ? end : sizes[t]);
    }
  }
}

constexpr int64_t kLine = 16;
typedef uint32_t Line __attribute__((vector_size(64), aligned(4), may_alias));

// Left where it stands: the compiler would move prefetches together.
inline void prefetch(const uint32_t* from) {
  asm volatile("" : :);
  __builtin_prefetch(from, 0, 2);
  asm volatile("" : :);
}

}  // namespace

extern "C" {

// Reads every 32-bit word.
uint32_t read_words(const uint32_t* const* data, const int64_t* sizes, int64_t tensors,
                    int threads) {
  uint32_t total = 0;
  for_pieces(sizes, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    uint32_t bits = 0;
    for (int64_t i = from; i < to; ++i) bits |= data[t][i];
    __atomic_fetch_or(&total, bits, __ATOMIC_RELAXED);
  });
  return total;
}

// The same with a line fetched ahead, into the second-level cache, between the uses of two lines:
// no longer a bare loop, but as fast as this memory is known to be read.
uint32_t read_words_ahead(const uint32_t* const* data, const int64_t* sizes, int64_t tensors,
                          int threads) {
  uint32_t total = 0;
  for_pieces(sizes, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    const uint32_t* in = data[t];
    constexpr int64_t kAhead = 2048;
    Line any[2] = {};
    int64_t i = from;
    for (; i + 2 * kLine <= to; i += 2 * kLine) {
      prefetch(in + i + kAhead);
      any[0] |= *reinterpret_cast<const Line*>(in + i);
      any[1] |= *reinterpret_cast<const Line*>(in + i + kLine);
      prefetch(in + i + kLine + kAhead);
    }
    uint32_t bits = 0;
    for (int64_t l = 0; l < kLine; ++l) bits |= any[0][l] | any[1][l];
    for (; i < to; ++i) bits |= in[i];
    __atomic_fetch_or(&total, bits, __ATOMIC_RELAXED);
  });
  return total;
}

// Reads every word and writes one bit a word: as much as a mask, and no more arithmetic than a bare
// read has.
void read_words_write_bits(const uint32_t* const* data, const int64_t* sizes, int64_t tensors,
                           uint8_t* const* bits, int threads) {
  for_pieces(sizes, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    const uint32_t* in = data[t];
    uint8_t* out = bits[t];
    constexpr int64_t kLanes = 16, kBlock = 32 * kLanes;
    int64_t i = from;
    for (; i + kBlock <= to; i += kBlock) {
      uint32_t any[kLanes] = {};
      for (int64_t j = 0; j < kBlock; j += kLanes) {
        for (int64_t l = 0; l < kLanes; ++l) any[l] |= in[i + j + l];
      }
      std::memcpy(out + i / 8, any, sizeof any);
    }
    for (; i < to; ++i) out[i / 8] |= uint8_t(in[i]);
  });
}

// Reads every word and writes it back with `flip` flipped: 0, of which the compiler cannot know.
void update_words(uint32_t* const* data, const int64_t* sizes, int64_t tensors, uint32_t flip,
                  int threads) {
  for_pieces(sizes, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) data[t][i] ^= flip;
  });
}

// Reads every word of `data` and writes the same words of each of `rows` back, in one pass.
void update_rows(const uint32_t* const* data, uint32_t* const* const* rows, int64_t num_rows,
                 const int64_t* sizes, int64_t tensors, uint32_t flip, int threads) {
  constexpr int64_t kBlock = 64;  // words, so that what was read is still in a register or L1
  for_pieces(sizes, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    for (int64_t begin = from; begin < to; begin += kBlock) {
      const int64_t end = begin + kBlock < to ? begin + kBlock : to;
      for (int64_t r = 0; r < num_rows; ++r) {
        for (int64_t i = begin; i < end; ++i) rows[r][t][i] ^= data[t][i] & flip;
      }
    }
  });
}

}  // extern "C"
