// Exact global magnitude selection: sample, bracket, one full read, a small exact finish.
//
// Every stage runs over the plan's chunks in parallel and writes to its chunk's own record, so the
// mask and the sums depend on nothing but the weights. csrc/README.md explains the stages.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "ops.h"

namespace impcore::cpu {

namespace {

constexpr int kBinBits = 11;
constexpr int kBins = 1 << kBinBits;
constexpr int64_t kSampleStride = 2048;      // 32 weights sampled per this many ...
constexpr int64_t kMaxSampledWords = 32768;  // ... and fewer in huge models
constexpr int64_t kPagesPerMillion = 48;     // 1.2 % of the weights may be candidates,
constexpr int64_t kMinPages = 320;           // all of them in a small model,
                                             // and each chunk may leave one page half empty

int64_t total_length(const Chunk* chunks, int64_t num_chunks) {
  int64_t total = 0;
  for (int64_t c = 0; c < num_chunks; ++c) total += chunks[c].length;
  return total;
}

int64_t sample_stride(int64_t total) {
  return kSampleStride * std::max<int64_t>(1, ceil_div(total, kMaxSampledWords * kSampleStride));
}

int64_t sampled_words(const Chunk& chunk, int64_t stride) { return ceil_div(chunk.length, stride); }

// The scratch memory, cut up. Sampled keys and candidates share their bytes: the first are done
// with before the second appear.
struct Workspace {
  ChunkScan* scans;       // [chunks]
  int64_t* alive;         // [chunks] before
  int64_t* kept;          // [chunks] after
  int64_t* ties;          // [chunks]
  int64_t* first_sample;  // [chunks + 1]
  int64_t* bins;          // [kBins]
  int32_t* pages_used;    // [1]
  uint32_t* samples;      // [sampled words * kWordBits]
  CandidatePool pool;
  int64_t bytes;

  Workspace(void* base, const Chunk* chunks, int64_t num_chunks) {
    const int64_t total = total_length(chunks, num_chunks);
    const int64_t stride = sample_stride(total);
    int64_t sampled = 0;
    for (int64_t c = 0; c < num_chunks; ++c) sampled += sampled_words(chunks[c], stride);
    const int64_t pages = kMinPages + total / 1000000 * kPagesPerMillion + num_chunks;

    char* at = static_cast<char*>(base);
    const auto take = [&](int64_t size) {
      char* piece = at;
      at += ceil_div(size, 64) * 64;
      return piece;
    };
    scans = reinterpret_cast<ChunkScan*>(take(num_chunks * int64_t(sizeof(ChunkScan))));
    alive = reinterpret_cast<int64_t*>(take(num_chunks * 8));
    kept = reinterpret_cast<int64_t*>(take(num_chunks * 8));
    ties = reinterpret_cast<int64_t*>(take(num_chunks * 8));
    first_sample = reinterpret_cast<int64_t*>(take((num_chunks + 1) * 8));
    bins = reinterpret_cast<int64_t*>(take(kBins * 8));
    pages_used = reinterpret_cast<int32_t*>(take(4));
    char* shared = at;
    samples = reinterpret_cast<uint32_t*>(take(sampled * kWordBits * 4));
    char* samples_end = at;
    at = shared;
    pool.keys = reinterpret_cast<uint32_t*>(take(pages * CandidatePool::kPage * 4));
    pool.offsets = reinterpret_cast<uint16_t*>(take(pages * CandidatePool::kPage * 2));
    pool.next = reinterpret_cast<int32_t*>(take(pages * 4));
    pool.pages = int32_t(pages);
    pool.used = pages_used;
    bytes = std::max(at, samples_end) - static_cast<char*>(base);
  }
};

uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ x >> 16;
}

// One comparison does for both ends: below range.lo the difference wraps around.
inline void count_key(uint32_t key, Bracket range, int shift, int64_t* bins) {
  const uint32_t above_lo = key - range.lo;
  if (above_lo <= range.hi - range.lo) ++bins[above_lo >> shift];
}

// Sum over the chunks of what count(chunk, bins) counts, on all threads.
template <class Count>
void histogram(int64_t num_chunks, int threads, int64_t* bins, const Count& count) {
  std::fill(bins, bins + kBins, 0);
#pragma omp parallel num_threads(threads) if (threads > 1 && num_chunks > 1)
  {
    int64_t mine[kBins] = {};
#pragma omp for schedule(dynamic, 1)
    for (int64_t c = 0; c < num_chunks; ++c) count(c, mine);
#pragma omp critical(impcore_histogram)
    for (int b = 0; b < kBins; ++b) bins[b] += mine[b];
  }
}

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
        kernels_(chunk_kernels(T::kDType)) {}

  int64_t run(const Bracket* forced) {
    count_alive();
    if (k_ < 0 || k_ > alive_) return -1;
    scan(forced ? *forced : sampled_bracket());
    if (non_finite_ > 0) return non_finite_;
    if (!bracket_holds(k_, below_, inside_)) {
      scan_exactly(Bracket{0, kMaxKey}, k_);
    } else if (overflowed()) {
      scan_exactly(bracket_, k_ - below_);
    }
    finish();
    return 0;
  }

  const Workspace& work() const { return work_; }

 private:
  const Bits* data(const Chunk& chunk) const {
    return reinterpret_cast<const Bits*>(weights_.at(chunk));
  }

  void count_alive() {
    parallel_for(num_chunks_, threads_, [&](int64_t c) {
      const Chunk& chunk = chunks_[c];
      work_.alive[c] = kernels_.count(mask_in_ + chunk.word, words_of(chunk.length));
    });
    for (int64_t c = 0; c < num_chunks_; ++c) alive_ += work_.alive[c];
  }

  // Stage 0: the keys of one whole mask word of weights per stride, at a place chosen by a hash of
  // its position. The lines are fetched first and read after: one by one, each would wait.
  void sample_chunk(int64_t c, int64_t stride) {
    const Chunk& chunk = chunks_[c];
    const Bits* from = data(chunk);
    for (int64_t start = 0; start < chunk.length; start += stride) {
      const Bits* place = from + sample_place(chunk, start, stride);
      __builtin_prefetch(place);
      __builtin_prefetch(place + kWordBits - 1);
    }
    uint32_t* out = samples(c);
    for (int64_t start = 0; start < chunk.length; start += stride, out += kWordBits) {
      const int64_t place = sample_place(chunk, start, stride);
      const uint32_t alive = mask_in_[chunk.word + place / kWordBits];
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

  static int64_t sample_place(const Chunk& chunk, int64_t start, int64_t stride) {
    const int64_t words = std::min(stride, chunk.length - start) / kWordBits;
    const uint32_t at = hash(uint32_t(chunk.word * kWordBits + start));
    return start + (words > 0 ? int64_t(at % uint32_t(words)) * kWordBits : 0);
  }

  uint32_t* samples(int64_t c) { return work_.samples + work_.first_sample[c] * kWordBits; }

  Bracket sampled_bracket() {
    const int64_t stride = sample_stride(total_length(chunks_, num_chunks_));
    work_.first_sample[0] = 0;
    for (int64_t c = 0; c < num_chunks_; ++c) {
      work_.first_sample[c + 1] = work_.first_sample[c] + sampled_words(chunks_[c], stride);
    }
    const Bracket all{0, kMaxKey};
    const int shift = bin_shift(all, kBinBits);
    histogram(num_chunks_, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
      sample_chunk(c, stride);
      count_samples(c, all, shift, bins);
    });
    const int64_t sampled = std::accumulate(work_.bins, work_.bins + kBins, int64_t(0));
    if (sampled == 0) return all;
    const Ranks ranks = sample_ranks(k_, alive_, sampled);
    Bracket lo = all, hi = all;
    int64_t lo_rank = ranks.lo + 1, hi_rank = ranks.hi + 1;
    const bool has_lo = ranks.lo >= 0, has_hi = ranks.hi < sampled;
    if (has_lo) narrow(work_.bins, shift, &lo, &lo_rank);
    if (has_hi) narrow(work_.bins, shift, &hi, &hi_rank);
    if (has_lo) narrow_samples(&lo, &lo_rank);
    if (has_hi) narrow_samples(&hi, &hi_rank);
    return Bracket{lo.lo, hi.hi};
  }

  // Two digits of three are enough: the bracket is rounded outwards by 2^-13 of its keys.
  void narrow_samples(Bracket* range, int64_t* rank) {
    const int shift = bin_shift(*range, kBinBits);
    histogram(num_chunks_, threads_, work_.bins,
              [&](int64_t c, int64_t* bins) { count_samples(c, *range, shift, bins); });
    narrow(work_.bins, shift, range, rank);
  }

  void count_samples(int64_t c, Bracket range, int shift, int64_t* bins) {
    const uint32_t* end = samples(c + 1);
    for (const uint32_t* key = samples(c); key < end; ++key) {
      count_key(*key, range, shift, bins);
    }
  }

  // Stage 1: the full read.
  void scan(Bracket bracket) {
    bracket_ = bracket;
    *work_.pages_used = 0;
    below_ = inside_ = non_finite_ = 0;
    CandidatePool* pool = stores_candidates() ? &work_.pool : nullptr;
    parallel_for(num_chunks_, threads_, [&](int64_t c) {
      const Chunk& chunk = chunks_[c];
      kernels_.scan(weights_.at(chunk), mask_in_ + chunk.word, mask_out_ + chunk.word, chunk.length,
                    bracket, pool, &work_.scans[c]);
    });
    for (int64_t c = 0; c < num_chunks_; ++c) {
      below_ += work_.scans[c].below;
      inside_ += work_.scans[c].inside;
      non_finite_ += work_.scans[c].non_finite;
    }
  }

  // In a bracket of a single key all candidates tie: counting them is enough.
  bool stores_candidates() const { return bracket_.lo < bracket_.hi; }

  bool overflowed() const { return *work_.pages_used > work_.pool.pages; }

  // Fallback for any input: radix selection over everything in the range, then a scan at the exact
  // key. `rank` is that of the threshold within the range.
  void scan_exactly(Bracket range, int64_t rank) {
    if (rank == 0) {
      scan(Bracket{range.lo, range.lo});
      return;
    }
    while (range.lo < range.hi) {
      const int shift = bin_shift(range, kBinBits);
      histogram(num_chunks_, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
        for_each_alive(chunks_[c],
                       [&](int64_t, uint32_t key) { count_key(key, range, shift, bins); });
      });
      narrow(work_.bins, shift, &range, &rank);
    }
    scan(range);
  }

  template <class Body>
  void for_each_alive(const Chunk& chunk, const Body& body) const {
    const Bits* from = data(chunk);
    for (int64_t w = 0; w < words_of(chunk.length); ++w) {
      for (uint32_t left = mask_in_[chunk.word + w]; left; left &= left - 1) {
        const int64_t i = w * kWordBits + __builtin_ctz(left);
        body(i, T::key(from[i]));
      }
    }
  }

  template <class Body>
  void for_each_candidate(int64_t c, const Body& body) const {
    const ChunkScan& scanned = work_.scans[c];
    if (scanned.inside == 0) return;
    if (!stores_candidates()) {
      for_each_alive(chunks_[c], [&](int64_t i, uint32_t key) {
        if (key == bracket_.lo) body(i, key);
      });
      return;
    }
    int64_t left = scanned.inside;
    for (int32_t page = scanned.first_page; left > 0; page = work_.pool.next[page]) {
      const int64_t base = int64_t(page) * CandidatePool::kPage;
      const int64_t here = std::min<int64_t>(left, CandidatePool::kPage);
      for (int64_t i = base; i < base + here; ++i) body(work_.pool.offsets[i], work_.pool.keys[i]);
      left -= here;
    }
  }

  // Stages 2 to 4: the exact threshold among the candidates, the tie quota, the candidates' bits.
  void finish() {
    Bracket range = bracket_;
    int64_t quota = k_ - below_;  // of the candidates, this many are pruned
    if (quota == 0) range.hi = range.lo;
    while (range.lo < range.hi) {
      const int shift = bin_shift(range, kBinBits);
      histogram(num_chunks_, threads_, work_.bins, [&](int64_t c, int64_t* bins) {
        for_each_candidate(c, [&](int64_t, uint32_t key) { count_key(key, range, shift, bins); });
      });
      narrow(work_.bins, shift, &range, &quota);
    }
    const uint32_t threshold = range.lo;
    count_ties(threshold);
    spread_quota(quota, work_.ties, num_chunks_);
    parallel_for(num_chunks_, threads_, [&](int64_t c) { keep_candidates(c, threshold); });
  }

  void count_ties(uint32_t threshold) {
    parallel_for(num_chunks_, threads_, [&](int64_t c) {
      int64_t ties = 0;
      if (stores_candidates()) {
        for_each_candidate(c, [&](int64_t, uint32_t key) { ties += key == threshold; });
      } else {
        ties = work_.scans[c].inside;
      }
      work_.ties[c] = ties;
    });
  }

  void keep_candidates(int64_t c, uint32_t threshold) {
    const ChunkScan& scanned = work_.scans[c];
    int64_t pruned_ties = work_.ties[c];
    int64_t kept = 0;
    double sum = 0;
    // Nothing is kept where every candidate is a tie within the quota.
    if (stores_candidates() || pruned_ties < scanned.inside) {
      uint32_t* mask = mask_out_ + chunks_[c].word;
      for_each_candidate(c, [&](int64_t i, uint32_t key) {
        if (key < threshold || (key == threshold && pruned_ties-- > 0)) return;
        mask[i / kWordBits] |= 1u << (i % kWordBits);
        sum += double(T::magnitude(key));
        ++kept;
      });
    }
    work_.scans[c].sum_after += sum;
    work_.kept[c] = work_.alive[c] - scanned.below - scanned.inside + kept;
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
  int64_t alive_ = 0, below_ = 0, inside_ = 0, non_finite_ = 0;
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
    const ChunkScan& scanned = work.scans[c];
    const int64_t block = weights.chunks[c].block;
    sums_before[block] += scanned.sum_before;
    sums_before[num_blocks + block] += double(work.alive[c]);
    sums_after[block] += scanned.sum_after;
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
            const uint32_t* mask_out, int64_t mask_words, const int64_t* status, int threads) {
  if (*status != 0) return;
  std::memcpy(mask, mask_out, size_t(mask_words) * sizeof(uint32_t));
  rewind(weights, sources, mask, threads);
}

}  // namespace impcore::cpu
