// Exact global magnitude selection: sample, bracket, one full read, a small exact finish.
//
// Every stage runs over the plan's chunks in parallel and writes to its chunk's own record, so the
// mask and the sums depend on nothing but the weights. csrc/README.md explains the stages.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops.h"
#include "topk_mask_sample.h"

namespace impcore::cpu {

namespace {

template <class T>
class Selection {
 public:
  using Bits = typename T::Bits;

  Selection(const Weights& weights, const uint32_t* mask_in, uint32_t* mask_out, int64_t k,
            void* workspace, int threads)
      : weights_(weights),
        chunks_(weights.chunks),
        num_chunks_(weights.num_chunks),
        mask_in_(mask_in),
        mask_out_(mask_out),
        k_(k),
        threads_(threads),
        work_(workspace, weights.chunks, weights.num_chunks),
        kernels_(chunk_kernels(T::kDType)) {
    fill_runs(chunks_, num_chunks_, work_.runs);
  }

  int64_t run(const Bracket* forced) {
    if (k_ < 0 || k_ > total_length(chunks_, num_chunks_)) return -1;
    Sampler<T> sampler(weights_, mask_in_, work_, threads_);
    scan(forced ? *forced : sampler.bracket(k_));
    if (k_ > alive_) return -1;
    if (non_finite_ > 0) return non_finite_;
    bool done = finish();
    for (int more = forced ? 0 : kMoreBrackets; !done && more > 0; --more) {
      scan(sampler.again(k_, up_to_lo_, inside_));
      done = finish();
    }
    if (!done) {
      const uint32_t key = exact_threshold();
      scan(Bracket{key, key});
      finish();
    }
    return 0;
  }

  const Workspace& work() const { return work_; }

 private:
  // A second bracket begins at what the first scan has counted, and seldom misses too.
  static constexpr int kMoreBrackets = 2;

  template <class Body>
  void for_chunks(const Body& body) {
    parallel_for(num_chunks_, threads_, [&](int64_t c) { body(c, chunks_[c]); });
  }

  // Stage 1: the full read. Leaves the candidates' first digits in work_.bins.
  void scan(Bracket bracket) {
    bracket_ = bracket;
    *work_.pages_used = 0;
    if (has_inside()) {
      histogram(work_.num_runs, threads_, work_.bins, [&](int64_t r, int64_t* bins) {
        PageEnd end;
        for (int64_t c = work_.runs[r]; c < work_.runs[r + 1]; ++c) {
          const Chunk& chunk = chunks_[c];
          kernels_.scan(weights_.at(chunk), mask_in_ + chunk.word, mask_out_ + chunk.word,
                        chunk.length, bracket, &work_.pool, &end, bins, &work_.scans[c]);
        }
      });
    } else {
      for_chunks([&](int64_t c, const Chunk& chunk) {
        kernels_.scan_ties(weights_.at(chunk), mask_in_ + chunk.word, mask_out_ + chunk.word,
                           chunk.length, bracket, &work_.scans[c]);
      });
    }
    alive_ = up_to_lo_ = inside_ = non_finite_ = 0;
    for (int64_t c = 0; c < num_chunks_; ++c) {
      alive_ += work_.scans[c].alive;
      up_to_lo_ += work_.scans[c].up_to_lo;
      inside_ += work_.scans[c].inside;
      non_finite_ += work_.scans[c].non_finite;
    }
  }

  // Stages 2 to 4. False if the bracket missed or there was no room for the candidates.
  bool finish() {
    const bool overflowed = *work_.pages_used > work_.pool.pages;
    switch (place_of(k_, up_to_lo_, inside_)) {
      case Place::kUpToLo: {
        if (overflowed) return false;
        keep_candidates(0, 0, 0);
        const int64_t quota = k_ - (up_to_lo_ - count_ties(bracket_.lo));
        if (quota < 0) return false;
        split_ties(bracket_.lo, quota, false);
        return true;
      }
      case Place::kInside:
        if (overflowed) return false;
        finish_inside(k_ - up_to_lo_);
        return true;
      case Place::kFromHi: {
        const int64_t quota = k_ - up_to_lo_ - inside_;
        if (bracket_.lo == bracket_.hi || quota > count_ties(bracket_.hi)) return false;
        keep_none();
        split_ties(bracket_.hi, quota, true);
        return true;
      }
    }
    return false;
  }

  // body(offsets, keys, count) for each page's share of a chunk's candidates, in order.
  template <class Body>
  void for_pages(int64_t c, const Body& body) const {
    constexpr int64_t kPage = CandidatePool::kPage;
    int64_t slot = work_.scans[c].first_slot;
    for (int64_t left = work_.scans[c].inside; left > 0;) {
      const int64_t here = std::min(left, kPage - slot % kPage);
      body(work_.pool.offsets + slot, work_.pool.keys + slot, here);
      left -= here;
      if (left > 0) slot = work_.pool.next[slot / kPage] * kPage;
    }
  }

  // The threshold is the rank-th smallest candidate (rank 0: below all of them).
  void finish_inside(int64_t rank) {
    Bracket range = bracket_;
    int64_t ties = 0;
    if (rank == 0) range.hi = range.lo;
    for (bool counted = true; range.lo < range.hi; counted = false) {
      const int shift = bin_shift(range, kBinBits);
      if (!counted) {
        histogram(num_chunks_, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
          for_pages(c, [&](const uint16_t*, const uint32_t* keys, int64_t count) {
            kernels_.count_keys(keys, count, range, shift, bins);
          });
        });
      }
      const uint32_t from = range.lo;
      narrow(work_.bins, shift, &range, &rank);
      ties = work_.bins[(range.lo - from) >> shift];
    }
    keep_candidates(range.lo, rank, ties);
  }

  // Of the candidates, those above the threshold are kept, and those at it beyond the quota.
  void keep_candidates(uint32_t threshold, int64_t quota, int64_t ties) {
    const bool shared = 0 < quota && quota < ties;
    if (shared) {
      for_chunks([&](int64_t c, const Chunk&) {
        int64_t here = 0;
        for_pages(c, [&](const uint16_t*, const uint32_t* keys, int64_t count) {
          here += std::count(keys, keys + count, threshold);
        });
        work_.ties[c] = here;
      });
      spread_quota(quota, work_.ties, work_.pruned_ties, num_chunks_);
    }
    for_chunks([&](int64_t c, const Chunk& chunk) {
      uint32_t* mask = mask_out_ + chunk.word;
      int64_t pruned_ties = shared ? work_.pruned_ties[c] : quota;
      int64_t kept = 0;
      double sum = 0;
      for_pages(c, [&](const uint16_t* offsets, const uint32_t* keys, int64_t count) {
        kept += kernels_.keep(keys, offsets, count, threshold, &pruned_ties, mask, &sum);
      });
      work_.scans[c].sum_after += sum;
      work_.kept[c] = above(c) + kept;
    });
  }

  // How many of a chunk the scan has kept.
  int64_t above(int64_t c) const {
    return work_.scans[c].alive - work_.scans[c].up_to_lo - work_.scans[c].inside;
  }

  void keep_none() {
    for (int64_t c = 0; c < num_chunks_; ++c) work_.kept[c] = above(c);
  }

  // Whether keys may lie strictly inside the bracket.
  bool has_inside() const { return bracket_.hi - bracket_.lo > 1; }

  int64_t count_ties(uint32_t key) {
    const bool counted = !has_inside() && key == bracket_.hi;
    for_chunks([&](int64_t c, const Chunk& chunk) {
      work_.ties[c] =
          counted ? work_.scans[c].ties
                  : kernels_.ties(weights_.at(chunk), mask_in_ + chunk.word, chunk.length, key);
    });
    return std::accumulate(work_.ties, work_.ties + num_chunks_, int64_t(0));
  }

  // Ties at an end of the bracket: the scan has pruned all of them (lo) or kept all of them (hi).
  // work_.ties holds their numbers. Only chunks where that is not the answer are read again.
  void split_ties(uint32_t key, int64_t quota, bool were_kept) {
    spread_quota(quota, work_.ties, work_.pruned_ties, num_chunks_);
    for_chunks([&](int64_t c, const Chunk& chunk) {
      const int64_t pruned = work_.pruned_ties[c];
      if (pruned == (were_kept ? 0 : work_.ties[c])) return;
      kernels_.split_ties(weights_.at(chunk), mask_in_ + chunk.word, mask_out_ + chunk.word,
                          chunk.length, key, pruned, &work_.scans[c].sum_after, &work_.kept[c]);
    });
  }

  // For any input: radix selection over everything alive.
  uint32_t exact_threshold() {
    Bracket range{0, kMaxKey};
    int64_t rank = std::max<int64_t>(k_, 1);
    while (range.lo < range.hi) {
      const int shift = bin_shift(range, kBinBits);
      histogram(num_chunks_, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
        const Bits* from = reinterpret_cast<const Bits*>(weights_.at(chunks_[c]));
        for (int64_t w = 0; w < words_of(chunks_[c].length); ++w) {
          for (uint32_t left = mask_in_[chunks_[c].word + w]; left; left &= left - 1) {
            const uint32_t key = T::key(from[w * kWordBits + __builtin_ctz(left)]);
            count_key(key, range, shift, bins);
          }
        }
      });
      narrow(work_.bins, shift, &range, &rank);
    }
    return range.lo;
  }

  const Weights& weights_;
  const Chunk* chunks_;
  int64_t num_chunks_;
  const uint32_t* mask_in_;
  uint32_t* mask_out_;
  int64_t k_;
  int threads_;
  Workspace work_;
  const ChunkKernels& kernels_;
  Bracket bracket_{0, 0};
  int64_t alive_ = 0, up_to_lo_ = 0, inside_ = 0, non_finite_ = 0;
};

template <class T>
int64_t select_as(const Weights& weights, int64_t num_blocks, const uint32_t* mask_in,
                  uint32_t* mask_out, int64_t k, void* workspace, double* sums_before,
                  double* sums_after, const Bracket* forced, int threads) {
  Selection<T> selection(weights, mask_in, mask_out, k, workspace, threads);
  const int64_t status = selection.run(forced);
  std::fill(sums_before, sums_before + 2 * num_blocks, 0.0);
  std::fill(sums_after, sums_after + 2 * num_blocks, 0.0);
  if (status != 0) return status;
  // Folded in the order of the chunks: the same bits at any number of threads.
  const Workspace& work = selection.work();
  for (int64_t c = 0; c < weights.num_chunks; ++c) {
    const int64_t block = weights.chunks[c].block;
    sums_before[block] += work.scans[c].sum_before;
    sums_before[num_blocks + block] += double(work.scans[c].alive);
    sums_after[block] += work.scans[c].sum_after;
    sums_after[num_blocks + block] += double(work.kept[c]);
  }
  return status;
}

}  // namespace

int64_t topk_mask_workspace(const Chunk* chunks, int64_t num_chunks) {
  return Workspace(nullptr, chunks, num_chunks).bytes;
}

void topk_mask(const Weights& weights, int64_t num_blocks, const uint32_t* mask_in,
               uint32_t* mask_out, int64_t k, void* workspace, int64_t* status, double* sums_before,
               double* sums_after, const Bracket* forced, int threads) {
  const auto select = weights.dtype == DType::kFloat32    ? select_as<Float32>
                      : weights.dtype == DType::kBFloat16 ? select_as<BFloat16>
                                                          : select_as<Float16>;
  *status = select(weights, num_blocks, mask_in, mask_out, k, workspace, sums_before, sums_after,
                   forced, threads);
}

void commit(const Weights& weights, const std::vector<int64_t>& sources, uint32_t* mask,
            const uint32_t* mask_out, const int64_t* status, int threads) {
  if (*status != 0) return;
  parallel_for(weights.num_chunks, threads, [&](int64_t c) {
    const Chunk& chunk = weights.chunks[c];
    std::memcpy(mask + chunk.word, mask_out + chunk.word,
                size_t(words_of(chunk.length)) * sizeof(uint32_t));
  });
  rewind(weights, sources, mask, threads);
}

}  // namespace impcore::cpu
