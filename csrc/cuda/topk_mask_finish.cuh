// Stages 2 to 4 of the selection: the exact threshold, the spread of its ties over the tiles, and
// the last bits of the mask.
#pragma once

#include "topk_mask_scan.cuh"

namespace impcore::cuda {

// Calls body(key, alive) for every weight of a tile, pack by pack; all lanes of the block's warps
// take part in each call.
template <class T, class Body>
__device__ __forceinline__ void for_keys(const Job& job, const Tile& tile, const Body& body) {
  using Bits = typename T::Bits;
  const int span = int(threadIdx.x) / kLanes * kWarpSpan;
  const uint32_t words = span_word(job.mask_in, tile, span);
  for_packs(at<const Bits>(job.pointers, tile), words, tile, span,
            [&](int, int, unsigned alive, const Pack<Bits>& pack) {
#pragma unroll
              for (int j = 0; j < Pack<Bits>::kSize; ++j) {
                body(T::key(pack.values[j]), (alive >> j & 1) != 0);
              }
            });
}

// Fills tiles.ties with the alive weights at the key; returns the sum of this block's tiles, on
// thread 0. All weights are read again.
template <class T>
__device__ int64_t count_ties(const Job& job, uint32_t threshold) {
  int64_t sum = 0;
  for (int64_t t = blockIdx.x; t < job.num_tiles; t += gridDim.x) {
    const Tile tile = tile_of(job.chunks, t);
    int count = 0;
    for_keys<T>(job, tile, [&](uint32_t key, bool alive) { count += alive && key == threshold; });
    count = block_sum(count);
    if (threadIdx.x == 0) job.tiles.ties[t] = count;
    sum += count;
  }
  return sum;
}

// The ties at an end of the bracket are counted: how many of them are pruned, or else that the
// bracket missed, and what lies beyond that end. By one thread.
__device__ inline void judge_end(const Job& job) {
  State& state = *job.state;
  const int64_t ties = int64_t(__ldcg(&state.ties));
  const bool at_lo = state.mode == Mode::kLoEnd;
  const uint32_t end = state.range.lo;
  // Alive keys below the end.
  const int64_t below = int64_t(state.up_to_lo) + (at_lo ? -ties : int64_t(state.inside));
  const int64_t quota = *job.k - below;
  if (quota < 0) {
    search(&state, Bracket{0, end - 1}, *job.k, below);
  } else if (quota > ties) {
    search(&state, Bracket{end + 1, kMaxKey}, quota - ties, int64_t(state.alive) - below - ties);
  } else {
    state.quota = quota;
    state.tiles_have_ties = true;
  }
}

// The next step towards the threshold, whatever that is: a digit of it by the candidates' keys, the
// ties at an end of the bracket, or a digit by all alive keys. Four of them lead to any threshold.
template <class T>
__global__ void __launch_bounds__(kThreads, 2) step(Job job, int number) {
  __shared__ BlockBins bins;
  let_next_come();
  await_launches();
  State& state = *job.state;
  unsigned* ticket = &state.tickets[kStep + number];
  const Mode mode = state.mode;
  if (mode == Mode::kLoEnd || mode == Mode::kHiEnd) {
    if (state.tiles_have_ties) return;
    const int64_t ties = count_ties<T>(job, state.range.lo);
    if (threadIdx.x == 0) atomicAdd(&state.ties, Count(ties));
    if (is_last_block(ticket) && threadIdx.x == 0) judge_end(job);
    return;
  }
  Bracket range = state.range;
  if ((mode != Mode::kInside && mode != Mode::kExact) || range.lo == range.hi) return;

  const int shift = bin_shift(range, kBinBits);
  bins.clear();
  __syncthreads();
  if (mode == Mode::kInside) {
    for_stored(job.keys, int64_t(state.inside), [&](uint32_t key) {
      uint32_t bin;
      const bool counted = bin_of(key, range, shift, &bin);
      bins.add(counted, bin);
    });
  } else {
    for (int64_t t = blockIdx.x; t < job.num_tiles; t += gridDim.x) {
      for_keys<T>(job, tile_of(job.chunks, t), [&](uint32_t key, bool alive) {
        uint32_t bin;
        const bool counted = bin_of(key, range, shift, &bin) && alive;
        bins.add(counted, bin);
      });
    }
  }
  __syncthreads();
  Count* counts = job.bins + (kStep + number) * kBins;
  bins.flush(counts);

  if (!is_last_block(ticket)) return;
  int64_t rank = state.rank;
  const int64_t found = Digit(counts).narrow(shift, &range, &rank);
  if (threadIdx.x == 0) {
    state.range = range;
    state.rank = rank;
    state.ties = Count(found);
    state.quota = *job.k == 0 ? 0 : rank;
  }
}

// Where the ties' quota ends. By a whole block of threads.
__device__ inline void spread(const Job& job) {
  constexpr int kPerThread = 16;
  State& state = *job.state;
  int64_t left = state.quota;
  for (int64_t start = 0; start < job.num_tiles; start += kThreads * kPerThread) {
    const int64_t first = start + int64_t(threadIdx.x) * kPerThread;
    int64_t mine = 0;
    for (int64_t t = first; t < first + kPerThread && t < job.num_tiles; ++t) {
      mine += __ldcg(job.tiles.ties + t);
    }
    int64_t all;
    int64_t before = threads_before(mine, &all);
    if (before <= left && left < before + mine) {
      int64_t t = first;
      while (before + __ldcg(job.tiles.ties + t) <= left) before += __ldcg(job.tiles.ties + t++);
      state.last_tile = t;
      state.last_quota = left - before;
    }
    if (left < all) return;
    left -= all;
  }
  if (threadIdx.x == 0) state.last_tile = job.num_tiles;  // all of them are pruned
}

// Counts every tile's ties where they do not all share a fate, and spreads the quota.
template <class T>
__global__ void __launch_bounds__(kThreads) share_ties(Job job) {
  let_next_come();
  await_launches();
  State& state = *job.state;
  const Mode mode = state.mode;
  if (mode == Mode::kDone) return;
  const bool at_end = mode == Mode::kLoEnd || mode == Mode::kHiEnd;
  const bool shared = 0 < state.quota && state.quota < int64_t(state.ties);
  if (!at_end && !shared) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      state.last_tile = state.quota == 0 ? 0 : job.num_tiles;
      state.last_quota = 0;
    }
    return;
  }
  const uint32_t threshold = state.range.lo;
  if (mode == Mode::kInside) {
    const int warp = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes;
    for (int64_t t = int64_t(blockIdx.x) * kWarps + warp; t < job.num_tiles;
         t += int64_t(gridDim.x) * kWarps) {
      const uint32_t* keys = job.keys + job.tiles.first[t];
      int count = 0;
      for (int i = lane; i < job.tiles.inside[t]; i += kLanes) count += keys[i] == threshold;
      count = warp_sum(count);
      if (lane == 0) job.tiles.ties[t] = count;
    }
  } else if (mode == Mode::kExact) {
    count_ties<T>(job, threshold);
  }
  if (!is_last_block(&state.tickets[kHistograms + 1])) return;
  spread(job);
  if (threadIdx.x == 0) state.tiles_have_ties = true;
}

// How many lanes' values before this one, and in all, of a few bits a lane.
struct Ranked {
  int before, all;
  __device__ __forceinline__ explicit Ranked(int count) {
    before = lanes_before(count);
    all = __shfl_sync(kAllLanes, before + count, kLanes - 1);
  }
};

// Of a tile's candidates, those above the threshold are kept, and those at it beyond `pruned`. By a
// warp.
template <class T>
__device__ void keep_candidates(const Job& job, int64_t t, uint32_t threshold, int pruned) {
  const Tile tile = tile_of(job.chunks, t);
  const int lane = int(threadIdx.x) % kLanes;
  const int64_t first = job.tiles.first[t];
  const int inside = job.tiles.inside[t];
  double sum = 0;
  int kept = 0, ties = 0;
  for (int start = 0; start < inside; start += kLanes) {
    const int i = start + lane;
    const uint32_t key = i < inside ? job.keys[first + i] : 0;
    const bool tie = i < inside && key == threshold;
    const unsigned tied = __ballot_sync(kAllLanes, tie);
    const int rank = ties + __popc(tied & ((1u << lane) - 1));
    ties += __popc(tied);
    if (i >= inside || key < threshold || (tie && rank < pruned)) continue;
    const unsigned offset = job.offsets[first + i];
    atomicOr(&job.mask_out[tile.word + offset / kWordBits], 1u << (offset % kWordBits));
    sum += double(T::magnitude(key));
    ++kept;
  }
  sum = warp_sum(sum);
  kept = warp_sum(kept);
  if (lane == 0) {
    job.tiles.after[t] += sum;
    job.tiles.kept[t] += kept;
  }
}

// The tile's bits again, from the weights: above the threshold they stay, at it beyond `pruned`. By
// a warp.
template <class T>
__device__ void keep_above(const Job& job, int64_t t, uint32_t threshold, int pruned) {
  using Bits = typename T::Bits;
  const Tile tile = tile_of(job.chunks, t);
  const Bits* weights = at<const Bits>(job.pointers, tile);
  const int lane = int(threadIdx.x) % kLanes;
  double sum = 0;
  int count = 0, ties = 0;
#pragma unroll 1
  for (int span = 0; span < tile.length; span += kWarpSpan) {
    const uint32_t words = span_word(job.mask_in, tile, span);
    uint32_t of_packs = 0;
    for_packs(weights, words, tile, span,
              [&](int step, int, unsigned alive, const Pack<Bits>& pack) {
                unsigned above = 0, tied = 0;
#pragma unroll
                for (int j = 0; j < Pack<Bits>::kSize; ++j) {
                  const uint32_t key = T::key(pack.values[j]);
                  if (key > threshold) above |= 1u << j;
                  if (key == threshold) tied |= 1u << j;
                }
                tied &= alive;
                const Ranked ranked(__popc(tied));
      // The first of the ties go.
#pragma unroll 1
                for (int left = pruned - ties - ranked.before; left > 0 && tied != 0; --left) {
                  tied &= tied - 1;
                }
                const unsigned stays = (above & alive) | tied;
                ties += ranked.all;
                add_magnitudes<T>(pack, stays, &sum);
                of_packs |= stays << (step * Span<Bits>::kPack);
              });
    const uint32_t kept = Span<Bits>::word_of(of_packs);
    const int word = span / int(kWordBits) + lane;
    if (word < words_of(tile.length)) job.mask_out[tile.word + word] = kept;
    count += __popc(kept);
  }
  sum = warp_sum(sum);
  count = warp_sum(count);
  if (lane == 0) {
    job.tiles.after[t] = sum;
    job.tiles.kept[t] = count;
  }
}

// Makes the mask of every tile what it should be, one warp a tile.
template <class T>
__global__ void __launch_bounds__(kThreads) settle(Job job) {
  let_next_come();
  await_launches();
  const State& state = *job.state;
  const int64_t t = int64_t(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (state.mode == Mode::kDone || t >= job.num_tiles) return;
  const uint32_t threshold = state.range.lo;
  const bool inside = state.mode == Mode::kInside;
  // Ties are counted only where they do not share a fate, and at an end.
  const int ties = state.tiles_have_ties ? job.tiles.ties[t] : int(kTile);
  const int pruned =
      t < state.last_tile ? ties : (t == state.last_tile ? int(state.last_quota) : 0);
  const bool has_candidates = job.tiles.inside[t] > 0;
  if (inside) {
    if (has_candidates) keep_candidates<T>(job, t, threshold, pruned);
    return;
  }
  // The scan has pruned candidates and the ties at the lower end, and kept those at the upper end.
  const bool is_right = (state.mode == Mode::kLoEnd && pruned == ties && !has_candidates) ||
                        (state.mode == Mode::kHiEnd && pruned == 0);
  if (!is_right) keep_above<T>(job, t, threshold, pruned);
}

// The sums under both masks; one block of threads a sum.
static __global__ void __launch_bounds__(kFoldThreads)
    fold(Job job, BlockOrder blocks, double* sums_before, double* sums_after) {
  await_launches();
  const bool dirty = *job.status != 0;
  const int64_t block = blockIdx.x;
  if (block < blocks.num_blocks) {
    fold_tiles(blocks, block, job.tiles.before, job.tiles.alive, dirty, sums_before);
  } else {
    fold_tiles(blocks, block - blocks.num_blocks, job.tiles.after, job.tiles.kept, dirty,
               sums_after);
  }
}

}  // namespace impcore::cuda
