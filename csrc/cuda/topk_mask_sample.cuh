// Stage 0 of the selection: a bracket that very probably holds the k-th smallest key, from a
// sample. Nothing depends on the bracket but speed; the scan checks it.
#pragma once

#include "topk_mask.cuh"

namespace impcore::cuda {

// The share of all weights, dead ones included, that is to go.
__device__ inline double share_of(const Job& job) {
  const int64_t k = *job.k < 0 ? 0 : (*job.k < job.total ? *job.k : job.total);
  return double(k) / double(job.total);
}

// The ranks of the bracket's ends in the sample, if its variance is so many times that of
// independent draws. Dead weights rank above all others, so nobody need count the alive first.
__device__ inline Ranks ranks_of(const Job& job, int64_t sampled, double effect) {
  const double q = share_of(job);
  return ranks_around(q * double(sampled),
                      sample_margin(effect * sample_variance(q, sampled),
                                    widest_margin(job.capacity, job.total, sampled)));
}

// The first digit of an end with this rank (0-based).
__device__ inline Quantile quantile_of(const Digit& first, int64_t rank) {
  Quantile end{Bracket{0, kMaxKey}, 0, 0};
  if (0 <= rank && rank < first.all()) {
    end.rank = rank + 1;
    end.samples = first.narrow(kFirstShift, &end.range, &end.rank);
  }
  return end;
}
__device__ inline Quantile lo_of(const Digit& first, const Ranks& ranks) {
  return quantile_of(first, min(ranks.lo, first.all() - 1));
}
__device__ inline Quantile hi_of(const Digit& first, const Ranks& ranks) {
  return quantile_of(first, ranks.hi);
}

// The state that the samples' first digit leads to, as if they were independent draws: how much
// they differ from that turns out with the second digit. By the last block of threads.
__device__ inline void begin(const Job& job, const Bracket& forced, bool is_forced) {
  const int64_t sampled = int64_t(__ldcg(&job.state->sampled));
  const Digit first(job.bins + kSampled * kBins);
  const Ranks none{-1, first.all()};
  const bool samples = !is_forced && first.all() > 0;
  const Ranks ranks = samples ? ranks_of(job, sampled, 1) : none;
  const int64_t middle = samples ? int64_t(share_of(job) * double(sampled)) : -1;
  Quantile lo = lo_of(first, ranks), hi = hi_of(first, ranks);
  const Quantile pivot = quantile_of(first, min(middle, first.all() - 1));
  if (threadIdx.x == 0) {
    State& state = *job.state;
    state.mode = Mode::kScan;
    state.living = first.all();
    state.pivot = pivot.range.hi;
    state.lo = lo;
    state.hi = hi;
    if (is_forced) {
      state.lo.range.lo = forced.lo;
      state.hi.range.hi = forced.hi;
    }
  }
}

// Takes the sample and counts its first digit. One block of threads a chunk (one in all, if there
// is none), which reads all of its places at once: a row of 32 weights in each of a warp's reads.
template <class T>
__global__ void __launch_bounds__(kThreads) sample(Job job, Bracket forced, bool is_forced) {
  using Bits = typename T::Bits;
  using Grid = SampleGrid<kPlace<T>>;
  constexpr int kPlaces = kLanes / kPlace<T>;  // in a row
  constexpr int kAtOnce = 4;
  static_assert(kChunkLength <= kAtOnce * kThreads * kLeastShare, "no chunk has more samples");
  __shared__ BlockBins bins;
  __shared__ int64_t base;
  let_next_come();
  await_launches();
  bins.clear();
  if (blockIdx.x < job.num_chunks) {
    const Chunk chunk = job.chunks[blockIdx.x];
    const Grid grid(job.share);
    const int places = int(grid.places(chunk)), rows = (places + kPlaces - 1) / kPlaces;
    if (threadIdx.x == 0) {
      base = int64_t(atomicAdd(&job.state->slots, Count(rows * kLanes)));
      atomicAdd(&job.state->sampled, Count(grid.samples(chunk)));
    }
    const Bits* weights = reinterpret_cast<const Bits*>(job.pointers[chunk.tensor]) + chunk.offset;
    const uint32_t* mask = job.mask_in + chunk.word;
    const int warp = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes;
    const int in_place = lane % kPlace<T>;
    uint32_t keys[kAtOnce];
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      const int p = (warp + a * kWarps) * kPlaces + lane / kPlace<T>;
      const bool is_there = p < places && in_place < grid.taken(chunk, p);
      const int64_t i = is_there ? grid.place(chunk, p) + in_place : 0;
      const uint32_t key = is_there ? T::key(weights[i]) : kNoKey;
      const uint32_t word = is_there ? mask[i / kWordBits] : ~0u;
      keys[a] = word >> (i % kWordBits) & 1 ? key : kDeadKey;
    }
    __syncthreads();
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      const int row = warp + a * kWarps;
      if (row >= rows) break;
      job.keys[base + row * kLanes + lane] = keys[a];
      bins.add(keys[a] <= kMaxKey, keys[a] >> kFirstShift);
    }
    __syncthreads();
    bins.flush(job.bins + kSampled * kBins);
  }
  if (is_last_block(&job.state->tickets[kSampled])) begin(job, forced, is_forced);
}

// Of a row of the sample, a key a lane: how many pairs of places it has << 32 | the sum of squares
// of how much the numbers of their keys up to the pivot differ. All lanes take part.
__device__ __forceinline__ int64_t spread_of(uint32_t key, uint32_t pivot, int place) {
  const unsigned up_to = __ballot_sync(kAllLanes, key <= pivot);
  const unsigned there = __ballot_sync(kAllLanes, key != kNoKey);
  int64_t spread = 0;
  for (int start = 0; start < kLanes; start += 2 * place) {
    const unsigned first = ((1u << place) - 1) << start, second = first << place;
    if (~there & (first | second)) continue;
    const int more = __popc(up_to & first) - __popc(up_to & second);
    spread += int64_t(1) << 32 | more * more;
  }
  return spread;
}

// Whether an end of the bracket has a further digit.
__device__ inline bool can_narrow(const Quantile& end) {
  return end.samples > 0 && end.range.lo < end.range.hi;
}

// Moves both ends to where the spread of the sample has them. An end that leaves the bin whose next
// digit is counted goes on without it. By all threads of the last block.
__device__ inline void aim(const Job& job, Quantile ends[2], bool counted[2]) {
  const int64_t spread = int64_t(__ldcg(&job.state->spread));
  const int64_t sampled = int64_t(job.state->sampled);
  const double q = share_of(job);
  const double effect =
      design_effect(double(spread & 0xffffffff), double(spread >> 32), q * (1 - q), job.place);
  const Ranks guessed = ranks_of(job, sampled, 1), ranks = ranks_of(job, sampled, effect);
  const int64_t moves[2] = {ranks.lo - guessed.lo, ranks.hi - guessed.hi};
  for (int e = 0; e < 2; ++e) {
    const int64_t rank = ends[e].rank + moves[e];
    counted[e] = counted[e] && 1 <= rank && rank <= ends[e].samples;
    if (counted[e]) {
      ends[e].rank = rank;
    } else {
      const Digit first(job.bins + kSampled * kBins);
      ends[e] = e == 0 ? lo_of(first, ranks) : hi_of(first, ranks);
    }
  }
}

// Counts the next digit of both ends, on any number of blocks of threads, and the first time how
// much places differ. Two digits of three do, unless many weights share them (few distinct values,
// a narrow range).
static __global__ void __launch_bounds__(kThreads) refine(Job job, Histogram lo_bins) {
  __shared__ BlockBins bins[2];
  let_next_come();
  await_launches();
  State& state = *job.state;
  const bool crowded = state.lo.samples + state.hi.samples > state.living / 512;
  const bool open = can_narrow(state.lo) || can_narrow(state.hi);
  if (state.mode != Mode::kScan || !open || (lo_bins == kLo2 && !crowded)) return;
  Quantile ends[2] = {state.lo, state.hi};
  int shifts[2];
  for (int e = 0; e < 2; ++e) {
    if (!can_narrow(ends[e])) ends[e].range = Bracket{kNoKey, kNoKey};  // holds no key
    shifts[e] = bin_shift(ends[e].range, kBinBits);
    bins[e].clear();
  }
  __syncthreads();
  const bool measures = lo_bins == kLo1;
  const uint32_t pivot = state.pivot;
  int64_t spread = 0;
  for_stored(job.keys, int64_t(state.slots), [&](uint32_t key) {
    if (measures) spread += spread_of(key, pivot, job.place);
    for (int e = 0; e < 2; ++e) {
      uint32_t bin;
      const bool counted = bin_of(key, ends[e].range, shifts[e], &bin) && key <= kMaxKey;
      bins[e].add(counted, bin);
    }
  });
  __syncthreads();
  for (int e = 0; e < 2; ++e) bins[e].flush(job.bins + (lo_bins + e) * kBins);
  if (measures) {
    spread = block_sum(threadIdx.x % kLanes == 0 ? spread : 0);
    if (threadIdx.x == 0) atomicAdd(&state.spread, Count(spread));
  }

  if (!is_last_block(&state.tickets[lo_bins])) return;
  ends[0] = state.lo;
  ends[1] = state.hi;
  bool counted[2] = {can_narrow(ends[0]), can_narrow(ends[1])};
  if (measures) aim(job, ends, counted);
  for (int e = 0; e < 2; ++e) {
    if (!counted[e]) continue;
    const Digit digit(job.bins + (lo_bins + e) * kBins);
    ends[e].samples = digit.narrow(shifts[e], &ends[e].range, &ends[e].rank);
  }
  if (threadIdx.x == 0) {
    state.lo = ends[0];
    state.hi = ends[1];
  }
}

}  // namespace impcore::cuda
