// What every backend's selection shares: the chunk table, the bracket around the threshold, and the
// spread of the tie quota. Plain C++ on integers; tested on the host.
#pragma once

#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace impcore {

// A chunk is at most this many consecutive weights of one tensor, in storage order. An offset in a
// chunk fits in 16 bits, and a chunk starts at a mask word.
constexpr int64_t kChunkLength = 65536;
constexpr int64_t kWordBits = 32;

// One row of the plan's table; int64 throughout so that the table is a plain integer tensor.
struct Chunk {
  int64_t tensor;  // index into the list of weights
  int64_t offset;  // first element, in the tensor's storage order
  int64_t length;  // elements
  int64_t word;    // first word in the mask arena
  int64_t block;   // which sums it adds to
};
static_assert(sizeof(Chunk) == 5 * sizeof(int64_t), "a chunk is a row of five int64");

IMPCORE_HD int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

IMPCORE_HD int64_t words_of(int64_t numel) { return ceil_div(numel, kWordBits); }

inline int64_t count_chunks(const int64_t* numels, int64_t tensors) {
  int64_t chunks = 0;
  for (int64_t t = 0; t < tensors; ++t) chunks += ceil_div(numels[t], kChunkLength);
  return chunks;
}

// Fills the table: tensors in order, each from a word boundary on.
inline void fill_chunks(const int64_t* numels, const int64_t* blocks, int64_t tensors, Chunk* out) {
  int64_t word = 0;
  for (int64_t t = 0; t < tensors; ++t) {
    for (int64_t offset = 0; offset < numels[t]; offset += kChunkLength) {
      const int64_t left = numels[t] - offset;
      const int64_t length = left < kChunkLength ? left : kChunkLength;
      *out++ = Chunk{t, offset, length, word + offset / kWordBits, blocks[t]};
    }
    word += words_of(numels[t]);
  }
}

// One of how many weights a sample takes, at the least.
constexpr int64_t kLeastShare = 64;

// And of so many. Its error falls with the square root of its size: what is then left between the
// ends of the bracket costs as much as the sample where that size grows as total^(2/3) (measured on
// CPUs: 128 and 192 are best for 25 and 85 million weights).
inline int64_t sample_share(int64_t total) {
  int64_t share = kLeastShare;
  while (13 * share * share * share < total) share += 16;
  return share;
}

// How a plan is sampled: one of `share` weights, as a place of so many neighbours per `stride`, so
// that a sample is whole units of what memory moves.
template <int64_t kPlace>
struct SampleGrid {
  static constexpr int64_t kLength = kPlace;                                 // weights in a place
  static constexpr int64_t kStep = kPlace < kWordBits ? kPlace : kWordBits;  // between its starts
  int64_t stride;

  IMPCORE_HD explicit SampleGrid(int64_t share) : stride(share * kLength) {}

  IMPCORE_HD int64_t places(const Chunk& chunk) const { return ceil_div(chunk.length, stride); }

  // How many weights the i-th place gives: a short stride, at the end of a chunk, gives its share.
  IMPCORE_HD int64_t taken(const Chunk& chunk, int64_t i) const {
    const int64_t left = chunk.length - i * stride;
    return left < stride ? ceil_div(left * kLength, stride) : kLength;
  }
  IMPCORE_HD int64_t samples(const Chunk& chunk) const {
    const int64_t whole = chunk.length / stride;
    return whole * kLength + (whole < places(chunk) ? taken(chunk, whole) : 0);
  }

  // Where in its chunk the i-th place is: within its stride, by a hash of its position.
  IMPCORE_HD int64_t place(const Chunk& chunk, int64_t i) const {
    const int64_t start = i * stride;
    const int64_t left = chunk.length - start;
    const int64_t steps = ((left < stride ? left : stride) - kLength) / kStep + 1;
    const uint32_t at = hash(uint32_t(chunk.word * kWordBits + start));
    return start + (steps > 0 ? int64_t(at % uint32_t(steps)) * kStep : 0);
  }

 private:
  static IMPCORE_HD uint32_t hash(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
  }
};

// An interval of keys that should hold the k-th smallest one.
struct Bracket {
  uint32_t lo;
  uint32_t hi;
};

// The ranks in a sample between which a quantile lies.
struct Ranks {
  int64_t lo;  // the bracket starts at this sample (0-based); negative: at the smallest key
  int64_t hi;  // and ends at this one; >= samples: at the largest key
};

IMPCORE_HD Ranks ranks_around(double target, double margin) {
  return Ranks{int64_t(std::floor(target - margin)), int64_t(std::ceil(target + margin))};
}

// How many of `samples` independent draws lie up to the quantile q: the variance.
IMPCORE_HD double sample_variance(double q, int64_t samples) {
  return q * (1 - q) * double(samples);
}

// By how much the variance of the number of samples up to a quantile is larger than that of
// independent draws, `variance` each. The weights of a place may be alike (a filter has a scale of
// its own, or is dead), and places are like their neighbours (a layer has one): so it is half the
// mean square of how much the numbers of two neighbouring places differ. Few pairs say little: two
// are added in which all weights are alike. More than alike they cannot be.
IMPCORE_HD double design_effect(double squares, double pairs, double variance, int64_t place) {
  if (variance == 0) return 1;
  const double alike = double(place);
  const double sum = squares + 2 * 2 * variance * alike * alike;
  const double effect = sum / (2 * (pairs + 2)) / (variance * alike);
  return effect < 1 ? 1 : (effect < alike ? effect : alike);
}

// The margin, in samples, that fills nine tenths of the room for candidates.
IMPCORE_HD double widest_margin(int64_t room, int64_t total, int64_t samples) {
  return (room < total ? 0.45 * double(room) / double(total) : 1) * double(samples);
}

// How far from its expected rank the k-th key may be: 4 standard errors, and two samples for where
// there are few. A miss (one in fifteen thousand, unless `widest` is less) costs further reads of
// everything.
IMPCORE_HD double sample_margin(double variance, double widest) {
  const double margin = 4 * std::sqrt(variance) + 2;
  return margin < widest ? margin : widest;
}

// Where the k-th smallest key lies, by the counts of a scan: `up_to_lo` keys at or under the
// bracket's lower end, `inside` strictly inside it. The ends may be common to many weights, which
// is why they are kept apart: only keys strictly inside ever need storing.
enum class Place { kUpToLo, kInside, kFromHi };

IMPCORE_HD Place place_of(int64_t k, int64_t up_to_lo, int64_t inside) {
  if (k < up_to_lo) return Place::kUpToLo;
  return k <= up_to_lo + inside ? Place::kInside : Place::kFromHi;
}

// Spreads the tie quota over chunks: the lowest (tensor, offset) goes first. In: ties per chunk.
// Out: how many of each chunk's ties are pruned.
inline void spread_quota(int64_t quota, const int64_t* ties, int64_t* pruned, int64_t chunks) {
  for (int64_t c = 0; c < chunks; ++c) {
    pruned[c] = ties[c] < quota ? ties[c] : quota;
    quota -= pruned[c];
  }
}

// A histogram's digit, and by how much a key is shifted for the first of them.
constexpr int kBinBits = 11;
constexpr int kBins = 1 << kBinBits;
constexpr int kFirstShift = 31 - kBinBits;

// A range of keys that holds the rank-th smallest sample (1-based, within the range). Without
// samples it stands for an end of the line.
struct Quantile {
  Bracket range;
  int64_t rank;
  int64_t samples;  // in the range
};

// Narrowing by histogram: [lo, hi] is cut into at most 2^bits bins of 2^shift keys.
IMPCORE_HD int bin_shift(Bracket range, int bits) {
  int shift = 0;
  while (((range.hi - range.lo) >> shift) >> bits) ++shift;
  return shift;
}

// The bin that holds the rank-th smallest (1-based) becomes the new range; rank becomes relative to
// it. Returns how many keys lie in the bins below.
inline int64_t narrow(const int64_t* bins, int shift, Bracket* range, int64_t* rank) {
  int64_t below = 0;
  uint32_t bin = 0;
  while (below + bins[bin] < *rank) below += bins[bin++];
  const uint32_t start = range->lo + (bin << shift);
  const uint32_t last = start + ((1u << shift) - 1);
  range->hi = last < range->hi ? last : range->hi;
  range->lo = start;
  *rank -= below;
  return below;
}

}  // namespace impcore
