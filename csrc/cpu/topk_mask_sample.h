// Stage 0 of the selection: a bracket that very probably holds the k-th smallest key, from a
// sample.
//
// Invariant: nothing depends on the bracket but speed; the scan checks it.
#pragma once

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
        grid_(sample_share(total_)) {}

  // Where the k-th smallest of the alive keys very probably lies. Dead weights count as being above
  // all others, so that nobody need know yet how many there are.
  Bracket bracket(int64_t k) {
    crowded_ = 1;
    return around(k, 0, share(k));
  }

  // The same after a scan with the last bracket, which missed or held more than there is room for.
  // It has counted the keys up to the bracket's lower end, and those strictly inside. What the
  // sample says of the way from the nearer end to the k-th key is far less uncertain.
  Bracket again(int64_t k, int64_t up_to_lo, int64_t inside) {
    const int64_t up_to_hi = up_to_lo + inside;
    // The scan's counts leave out the dead, which an end at the largest key has among its samples.
    const bool from_lo = k - up_to_lo < up_to_hi - k || hi_ == kMaxKey;
    const double counted = share(from_lo ? up_to_lo : up_to_hi);
    const double shift = double(from_lo ? up_to_lo_ : up_to_hi_) - counted * double(number());
    if (inside > work_.room()) {
      const double sampled = double(up_to_hi_ - up_to_lo_) / double(number());
      crowded_ = std::max(share(inside) / std::max(sampled, share(1)), 1.0);
    }
    return around(k, shift, std::abs(share(k) - counted));
  }

 private:
  static constexpr Bracket kAll{0, kMaxKey};

  double share(int64_t keys) const { return double(keys) / double(total_); }

  // The bracket of what lies `shift` samples above k's share of them, if the share `way` of them is
  // by chance what it is.
  Bracket around(int64_t k, double shift, double way) {
    take();
    const int64_t sampled = number();
    if (sampled == 0) return kAll;

    const double variance = spread(share(k)) * sample_variance(way, sampled);
    const double margin = sample_margin(variance, widest());
    Ranks ranks = ranks_around(share(k) * double(sampled) + shift, margin);
    ranks.lo = std::min(ranks.lo, sampled - 1);
    ranks.hi = std::max<int64_t>(ranks.hi, 0);
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
    up_to_lo_ = up_to(lo, ranks.lo) - (lo.range.lo < lo.range.hi ? lo.samples : 0);
    up_to_hi_ = up_to(hi, ranks.hi) - (hi.range.lo < hi.range.hi ? 0 : hi.samples);
    hi_ = hi.range.hi;
    // The scan prunes what lies at the lower end and keeps what lies at the upper one. Of many
    // weights at one key those that are wrong are read again: better the smaller part.
    const uint32_t key = lo.range.lo;
    if (key == hi_ && key > 0 && lo.rank + hi.rank < lo.samples) {
      up_to_lo_ -= lo.samples;
      return Bracket{key - 1, key};
    }
    return Bracket{key, hi_};
  }

  // How many samples lie in the range of what was the sample of this rank (0-based), or below.
  static int64_t up_to(const Quantile& quantile, int64_t rank) {
    return rank + 1 - quantile.rank + quantile.samples;
  }

  double widest() const { return widest_margin(work_.room(), total_, number()) / crowded_; }

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

  // At the quantile q (plan.h), from the places of a chunk that follow each other. A place that is
  // alone in its chunk tells nothing: its weights count as alike.
  double spread(double q) {
    const double variance = q * (1 - q);  // of one draw
    // At an end of the line there is nothing to tell by.
    if (variance == 0) return double(kPlace);
    Quantile pivot{kAll, std::max<int64_t>(int64_t(q * double(number())), 1), number()};
    take_bin(kFirstShift, &pivot);
    parallel_for(weights_.num_chunks, threads_, [&](int64_t c) {
      work_.squares[c] = kernels_.spread(samples(c), number_in(c), pivot.range.hi);
    });
    double pairs = 0, squares = 0;
    int64_t lone = 0;
    for (int64_t c = 0; c < weights_.num_chunks; ++c) {
      pairs += double(std::max<int64_t>(compared(c) - 1, 0));
      squares += double(work_.squares[c]);
      lone += compared(c) < 2 ? number_in(c) : 0;
    }
    const double alone = double(lone) / double(number());
    const double found = design_effect(squares, pairs, variance, kPlace);
    return (1 - alone) * found + alone * double(kPlace);
  }

  // The places of a chunk that `spread` compares: a last one that is short, if it is at least half.
  int64_t compared(int64_t c) const { return (number_in(c) + kPlace / 2) / kPlace; }

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

  int64_t number() const { return work_.first_sample[weights_.num_chunks]; }
  int64_t number_in(int64_t c) const { return work_.first_sample[c + 1] - work_.first_sample[c]; }

  uint32_t* samples(int64_t c) { return work_.samples + work_.first_sample[c]; }

  void count(int64_t c, Bracket range, int shift, int64_t* bins) {
    kernels_.count_keys(samples(c), number_in(c), range, shift, bins);
  }

  // Fetches the lines of a chunk's places: one by one, each would wait for memory.
  void fetch_places(int64_t c) const {
    using Bits = typename T::Bits;
    const Chunk& chunk = weights_.chunks[c];
    const Bits* from = reinterpret_cast<const Bits*>(weights_.at(chunk));
    for (int64_t i = 0; i < grid_.places(chunk); ++i) {
      const char* place = reinterpret_cast<const char*>(from + grid_.place(chunk, i));
      for (size_t b = 0; b < grid_.kLength * sizeof(Bits); b += kLine) {
        __builtin_prefetch(place + b);
      }
    }
  }

  // Most often this thread takes the following chunk next, so its places are fetched meanwhile.
  void sample_chunk(int64_t c) {
    using Bits = typename T::Bits;
    if (c + 1 < weights_.num_chunks) fetch_places(c + 1);
    const Chunk& chunk = weights_.chunks[c];
    const Bits* from = reinterpret_cast<const Bits*>(weights_.at(chunk));
    const int64_t places = grid_.places(chunk);
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
  SampleGrid<kPlace> grid_;
  // Of the last bracket: samples up to its lower end and below its upper one, and that end.
  int64_t up_to_lo_ = 0, up_to_hi_ = 0;
  uint32_t hi_ = kMaxKey;
  // How many times as many keys have been found in a bracket as its samples stood for, if that was
  // too many for the room there is.
  double crowded_ = 1;
};

}  // namespace impcore::cpu
