// What the stages of a selection share: scratch memory, the state that leads from one launch to the
// next, and the search in a histogram.
//
// The launches are always the same; what each of them does, the state decides on the device. One
// that has nothing to do ends at once.
#pragma once

#include "common.cuh"

namespace impcore::cuda {

// What stands for a sampled key where the weight is dead, or where there is none: above every key.
constexpr uint32_t kDeadKey = 0x80000000u, kNoKey = 0xffffffffu;

// Weights in a place of the sample: 32 bytes, the least that memory moves.
template <class T>
constexpr int kPlace = 32 / int(sizeof(typename T::Bits));

using Count = unsigned long long;  // what atomics take

// Histograms, one for each digit that a launch may need.
enum Histogram { kSampled, kLo1, kHi1, kLo2, kHi2, kStep, kHistograms = kStep + 4 };

enum class Mode : int32_t {
  kScan,    // the bracket stands, nothing is known yet
  kInside,  // the threshold is a candidate's key
  kLoEnd,   // it is the bracket's lower end: the scan has pruned its ties
  kHiEnd,   // it is the upper end: the scan has kept its ties
  kExact,   // the bracket missed, or candidates found no room: radix selection over everything
  kDone     // the status is not clean
};

struct State {
  Mode mode;
  Count slots;             // of the sample, in the workspace
  Count sampled;           // weights, dead ones included
  int64_t living;          // of them alive
  uint32_t pivot;          // splits the sample at k's share of it, more or less
  Count spread;            // pairs of places << 32 | squares of how much they differ at the pivot
  Quantile lo, hi;         // the ends of the bracket
  Count alive;             // weights, by the scan
  Count up_to_lo, inside;  // likewise
  Count non_finite;        // likewise
  Bracket range;           // where the threshold is known to be
  int64_t rank;            // its rank there
  Count ties;              // weights at it
  bool tiles_have_ties;    // tiles.ties is filled
  int64_t quota;           // how many of the ties are pruned
  int64_t last_tile;       // ties before this tile are pruned, those after it are kept
  int64_t last_quota;      // and so many in it
  unsigned tickets[kHistograms + 3];

  __device__ Bracket bracket() const { return Bracket{lo.range.lo, hi.range.hi}; }
};

// What is known of each tile.
struct Tiles {
  double *before, *after;  // sums of |theta| under the two masks
  int64_t* first;          // of its candidates
  int32_t *alive, *kept;   // weights under the two masks
  int32_t *inside, *ties;  // candidates, and weights at the threshold
};

// One selection.
struct Job {
  const Chunk* chunks;
  int64_t num_chunks, num_tiles, total;
  const int64_t* pointers;
  const uint32_t* mask_in;
  uint32_t* mask_out;
  const int64_t* k;
  int64_t* status;
  State* state;
  Count* bins;  // [kHistograms][kBins]
  Tiles tiles;
  uint32_t* keys;  // of the candidates; of the samples before there are any
  uint16_t* offsets;
  int64_t capacity;
  int place;      // kPlace
  int64_t share;  // sample_share
};

// Sampled keys and candidates' keys share their bytes: the first are done with before the second
// appear. Tiles' candidates are side by side, in storage order.
struct Workspace {
  State* state;
  Count* bins;
  Tiles tiles;
  uint32_t* keys;
  uint16_t* offsets;
  int64_t capacity;
  int64_t bytes;
  int64_t cleared;  // bytes at the start that a selection begins with as zeros

  Workspace(void* base, int64_t num_chunks, int64_t total) : base_(static_cast<char*>(base)) {
    const int64_t num_tiles = num_chunks * kTilesPerChunk;
    // A chunk's sample takes whole rows of a warp.
    const int64_t per_row = SampleGrid<kLanes>(sample_share(total)).stride;
    const int64_t samples = (ceil_div(total, per_row) + num_chunks) * kLanes;
    // Room for 1.5 % of the weights, and for all of them in a small model.
    capacity = total / 1000 * 15 + kChunkLength;
    take(&state, 1);
    take(&bins, kHistograms * kBins);
    cleared = at_;
    take(&tiles.before, num_tiles);
    take(&tiles.after, num_tiles);
    take(&tiles.first, num_tiles);
    take(&tiles.alive, num_tiles);
    take(&tiles.kept, num_tiles);
    take(&tiles.inside, num_tiles);
    take(&tiles.ties, num_tiles);
    take(&keys, capacity > samples ? capacity : samples);
    take(&offsets, capacity);
    bytes = at_;
  }

 private:
  char* base_;
  int64_t at_ = 0;

  template <class Item>
  void take(Item** piece, int64_t count) {
    *piece = reinterpret_cast<Item*>(base_ + at_);
    at_ += ceil_div(count * int64_t(sizeof(Item)), 256) * 256;
  }
};

// Whether this is the last block of the grid to come here; what the others wrote is visible to it.
// One thread's fences do for the block: a fence is cumulative over the barriers beside it.
__device__ inline bool is_last_block(unsigned* ticket) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// The sum of the values of the lanes before this one.
template <class Value>
__device__ __forceinline__ Value lanes_before(Value value) {
  Value sum = value;
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const Value other = __shfl_up_sync(kAllLanes, sum, distance);
    if (int(threadIdx.x) % kLanes >= distance) sum += other;
  }
  return sum - value;
}

// The sum of the values of the threads before this one, and of all of them.
__device__ inline int64_t threads_before(int64_t value, int64_t* all) {
  __shared__ int64_t warps[kWarps];
  const int warp = int(threadIdx.x) / kLanes, lane = int(threadIdx.x) % kLanes;
  const int64_t before = lanes_before(value);
  if (lane == kLanes - 1) warps[warp] = before + value;
  __syncthreads();
  int64_t others = 0;
  *all = 0;
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) others += warps[w];
    *all += warps[w];
  }
  __syncthreads();
  return others + before;
}

// A histogram that is complete, spread over a block's threads. All of them take part in each call.
class Digit {
 public:
  __device__ explicit Digit(const Count* bins) {
    int64_t mine = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      counts_[i] = int64_t(__ldcg(bins + int(threadIdx.x) * kPerThread + i));
      mine += counts_[i];
    }
    before_ = threads_before(mine, &all_);
  }

  __device__ int64_t all() const { return all_; }

  // The bin that holds the rank-th smallest (1-based) becomes the new range; rank becomes relative
  // to it. Returns how many are in the bin. As `narrow` in plan.h.
  __device__ int64_t narrow(int shift, Bracket* range, int64_t* rank) const {
    __shared__ int64_t bin, below, count;
    int64_t before = before_;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (before < *rank && *rank <= before + counts_[i]) {
        bin = int64_t(threadIdx.x) * kPerThread + i;
        below = before;
        count = counts_[i];
      }
      before += counts_[i];
    }
    __syncthreads();
    const uint32_t start = range->lo + (uint32_t(bin) << shift);
    const uint32_t last = start + ((1u << shift) - 1);
    range->hi = last < range->hi ? last : range->hi;
    range->lo = start;
    *rank -= below;
    const int64_t found = count;
    __syncthreads();
    return found;
  }

 private:
  static constexpr int kPerThread = kBins / kThreads;
  int64_t counts_[kPerThread];
  int64_t before_, all_;  // in the bins of the threads before this one, and in all bins
};

// body(key) for every one of so many stored keys, by all blocks of the grid; kNoKey where there is
// none, so that all lanes of a warp take part in each call: in those for 32 keys side by side. Four
// reads a thread are under way before the first is used.
template <class Body>
__device__ __forceinline__ void for_stored(const uint32_t* keys, int64_t count, const Body& body) {
  constexpr int kAtOnce = 4;
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t start = int64_t(blockIdx.x) * kThreads; start < count; start += kAtOnce * stride) {
    uint32_t batch[kAtOnce];
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      const int64_t i = start + a * stride + threadIdx.x;
      batch[a] = i < count ? keys[i] : kNoKey;
    }
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) body(batch[a]);
  }
}

// A histogram of one block of threads.
struct BlockBins {
  unsigned counts[kBins];

  __device__ void clear() {
    for (int b = int(threadIdx.x); b < kBins; b += int(blockDim.x)) counts[b] = 0;
  }
  // All lanes take part. Lanes that agree with the first of them add as one: where most weights are
  // equal, they would wait for each other.
  __device__ __forceinline__ void add(bool counted, uint32_t bin) {
    const unsigned wanted = __ballot_sync(kAllLanes, counted);
    if (wanted == 0) return;
    const int first = __ffs(int(wanted)) - 1;
    const uint32_t of_first = __shfl_sync(kAllLanes, bin, first);
    const bool agrees = counted && bin == of_first;
    const unsigned same = __ballot_sync(kAllLanes, agrees);
    if (int(threadIdx.x) % kLanes == first) {
      atomicAdd(&counts[bin], unsigned(__popc(same)));
    } else if (counted && !agrees) {
      atomicAdd(&counts[bin], 1u);
    }
  }
  __device__ void flush(Count* bins) const {
    for (int b = int(threadIdx.x); b < kBins; b += int(blockDim.x)) {
      if (counts[b] != 0) atomicAdd(bins + b, Count(counts[b]));
    }
  }
};

// Whether the key is in the range; if so, its bin.
__device__ __forceinline__ bool bin_of(uint32_t key, const Bracket& range, int shift,
                                       uint32_t* bin) {
  const uint32_t above_lo = key - range.lo;  // below range.lo it wraps around
  *bin = above_lo >> shift;
  return above_lo <= range.hi - range.lo;
}

}  // namespace impcore::cuda
