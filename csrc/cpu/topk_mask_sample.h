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

  // Takes the sample, and counts the alive weights of every chunk; returns their number.
  int64_t sample() {
    work_.first_sample[0] = 0;
    for (int64_t c = 0; c < weights_.num_chunks; ++c) {
      work_.first_sample[c + 1] = work_.first_sample[c] + grid_.words(weights_.chunks[c]);
    }
    histogram(weights_.num_chunks, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
      const Chunk& chunk = weights_.chunks[c];
      work_.alive[c] = kernels_.count(mask_ + chunk.word, words_of(chunk.length));
      sample_chunk(c);
      count(c, kAll, kFirstShift, bins);
    });
    return std::accumulate(work_.alive, work_.alive + weights_.num_chunks, int64_t(0));
  }

  // Where the k-th smallest of the alive keys very probably lies.
  Bracket bracket(int64_t k, int64_t alive) {
    const int64_t sampled = std::accumulate(work_.bins, work_.bins + kBins, int64_t(0));
    if (sampled == 0) return kAll;

    const Ranks ranks = sample_ranks(k, alive, sampled);
    Quantile lo{kAll, ranks.lo + 1, ranks.lo < 0 ? 0 : sampled};
    Quantile hi{kAll, ranks.hi + 1, ranks.hi >= sampled ? 0 : sampled};
    for (Quantile* end : {&lo, &hi}) {
      if (end->samples > 0) take_bin(kFirstShift, end);
    }
    narrow_further(&lo);
    narrow_further(&hi);
    // Two digits of three do unless many weights share them (few distinct values, a narrow range).
    if (lo.samples + hi.samples > sampled / 512) {
      narrow_further(&lo);
      narrow_further(&hi);
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

  void take_bin(int shift, Quantile* quantile) const {
    const uint32_t from = quantile->range.lo;
    narrow(work_.bins, shift, &quantile->range, &quantile->rank);
    quantile->samples = work_.bins[(quantile->range.lo - from) >> shift];
  }

  void narrow_further(Quantile* quantile) {
    if (quantile->samples == 0 || quantile->range.lo == quantile->range.hi) return;
    const int shift = bin_shift(quantile->range, kBinBits);
    histogram(weights_.num_chunks, threads_, work_.bins,
              [&](int64_t c, int64_t* bins) { count(c, quantile->range, shift, bins); });
    take_bin(shift, quantile);
  }

  uint32_t* samples(int64_t c) { return work_.samples + work_.first_sample[c] * kWordBits; }

  void count(int64_t c, Bracket range, int shift, int64_t* bins) {
    const uint32_t* end = samples(c + 1);
    for (const uint32_t* key = samples(c); key < end; ++key) count_key(*key, range, shift, bins);
  }

  // The keys of one whole mask word of weights per stride, at a place chosen by a hash of its
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
    for (int64_t w = 0; w < words; ++w, out += kWordBits) {
      const int64_t place = grid_.place(chunk, w);
      const uint32_t alive = mask_[chunk.word + place / kWordBits];
      if (place + kWordBits <= chunk.length) {
        kernels_.word_keys(from + place, alive, out);
        continue;
      }
      for (int64_t i = 0; i < kWordBits; ++i) {
        const bool sampled = place + i < chunk.length && (alive >> i & 1);
        out[i] = sampled ? T::key(from[place + i]) : kDeadKey;
      }
    }
  }

  const Weights& weights_;
  const uint32_t* mask_;
  Workspace& work_;
  int threads_;
  const ChunkKernels& kernels_;
  SampleGrid grid_;
};

}  // namespace impcore::cpu
