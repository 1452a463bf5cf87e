// The selection's scratch memory, cut up: at most 3 % of float32 weights or, if that is more, 112
// KiB and 210 bytes a chunk. So 3 % is enough for a million weights in fifty tensors, and for two
// million in a thousand.
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

// Runs are consecutive chunks of no more weights than one chunk may have, as many as fit: the
// candidates of small tensors share pages. body(end, weights) for each, in order.
template <class Body>
void for_runs(const Chunk* chunks, int64_t num_chunks, const Body& body) {
  int64_t length = 0;
  for (int64_t c = 0; c < num_chunks; ++c) {
    if (length > 0 && length + chunks[c].length > kChunkLength) {
      body(c, length);
      length = 0;
    }
    length += chunks[c].length;
  }
  if (num_chunks > 0) body(num_chunks, length);
}

inline void fill_runs(const Chunk* chunks, int64_t num_chunks, int64_t* runs) {
  *runs = 0;
  for_runs(chunks, num_chunks, [&](int64_t end, int64_t) { *++runs = end; });
}

// Sampled keys and candidates share their bytes: the first are done with before the second appear.
// So do numbers that only the sample needs, and those that come after the scan.
struct Workspace {
  static constexpr int64_t kLeast = 112 * 1024;
  static constexpr int64_t kOfChunk = 200;

  ChunkScan* scans;       // [chunks]
  int64_t* kept;          // [chunks] after
  int64_t* ties;          // [chunks] at the threshold
  int64_t* pruned_ties;   // [chunks]
  int64_t* first_sample;  // [chunks + 1]
  int64_t* squares;       // [chunks] of differences between places of the sample
  int64_t* runs;          // [num_runs + 1] their first chunks
  int64_t* bins;          // [kBins]
  int32_t* pages_used;    // [1]
  uint32_t* samples;      // [sampled weights]
  CandidatePool pool;
  int64_t num_runs = 0;
  int64_t bytes;

  Workspace(void* base, const Chunk* chunks, int64_t num_chunks) : at_(static_cast<char*>(base)) {
    const int64_t total = total_length(chunks, num_chunks);
    const SampleGrid<kPlace> grid(sample_share(total));
    int64_t sampled = 0;
    for (int64_t c = 0; c < num_chunks; ++c) sampled += grid.samples(chunks[c]);
    for_runs(chunks, num_chunks, [&](int64_t, int64_t length) {
      ++num_runs;
      full_pages_ += ceil_div(length, CandidatePool::kPage);
    });

    take(&scans, num_chunks);
    take(&kept, num_chunks + 1);
    take(&ties, num_chunks);
    take(&pruned_ties, num_chunks);
    first_sample = kept;
    squares = ties;
    take(&runs, num_runs + 1);
    take(&bins, kBins);
    take(&pages_used, 1);
    pool.pages = int32_t(pages(total, num_chunks, at_ - static_cast<char*>(base)));
    pool.used = pages_used;
    char* shared = at_;
    take(&samples, sampled);
    char* samples_end = at_;
    at_ = shared;
    take(&pool.keys, pool.pages * CandidatePool::kPage);
    take(&pool.offsets, pool.pages * CandidatePool::kPage);
    take(&pool.next, pool.pages);
    bytes = std::max(at_, samples_end) - static_cast<char*>(base);
  }

  // Candidates that fit for certain: each run's last page may be as good as empty, unless there are
  // pages for all weights.
  int64_t room() const {
    const int64_t certain = std::max<int64_t>(pool.pages - num_runs, 0);
    return (pool.pages < full_pages_ ? certain : full_pages_) * CandidatePool::kPage;
  }

 private:
  // The bins and half a kilobyte of rounding up are the rest of kLeast.
  static constexpr int64_t kLeastPool = kLeast - kBins * int64_t(sizeof(int64_t)) - 512;
  static constexpr int64_t kPageBytes =
      CandidatePool::kPage * (sizeof(uint32_t) + sizeof(uint16_t)) + sizeof(int32_t);

  // Room for 1.2 % of the weights and 80,000 more, as far as 2.8 % of their bytes allow, for a
  // caller allocates the sums besides, or kOfChunk a chunk; but no more pages than all weights
  // fill. Of chunks so many that they take most of the 2.8 %, a run has eighteen or more, and their
  // kOfChunk give it two pages and a half.
  int64_t pages(int64_t total, int64_t num_chunks, int64_t taken) const {
    const int64_t wanted = (total / 1000 * 12 + 80000) / CandidatePool::kPage + num_runs;
    const int64_t most = std::max(total * 28 / 1000 * 4, kOfChunk * num_chunks);
    const int64_t allowed = (most - taken - 512) / kPageBytes;
    const int64_t least = kLeastPool / kPageBytes;
    return std::min(full_pages_, std::max(least, std::min(wanted, allowed)));
  }

  char* at_;
  int64_t full_pages_ = 0;

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
