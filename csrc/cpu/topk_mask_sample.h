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
        grid_(total_length(weights.chunks, weights.num_chunks)) {}

  // Where the k-th smallest of the alive keys very probably lies. Dead weights count as being above
  // all others, so that nobody need know yet how many there are.
  Bracket bracket(int64_t k) {
    take();
    const int64_t sampled = sum(work_.sampled);
    if (sampled == 0) return kAll;

    const int64_t total = total_length(weights_.chunks, weights_.num_chunks);
    const Ranks ranks = sample_ranks(k, total, sum(work_.places));
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

  // A range of keys that holds the rank-th smallest sample (1-based, within the range). Without
  // samples it stands for an end of the line.
  struct Quantile {
    Bracket range;
    int64_t rank;
    int64_t samples;  // in the range
  };

  int64_t sum(const int64_t* of_chunks) const {
    return std::accumulate(of_chunks, of_chunks + weights_.num_chunks, int64_t(0));
  }

  // Takes the sample, and leaves its first digits in work_.bins.
  void take() {
    work_.first_sample[0] = 0;
    for (int64_t c = 0; c < weights_.num_chunks; ++c) {
      work_.first_sample[c + 1] = work_.first_sample[c] + grid_.words(weights_.chunks[c]);
    }
    histogram(weights_.num_chunks, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
      sample_chunk(c);
      count(c, kAll, kFirstShift, bins);
    });
  }

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

  uint32_t* samples(int64_t c) { return work_.samples + work_.first_sample[c] * kWordBits; }

  void count(int64_t c, Bracket range, int shift, int64_t* bins) {
    kernels_.count_keys(samples(c), work_.sampled[c], range, shift, bins);
  }

  // The alive keys of one whole mask word of weights per stride, at a place chosen by a hash of its
  // position. The lines are fetched first and read after: one by one, each would wait for memory.
  void sample_chunk(int64_t c) {
    using Bits = typename T::Bits;
    const Chunk& chunk = weights_.chunks[c];
    const Bits* from = reinterpret_cast<const Bits*>(weights_.at(chunk));
    const int64_t words = grid_.words(chunk);
    for (int64_t w = 0; w < words; ++w) {
      const Bits* place = from + grid_.place(chunk, w);
      __builtin_prefetch(place);
      __builtin_prefetch(place + kWordBits - 1);
    }
    uint32_t* out = samples(c);
    work_.places[c] = 0;
    for (int64_t w = 0; w < words; ++w) {
      const int64_t place = grid_.place(chunk, w);
      const uint32_t alive = mask_[chunk.word + place / kWordBits];
      work_.places[c] += std::min(chunk.length - place, kWordBits);
      if (place + kWordBits <= chunk.length) {
        out += kernels_.word_keys(from + place, alive, out);
        continue;
      }
      for (int64_t i = 0; place + i < chunk.length; ++i) {
        *out = T::key(from[place + i]);
        out += alive >> i & 1;
      }
    }
    work_.sampled[c] = out - samples(c);
  }

  const Weights& weights_;
  const uint32_t* mask_;
  Workspace& work_;
  int threads_;
  const ChunkKernels& kernels_;
  SampleGrid grid_;
};

}  // namespace impcore::cpu
