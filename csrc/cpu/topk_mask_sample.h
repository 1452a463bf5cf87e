// Stage 0 of the selection: a bracket that very probably holds the k-th smallest key, from a
// sample.
//
// Invariant: nothing depends on the bracket but speed; the scan checks it.
#pragma once

#include <numeric>

#include "topk_mask_workspace.h"

namespace impcore::cpu {

template <class T>
class Sampler {
 public:
  Sampler(const Weights& weights, const uint32_t* mask, Workspace& work, int threads)
      : weights_(weights),
        mask_(mask),
        work_(work),
        threads_(threads),
        kernels_(chunk_kernels(T::kDType)),
        total_(total_length(weights.chunks, weights.num_chunks)),
        grid_(total_) {}

  // Where the k-th smallest of the alive keys very probably lies. Dead weights count as being above
  // all others, so that nobody need know yet how many there are.
  Bracket bracket(int64_t k) {
    take();
    const int64_t sampled = work_.first_sample[weights_.num_chunks];
    if (sampled == 0) return kAll;

    const double q = double(k) / double(total_);
    const Ranks ranks = ranks_around(q * double(sampled), kErrors * std::sqrt(variance(q)) + 1);
    Quantile lo{kAll, ranks.lo + 1, ranks.lo < 0 ? 0 : sampled};
    Quantile hi{kAll, ranks.hi + 1, ranks.hi >= sampled ? 0 : sampled};
    for (Quantile* end : {&lo, &hi}) {
      if (end->samples > 0) take_bin(kFirstShift, end);
    }
    narrow_further(&lo, &hi);
    // Two digits of three do unless many weights share them (few distinct values, a narrow range).
    if (lo.samples + hi.samples > sampled / 512) {
      narrow_further(&lo, &hi);
    }
    return Bracket{lo.range.lo, hi.range.hi};
  }

 private:
  static constexpr Bracket kAll{0, kMaxKey};
  static constexpr int kFirstShift = 31 - kBinBits;
  // The bracket's half width in standard errors. A miss (one in two million) costs four more reads.
  static constexpr double kErrors = 5;

  // A range of keys that holds the rank-th smallest sample (1-based, within the range). Without
  // samples it stands for an end of the line.
  struct Quantile {
    Bracket range;
    int64_t rank;
    int64_t samples;  // in the range
  };

  // Takes the sample, and leaves its first digits in work_.bins.
  void take() {
    work_.first_sample[0] = 0;
    for (int64_t c = 0; c < weights_.num_chunks; ++c) {
      work_.first_sample[c + 1] = work_.first_sample[c] + grid_.samples(weights_.chunks[c]);
    }
    histogram(weights_.num_chunks, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
      sample_chunk(c);
      count(c, kAll, kFirstShift, bins);
    });
  }

  // Of the number of samples up to the quantile q. The weights of a place may be alike (a filter
  // has a scale of its own, or is dead), and places are like their neighbours (a layer has one):
  // half the mean square of how much a place's number differs from the one before, and not less
  // than that of independent draws. Few places say little, so two are added in which all are alike.
  double variance(double q) {
    const int64_t sampled = work_.first_sample[weights_.num_chunks];
    Quantile pivot{kAll, std::max<int64_t>(int64_t(q * double(sampled)), 1), sampled};
    take_bin(kFirstShift, &pivot);
    parallel_for(weights_.num_chunks, threads_, [&](int64_t c) {
      work_.squares[c] = kernels_.spread(samples(c), whole_places(c), pivot.range.hi);
    });
    double pairs = 2, squares = 2 * 2 * sample_variance(q, 1) * grid_.kLength * grid_.kLength;
    for (int64_t c = 0; c < weights_.num_chunks; ++c) {
      pairs += double(std::max<int64_t>(whole_places(c) - 1, 0));
      squares += double(work_.squares[c]);
    }
    const double places = double(sampled) / double(grid_.kLength);
    return std::max(sample_variance(q, sampled), squares / (2 * pairs) * places);
  }

  int64_t whole_places(int64_t c) const { return weights_.chunks[c].length / grid_.stride; }

  void take_bin(int shift, Quantile* quantile) const {
    const uint32_t from = quantile->range.lo;
    narrow(work_.bins, shift, &quantile->range, &quantile->rank);
    quantile->samples = work_.bins[(quantile->range.lo - from) >> shift];
  }

  // By one more digit. Most often both ends lie in the same range, which is counted once.
  void narrow_further(Quantile* lo, Quantile* hi) {
    Bracket counted{1, 0};
    for (Quantile* end : {lo, hi}) {
      const Bracket range = end->range;
      if (end->samples == 0 || range.lo == range.hi) continue;
      const int shift = bin_shift(range, kBinBits);
      if (range.lo != counted.lo || range.hi != counted.hi) {
        histogram(weights_.num_chunks, threads_, work_.bins,
                  [&](int64_t c, int64_t* bins) { count(c, range, shift, bins); });
        counted = range;
      }
      take_bin(shift, end);
    }
  }

  uint32_t* samples(int64_t c) { return work_.samples + work_.first_sample[c]; }

  void count(int64_t c, Bracket range, int shift, int64_t* bins) {
    const int64_t number = work_.first_sample[c + 1] - work_.first_sample[c];
    kernels_.count_keys(samples(c), number, range, shift, bins);
  }

  // The lines of a chunk's places are fetched first and read after: one by one, each would wait for
  // memory.
  void sample_chunk(int64_t c) {
    using Bits = typename T::Bits;
    const Chunk& chunk = weights_.chunks[c];
    const Bits* from = reinterpret_cast<const Bits*>(weights_.at(chunk));
    const int64_t places = grid_.places(chunk);
    for (int64_t i = 0; i < places; ++i) {
      const char* place = reinterpret_cast<const char*>(from + grid_.place(chunk, i));
      for (size_t b = 0; b < grid_.kLength * sizeof(Bits); b += kLine) {
        __builtin_prefetch(place + b);
      }
    }
    uint32_t* out = samples(c);
    for (int64_t i = 0; i < places; ++i) {
      const int64_t place = grid_.place(chunk, i);
      const uint32_t* alive = mask_ + chunk.word + place / kWordBits;
      const int64_t taken = grid_.taken(chunk, i);
      if (taken == grid_.kLength) {
        kernels_.place_keys(from + place, alive, out);
      } else {
        for (int64_t j = 0; j < taken; ++j) {
          out[j] = alive[j / kWordBits] >> (j % kWordBits) & 1 ? T::key(from[place + j]) : kMaxKey;
        }
      }
      out += taken;
    }
  }

  static constexpr size_t kLine = 64;

  const Weights& weights_;
  const uint32_t* mask_;
  Workspace& work_;
  int threads_;
  const ChunkKernels& kernels_;
  int64_t total_;
  SampleGrid<kPlaceWords> grid_;
};

}  // namespace impcore::cpu
