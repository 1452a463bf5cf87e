// The memory floors: bare loops over the same memory as the ops, on the same threads and chunks.
// What an op takes beyond these is its own. Compiled by floors.py for the machine it runs on.
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

// Words of a piece: as many bytes as the ops' chunks have.
constexpr int64_t kPiece = 65536;

// The results of body(tensor, from, to), or-ed, for all words of all tensors, a piece after the
// other. A piece takes in as many small tensors as it has room for: to hand out each of thousands
// would cost more than to read it. starts: where each tensor begins and the last one ends, in words
// from the first one's, if each begins at a multiple of 32.
template <class Body>
uint32_t for_pieces(const int64_t* sizes, const int64_t* starts, int64_t tensors, int threads,
                    const Body& body) {
  const int64_t pieces = (starts[tensors] + kPiece - 1) / kPiece;
  uint32_t all = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(| : all)
  for (int64_t p = 0; p < pieces; ++p) {
    const int64_t begin = p * kPiece, end = begin + kPiece;
    int64_t t = std::upper_bound(starts, starts + tensors, begin) - starts - 1;
    for (; t < tensors && starts[t] < end; ++t) {
      const int64_t from = std::max<int64_t>(begin - starts[t], 0);
      const int64_t to = std::min(end - starts[t], sizes[t]);
      if (from < to) all |= body(t, from, to);
    }
  }
  return all;
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
uint32_t read_words(const uint32_t* const* data, const int64_t* sizes, const int64_t* starts,
                    int64_t tensors, int threads) {
  return for_pieces(sizes, starts, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    uint32_t bits = 0;
    for (int64_t i = from; i < to; ++i) bits |= data[t][i];
    return bits;
  });
}

// The same with a line fetched ahead, into the second-level cache, between the uses of two lines:
// no longer a bare loop, but as fast as this memory is known to be read.
uint32_t read_words_ahead(const uint32_t* const* data, const int64_t* sizes, const int64_t* starts,
                          int64_t tensors, int threads) {
  return for_pieces(sizes, starts, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
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
    return bits;
  });
}

// Reads every word and writes one bit a word: as much as a mask, and no more arithmetic than a bare
// read has.
void read_words_write_bits(const uint32_t* const* data, const int64_t* sizes, const int64_t* starts,
                           int64_t tensors, uint8_t* const* bits, int threads) {
  for_pieces(sizes, starts, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
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
    for (; i < to; i += 8) {
      uint32_t any = 0;
      for (int64_t j = i; j < std::min(i + 8, to); ++j) any |= in[j];
      out[i / 8] = uint8_t(any);
    }
    return 0u;
  });
}

// Reads every word and writes it back with `flip` flipped: 0, of which the compiler cannot know.
void update_words(uint32_t* const* data, const int64_t* sizes, const int64_t* starts,
                  int64_t tensors, uint32_t flip, int threads) {
  for_pieces(sizes, starts, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) data[t][i] ^= flip;
    return 0u;
  });
}

// Reads every word of `data` and writes the same words of each of `rows` back, in one pass.
void update_rows(const uint32_t* const* data, uint32_t* const* const* rows, int64_t num_rows,
                 const int64_t* sizes, const int64_t* starts, int64_t tensors, uint32_t flip,
                 int threads) {
  constexpr int64_t kBlock = 64;  // words, so that what was read is still in a register or L1
  for_pieces(sizes, starts, tensors, threads, [&](int64_t t, int64_t from, int64_t to) {
    for (int64_t begin = from; begin < to; begin += kBlock) {
      const int64_t end = begin + kBlock < to ? begin + kBlock : to;
      for (int64_t r = 0; r < num_rows; ++r) {
        for (int64_t i = begin; i < end; ++i) rows[r][t][i] ^= data[t][i] & flip;
      }
    }
    return 0u;
  });
}

}  // extern "C"
