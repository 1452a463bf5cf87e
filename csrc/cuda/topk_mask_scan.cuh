// Stage 1 of the selection: the only full read of the weights. Below the bracket the mask bit goes,
// above it stays, between them the weight becomes a candidate (and its bit goes, for now).
#pragma once

#include <cmath>

#include "topk_mask.cuh"

namespace impcore::cuda {

// How many candidates of its span a warp can keep in shared memory: a quarter.
constexpr int kWarpRoom = kWarpSpan / 4;

struct WarpCandidates {
  uint32_t keys[kWarpRoom];
  uint16_t offsets[kWarpRoom];
};

// Calls emit(place, key, offset in the tile) for the candidates among a warp's packs, in storage
// order; `found` counts them. All lanes take part.
template <class T, class Emit>
__device__ __forceinline__ void for_candidates(unsigned candidates, int first,
                                               const Pack<typename T::Bits>& pack, int* found,
                                               const Emit& emit) {
  if (__ballot_sync(kAllLanes, candidates != 0) == 0) return;
  const int mine = __popc(candidates);
  int place = *found + lanes_before(mine);
  *found = __shfl_sync(kAllLanes, place + mine, kLanes - 1);
#pragma unroll
  for (int j = 0; j < Pack<typename T::Bits>::kSize; ++j) {
    if (candidates >> j & 1) emit(place++, T::key(pack.values[j]), uint16_t(first + j));
  }
}

// What a bracket makes of a pack: which of its alive weights are at or under its lower end, and
// which are candidates.
template <class T>
struct Judged {
  unsigned up_to_lo = 0, inside = 0;

  __device__ __forceinline__ Judged(const Pack<typename T::Bits>& pack, unsigned alive,
                                    const Bracket& bracket) {
#pragma unroll
    for (int j = 0; j < Pack<typename T::Bits>::kSize; ++j) {
      const uint32_t key = T::key(pack.values[j]);
      if (key <= bracket.lo) up_to_lo |= 1u << j;
      if (key < bracket.hi) inside |= 1u << j;
    }
    up_to_lo &= alive;
    inside &= alive & ~up_to_lo;
  }
};

// The sum of |theta| over the weights of a pack that a bit each names.
template <class T>
__device__ __forceinline__ double sum_of(const Pack<typename T::Bits>& pack, unsigned bits) {
  double sum = 0;
#pragma unroll
  for (int j = 0; j < Pack<typename T::Bits>::kSize; ++j) {
    sum += bits >> j & 1 ? double(T::magnitude(T::key(pack.values[j]))) : 0.0;
  }
  return sum;
}

// The mask word of each lane, from the bits that every lane has of its pack in a step: lanes of one
// word join theirs, and each lane takes the word that is its own.
template <class Bits>
__device__ __forceinline__ void take_words(unsigned bits, int step, uint32_t* mine) {
  using S = Span<Bits>;
  constexpr int kLanesPerWord = int(kWordBits) / S::kPack;
  constexpr int kWordsPerStep = kLanes / kLanesPerWord;
  const int lane = int(threadIdx.x) % kLanes;
  uint32_t word = bits << (lane % kLanesPerWord * S::kPack);
#pragma unroll
  for (int distance = 1; distance < kLanesPerWord; distance *= 2) {
    word |= __shfl_xor_sync(kAllLanes, word, distance);
  }
  const uint32_t of_step = __shfl_sync(kAllLanes, word, lane % kWordsPerStep * kLanesPerWord);
  if (lane / kWordsPerStep == step) *mine = of_step;
}

// Weights of a span that are not finite. The span is read again.
template <class T>
__device__ int count_non_finite(const typename T::Bits* weights, uint32_t words, const Tile& tile,
                                int span) {
  int count = 0;
  for_packs(weights, words, tile, span,
            [&](int, int, unsigned alive, const Pack<typename T::Bits>& pack) {
              for (int j = 0; j < Pack<typename T::Bits>::kSize; ++j) {
                count += (alive >> j & 1) && T::key(pack.values[j]) >= T::kInfinity;
              }
            });
  return warp_sum(count);
}

// What the counts of the scan lead to. By one thread.
__device__ inline void judge(const Job& job) {
  State& state = *job.state;
  const Bracket bracket = state.bracket();
  const int64_t k = *job.k;
  const int64_t up_to_lo = int64_t(__ldcg(&state.up_to_lo));
  const int64_t inside = int64_t(__ldcg(&state.inside));
  const int64_t non_finite = int64_t(__ldcg(&state.non_finite));
  if (non_finite > 0) {
    *job.status = non_finite;
    state.mode = Mode::kDone;
    return;
  }
  switch (place_of(k, up_to_lo, inside)) {
    case Place::kUpToLo:
      state.mode = Mode::kLoEnd;
      state.range = Bracket{bracket.lo, bracket.lo};
      return;
    case Place::kInside:
      if (inside > job.capacity) break;
      state.mode = Mode::kInside;
      state.rank = k - up_to_lo;
      // Rank 0: below all candidates.
      state.range = state.rank > 0 ? bracket : Bracket{bracket.lo, bracket.lo};
      return;
    case Place::kFromHi:
      if (bracket.lo == bracket.hi) break;
      state.mode = Mode::kHiEnd;
      state.range = Bracket{bracket.hi, bracket.hi};
      return;
  }
  state.mode = Mode::kExact;
  state.range = Bracket{0, kMaxKey};
  state.rank = k > 1 ? k : 1;
}

// One block of threads a tile (one in all, if there is none).
template <class T>
__global__ void __launch_bounds__(kThreads, sizeof(typename T::Bits) == 4 ? 4 : 2) scan(Job job) {
  using Bits = typename T::Bits;
  __shared__ WarpCandidates room[kWarps];
  __shared__ double before_of[kWarps], after_of[kWarps];
  __shared__ int alive_of[kWarps], kept_of[kWarps], inside_of[kWarps];
  __shared__ int64_t base;
  State& state = *job.state;
  if (state.mode != Mode::kScan) return;

  if (blockIdx.x < job.num_tiles) {
    const Bracket bracket = state.bracket();
    const Tile tile = tile_of(job.chunks, blockIdx.x);
    const int warp = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes;
    const int span = warp * kWarpSpan;
    const uint32_t words = span_word(job.mask_in, tile, span);
    const Bits* weights = at<const Bits>(job.pointers, tile);
    WarpCandidates& mine = room[warp];
    double before = 0, after = 0;
    uint32_t kept = 0;
    int found = 0;
    for_packs(weights, words, tile, span,
              [&](int step, int first, unsigned alive, const Pack<Bits>& pack) {
                const Judged<T> judged(pack, alive, bracket);
                const unsigned stays = alive & ~judged.up_to_lo & ~judged.inside;
                before += sum_of<T>(pack, alive);
                after += sum_of<T>(pack, stays);
                take_words<Bits>(stays, step, &kept);
                for_candidates<T>(judged.inside, first, pack, &found,
                                  [&](int place, uint32_t key, uint16_t offset) {
                                    if (place >= kWarpRoom) return;
                                    mine.keys[place] = key;
                                    mine.offsets[place] = offset;
                                  });
              });
    const int word = span / int(kWordBits) + lane;
    if (word < words_of(tile.length)) job.mask_out[tile.word + word] = kept;

    before = warp_sum(before);
    after = warp_sum(after);
    const int alive = warp_sum(__popc(words));
    const int stay = warp_sum(__popc(kept));
    if (lane == 0) {
      before_of[warp] = before;
      after_of[warp] = after;
      alive_of[warp] = alive;
      kept_of[warp] = stay;
      inside_of[warp] = found;
    }
    // A sum of finite floats is finite in double.
    if (!std::isfinite(before)) {
      const int bad = count_non_finite<T>(weights, words, tile, span);
      if (lane == 0) atomicAdd(&state.non_finite, Count(bad));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      double sum_before = 0, sum_after = 0;
      int alive = 0, kept = 0, inside = 0;
      for (int w = 0; w < kWarps; ++w) {
        sum_before += before_of[w];
        sum_after += after_of[w];
        alive += alive_of[w];
        kept += kept_of[w];
        inside += inside_of[w];
      }
      base = inside == 0 ? 0 : int64_t(atomicAdd(&state.inside, Count(inside)));
      if (alive != kept + inside) atomicAdd(&state.up_to_lo, Count(alive - kept - inside));
      const int64_t t = blockIdx.x;
      job.tiles.before[t] = sum_before;
      job.tiles.after[t] = sum_after;
      job.tiles.first[t] = base;
      job.tiles.alive[t] = alive;
      job.tiles.kept[t] = kept;
      job.tiles.inside[t] = inside;
    }
    __syncthreads();
    int64_t to = base;
    for (int w = 0; w < warp; ++w) to += inside_of[w];
    if (to + found <= job.capacity) {
      if (found <= kWarpRoom) {
        for (int i = lane; i < found; i += kLanes) {
          job.keys[to + i] = mine.keys[i];
          job.offsets[to + i] = mine.offsets[i];
        }
      } else {
        int again = 0;
        for_packs(weights, words, tile, span,
                  [&](int, int first, unsigned alive, const Pack<Bits>& pack) {
                    for_candidates<T>(Judged<T>(pack, alive, bracket).inside, first, pack, &again,
                                      [&](int place, uint32_t key, uint16_t offset) {
                                        job.keys[to + place] = key;
                                        job.offsets[to + place] = offset;
                                      });
                  });
      }
    }
  }
  if (is_last_block(&state.tickets[kHistograms]) && threadIdx.x == 0) judge(job);
}

}  // namespace impcore::cuda
