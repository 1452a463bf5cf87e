// The selection's scratch memory, cut up: at most 3 % of float32 weights in a large model, and at
// most 512 KiB more than that in a smaller one of large tensors.
#pragma once

#include <algorithm>

#include "common.h"

namespace impcore::cpu {

inline int64_t total_length(const Chunk* chunks, int64_t num_chunks) {
  int64_t total = 0;
  for (int64_t c = 0; c < num_chunks; ++c) total += chunks[c].length;
  return total;
}

// A place of the sample: two words cost little more than one, most of which is finding their page.
constexpr int64_t kPlace = 2 * kWordBits;

// Sampled keys and candidates share their bytes: the first are done with before the second appear.
struct Workspace {
  ChunkScan* scans;       // [chunks]
  int64_t* kept;          // [chunks] after
  int64_t* ties;          // [chunks] at the threshold
  int64_t* pruned_ties;   // [chunks]
  int64_t* first_sample;  // [chunks + 1]
  int64_t* squares;       // [chunks] of differences between places of the sample
  int64_t* bins;          // [kBins]
  int32_t* pages_used;    // [1]
  uint32_t* samples;      // [sampled weights]
  CandidatePool pool;
  int64_t bytes;

  Workspace(void* base, const Chunk* chunks, int64_t num_chunks) {
    const int64_t total = total_length(chunks, num_chunks);
    const SampleGrid<kPlace> grid(sample_share(total));
    int64_t sampled = 0, full_pages = 0;
    for (int64_t c = 0; c < num_chunks; ++c) {
      sampled += grid.samples(chunks[c]);
      full_pages += ceil_div(chunks[c].length, CandidatePool::kPage);
    }
    // Room for 1.2 % of the weights and 80,000 more, or for all of them if that is less; and for
    // one page a chunk that stays half empty.
    const int64_t pages = std::min(320 + total / 1000000 * 48, full_pages) + num_chunks;

    at_ = static_cast<char*>(base);
    take(&scans, num_chunks);
    take(&kept, num_chunks);
    take(&ties, num_chunks);
    take(&pruned_ties, num_chunks);
    take(&first_sample, num_chunks + 1);
    take(&squares, num_chunks);
    take(&bins, kBins);
    take(&pages_used, 1);
    char* shared = at_;
    take(&samples, sampled);
    char* samples_end = at_;
    at_ = shared;
    take(&pool.keys, pages * CandidatePool::kPage);
    take(&pool.offsets, pages * CandidatePool::kPage);
    take(&pool.next, pages);
    pool.pages = int32_t(pages);
    pool.used = pages_used;
    bytes = std::max(at_, samples_end) - static_cast<char*>(base);
  }

 private:
  char* at_;

  template <class Item>
  void take(Item** piece, int64_t count) {
    *piece = reinterpret_cast<Item*>(at_);
    at_ += ceil_div(count * int64_t(sizeof(Item)), 64) * 64;
  }
};

// One comparison does for both ends: below range.lo the difference wraps around.
inline void count_key(uint32_t key, Bracket range, int shift, int64_t* bins) {
  const uint32_t above_lo = key - range.lo;
  if (above_lo <= range.hi - range.lo) ++bins[above_lo >> shift];
}

// Sum over the chunks of what count(chunk, bins) counts (and does besides), on all threads.
template <class Count>
void histogram(int64_t num_chunks, int threads, int64_t* bins, const Count& count) {
  std::fill(bins, bins + kBins, 0);
  Shares shares(num_chunks, threads);
#pragma omp parallel num_threads(threads) if (threads > 1 && num_chunks > 1)
  {
    const KeepSubnormals guard;
    int64_t mine[kBins] = {};
    shares.run([&](int64_t c) { count(c, mine); });
#pragma omp critical(impcore_histogram)
    for (int b = 0; b < kBins; ++b) bins[b] += mine[b];
  }
}

}  // namespace impcore::cpu
