// Stage 0 of the selection: a bracket that very probably holds the k-th smallest key, from a
// sample. Nothing depends on the bracket but speed; the scan checks it.
#pragma once

#include "topk_mask.cuh"

namespace impcore::cuda {

// The state that the samples' first digit leads to. By the last block of threads.
__device__ inline void begin(const Job& job, const Bracket& forced, bool is_forced) {
  const int64_t alive = int64_t(__ldcg(&job.state->alive));
  const int64_t k = *job.k;
  const Digit first(job.bins + kSampled * kBins);
  const int64_t sampled = first.all();

  const Bracket all{0, kMaxKey};
  const bool valid = 0 <= k && k <= alive;
  Quantile lo{all, 0, 0}, hi{all, 0, 0};
  if (is_forced) {
    lo.range.lo = forced.lo;
    hi.range.hi = forced.hi;
  } else if (valid && sampled > 0) {
    const Ranks ranks = sample_ranks(k, alive, sampled);
    if (ranks.lo >= 0) {
      lo.rank = ranks.lo + 1;
      lo.samples = first.narrow(kFirstShift, &lo.range, &lo.rank);
    }
    if (ranks.hi < sampled) {
      hi.rank = ranks.hi + 1;
      hi.samples = first.narrow(kFirstShift, &hi.range, &hi.rank);
    }
  }
  if (threadIdx.x == 0) {
    State& state = *job.state;
    state.mode = valid ? Mode::kScan : Mode::kDone;
    state.sampled = sampled;
    state.lo = lo;
    state.hi = hi;
    *job.status = valid ? 0 : -1;
  }
}

// Takes the sample, counts its first digit, and counts the alive weights. One block of threads a
// chunk (one in all, if there is none).
template <class T>
__global__ void __launch_bounds__(kThreads) sample(Job job, Bracket forced, bool is_forced) {
  using Bits = typename T::Bits;
  __shared__ BlockBins bins;
  __shared__ int64_t base;
  let_next_come();
  await_launches();
  bins.clear();
  __syncthreads();
  if (blockIdx.x < job.num_chunks) {
    const Chunk chunk = job.chunks[blockIdx.x];
    const SampleGrid<1> grid(job.total);
    const int64_t words = grid.places(chunk);
    if (threadIdx.x == 0) {
      base = int64_t(atomicAdd(&job.state->stored, Count(words * kWordBits)));
    }
    const Bits* weights = reinterpret_cast<const Bits*>(job.pointers[chunk.tensor]) + chunk.offset;
    const uint32_t* mask = job.mask_in + chunk.word;
    int64_t alive = 0;
    for (int64_t w = threadIdx.x; w < words_of(chunk.length); w += kThreads) {
      alive += __popc(mask[w]);
    }
    alive = block_sum(alive);
    if (threadIdx.x == 0) atomicAdd(&job.state->alive, Count(alive));
    __syncthreads();
    const int lane = int(threadIdx.x) % kLanes;
    constexpr int kAtOnce = 4;
    for (int64_t first = threadIdx.x / kLanes; first < words; first += kAtOnce * kWarps) {
      uint32_t keys[kAtOnce];
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        const int64_t w = first + a * kWarps;
        const int64_t i = w < words ? grid.place(chunk, w) + lane : chunk.length;
        const bool within = i < chunk.length;
        const uint32_t key = within ? T::key(weights[i]) : kDeadKey;
        const uint32_t word = within ? mask[i / kWordBits] : 0;
        keys[a] = word >> (i % kWordBits) & 1 ? key : kDeadKey;
      }
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        const int64_t w = first + a * kWarps;
        if (w < words) job.keys[base + w * kWordBits + lane] = keys[a];
        bins.add(keys[a] != kDeadKey, keys[a] >> kFirstShift);
      }
    }
    __syncthreads();
    bins.flush(job.bins + kSampled * kBins);
  }
  if (is_last_block(&job.state->tickets[kSampled])) begin(job, forced, is_forced);
}

// Whether an end of the bracket has a further digit.
__device__ inline bool can_narrow(const Quantile& end) {
  return end.samples > 0 && end.range.lo < end.range.hi;
}

// Counts the next digit of both ends, on any number of blocks of threads. Two digits of three do,
// unless many weights share them (few distinct values, a narrow range).
static __global__ void __launch_bounds__(kThreads) refine(Job job, Histogram lo_bins) {
  __shared__ BlockBins bins[2];
  let_next_come();
  await_launches();
  State& state = *job.state;
  const bool crowded = state.lo.samples + state.hi.samples > state.sampled / 512;
  const bool open = can_narrow(state.lo) || can_narrow(state.hi);
  if (state.mode != Mode::kScan || !open || (lo_bins == kLo2 && !crowded)) return;
  Quantile ends[2] = {state.lo, state.hi};
  int shifts[2];
  for (int e = 0; e < 2; ++e) {
    if (!can_narrow(ends[e])) ends[e].range = Bracket{kDeadKey, kDeadKey};  // holds no key
    shifts[e] = bin_shift(ends[e].range, kBinBits);
    bins[e].clear();
  }
  __syncthreads();
  for_stored(job.keys, int64_t(state.stored), [&](uint32_t key) {
    for (int e = 0; e < 2; ++e) {
      uint32_t bin;
      const bool counted = bin_of(key, ends[e].range, shifts[e], &bin) && key != kDeadKey;
      bins[e].add(counted, bin);
    }
  });
  __syncthreads();
  for (int e = 0; e < 2; ++e) bins[e].flush(job.bins + (lo_bins + e) * kBins);

  if (!is_last_block(&state.tickets[lo_bins])) return;
  ends[0] = state.lo;
  ends[1] = state.hi;
  for (int e = 0; e < 2; ++e) {
    if (!can_narrow(ends[e])) continue;
    const Digit digit(job.bins + (lo_bins + e) * kBins);
    ends[e].samples = digit.narrow(shifts[e], &ends[e].range, &ends[e].rank);
  }
  if (threadIdx.x == 0) {
    state.lo = ends[0];
    state.hi = ends[1];
  }
}

}  // namespace impcore::cuda
