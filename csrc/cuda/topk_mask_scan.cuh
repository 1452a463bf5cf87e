// Stage 1 of the selection: the only full read of the weights. Below the bracket the mask bit goes,
// above it stays, between them the weight becomes a candidate (and its bit goes, for now).
#pragma once

#include <cmath>

#include "topk_mask.cuh"

namespace impcore::cuda {

// What a bracket makes of a lane's weights, pack by pack.
template <class T>
struct Judged {
  double before = 0, after = 0;  // sums of |theta|: of the alive weights, and of those that stay
  // By packs_of's places: above the bracket's lower end; above it, and not below its upper end.
  uint32_t above_lo = 0, stays = 0;

  __device__ __forceinline__ void add(int step, unsigned alive, const Pack<typename T::Bits>& pack,
                                      uint32_t lo, uint32_t least) {
    constexpr int kPack = Pack<typename T::Bits>::kSize;
    unsigned above = 0, stay = 0;
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const uint32_t key = key_of<T>(pack, alive, j);  // a dead weight's is not above lo
      const double magnitude = double(T::magnitude(key));
      before += magnitude;
      after += key >= least ? magnitude : 0.0;
      above |= unsigned(key > lo) << j;
      stay |= unsigned(key >= least) << j;
    }
    above_lo |= above << (step * kPack);
    stays |= stay << (step * kPack);
  }
};

// Alive weights of a span that are not finite. The span is read again, word by word.
template <class T>
__device__ int count_non_finite(const typename T::Bits* weights, uint32_t words, int span) {
  const int lane = int(threadIdx.x) % kLanes;
  int count = 0;
#pragma unroll 1
  for (int w = 0; w < kLanes; ++w) {
    const uint32_t word = __shfl_sync(kAllLanes, words, w);
    if (word >> lane & 1) count += T::key(weights[span + w * kLanes + lane]) >= T::kInfinity;
  }
  return warp_sum(count);
}

// The bracket missed, or candidates found no room: the threshold is the rank-th smallest (1-based)
// of the `count` alive keys in a range, which every step reads all weights to narrow.
__device__ inline void search(State* state, Bracket range, int64_t rank, int64_t count) {
  state->mode = Mode::kExact;
  state->range = range;
  state->rank = rank > 0 ? rank : 1;
  // What holds if the range is a single key; a step says it anew.
  state->quota = rank;
  state->ties = Count(count);
}

// What the counts of the scan lead to. By one thread.
__device__ inline void judge(const Job& job) {
  State& state = *job.state;
  const Bracket bracket = state.bracket();
  const int64_t k = *job.k;
  const int64_t alive = int64_t(__ldcg(&state.alive));
  const int64_t up_to_lo = int64_t(__ldcg(&state.up_to_lo));
  const int64_t inside = int64_t(__ldcg(&state.inside));
  const int64_t non_finite = int64_t(__ldcg(&state.non_finite));
  *job.status = 0 <= k && k <= alive ? non_finite : -1;
  if (*job.status != 0) {
    state.mode = Mode::kDone;
    return;
  }
  const int64_t rank = k - up_to_lo;  // among the candidates
  Place place = place_of(k, up_to_lo, inside);
  // Rank 0 is below all candidates, with all ties at the lower end.
  if (place == Place::kInside && rank == 0 && inside > job.capacity) place = Place::kUpToLo;
  switch (place) {
    case Place::kUpToLo:
      state.mode = Mode::kLoEnd;
      state.range = Bracket{bracket.lo, bracket.lo};
      return;
    case Place::kInside:
      if (inside > job.capacity) {
        search(&state, Bracket{bracket.lo + 1, bracket.hi - 1}, rank, inside);
        return;
      }
      state.mode = Mode::kInside;
      state.rank = rank;
      state.range = rank > 0 ? bracket : Bracket{bracket.lo, bracket.lo};
      return;
    case Place::kFromHi:
      if (bracket.lo == bracket.hi) {
        search(&state, Bracket{bracket.hi + 1, kMaxKey}, rank, alive - up_to_lo);
        return;
      }
      state.mode = Mode::kHiEnd;
      state.range = Bracket{bracket.hi, bracket.hi};
  }
}

// A warp's candidates to their place in the workspace, as far as there is room, in storage order.
// Each lane has a word of them, and reads these few weights again.
template <class T>
__device__ void append(const Job& job, const typename T::Bits* weights, int first,
                       uint32_t candidates, int64_t to) {
  to += lanes_before(__popc(candidates));
#pragma unroll 1
  for (uint32_t left = candidates; left != 0 && to < job.capacity; left &= left - 1, ++to) {
    const int offset = first + __ffs(int(left)) - 1;
    job.keys[to] = T::key(weights[offset]);
    job.offsets[to] = uint16_t(offset);
  }
}

// What a warp found in its span, and the candidates of the warps before it.
struct Found {
  double before, after;
  int alive, kept, inside, first;
};

// One block of threads a tile (one in all, if there is none).
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(typename T::Bits) == 4 ? 6 : 4) scan(Job job) {
  using Bits = typename T::Bits;
  using S = Span<Bits>;
  __shared__ Found found[kWarps];
  __shared__ int64_t base;
  let_next_come();
  await_launches();
  State& state = *job.state;
  if (state.mode != Mode::kScan) return;

  if (blockIdx.x < job.num_tiles) {
    const Bracket bracket = state.bracket();
    const Tile tile = tile_of(job.chunks, blockIdx.x);
    const int warp = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes;
    const int span = warp * kWarpSpan;
    const uint32_t words = span_word(job.mask_in, tile, span);
    const Bits* weights = at<const Bits>(job.pointers, tile);
    // The smallest key that stays.
    const uint32_t least = bracket.hi > bracket.lo ? bracket.hi : bracket.lo + 1;
    Judged<T> judged;
    for_packs(weights, words, tile, span,
              [&](int step, int, unsigned alive, const Pack<Bits>& pack) {
                judged.add(step, alive, pack, bracket.lo, least);
              });
    const uint32_t kept = S::word_of(judged.stays);
    const uint32_t candidates = S::word_of(judged.above_lo & ~judged.stays);
    const int first = span + lane * int(kWordBits);
    if (first < tile.length) job.mask_out[tile.word + first / int(kWordBits)] = kept;

    const double before = warp_sum(judged.before), after = warp_sum(judged.after);
    // Three counts, of up to 1024 each.
    const int64_t counts =
        warp_sum(int64_t(__popc(words)) << 32 | __popc(kept) << 16 | __popc(candidates));
    if (lane == 0) {
      found[warp] = Found{
          before, after, int(counts >> 32), int(counts >> 16 & 0xffff), int(counts & 0xffff), 0};
    }
    // A sum of finite floats is finite in double.
    if (!std::isfinite(before)) {
      const int bad = count_non_finite<T>(weights, words, span);
      if (lane == 0) atomicAdd(&state.non_finite, Count(bad));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Found all = {};
#pragma unroll 2
      for (Found& one : found) {
        one.first = all.inside;
        all.before += one.before;
        all.after += one.after;
        all.alive += one.alive;
        all.kept += one.kept;
        all.inside += one.inside;
      }
      base = all.inside == 0 ? 0 : int64_t(atomicAdd(&state.inside, Count(all.inside)));
      if (all.alive != 0) atomicAdd(&state.alive, Count(all.alive));
      const int up_to_lo = all.alive - all.kept - all.inside;
      if (up_to_lo != 0) atomicAdd(&state.up_to_lo, Count(up_to_lo));
      const int64_t t = blockIdx.x;
      job.tiles.before[t] = all.before;
      job.tiles.after[t] = all.after;
      job.tiles.first[t] = base;
      job.tiles.alive[t] = all.alive;
      job.tiles.kept[t] = all.kept;
      job.tiles.inside[t] = all.inside;
    }
    __syncthreads();
    if (found[warp].inside > 0) {
      append<T>(job, weights, first, candidates, base + found[warp].first);
    }
  }
  if (is_last_block(&state.tickets[kHistograms]) && threadIdx.x == 0) judge(job);
}

}  // namespace impcore::cuda
