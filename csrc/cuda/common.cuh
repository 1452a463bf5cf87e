// What the CUDA kernels share: launches, tiles, 16-byte packs of weights, and sums in a fixed
// order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "ops.h"

namespace impcore::cuda {

constexpr int kThreads = 256;
constexpr int kLanes = 32;
constexpr int kWarps = kThreads / kLanes;
constexpr unsigned kAllLanes = 0xffffffffu;

// What a block of threads works on: an eighth of a chunk, so that a small model still fills a GPU.
constexpr int64_t kTile = 8192;
constexpr int64_t kTilesPerChunk = kChunkLength / kTile;
constexpr int kWarpSpan = int(kTile) / kWarps;  // consecutive weights of one warp: 32 mask words

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw Error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

// Runs kernel(arguments...) on so many blocks of threads; nothing for no blocks.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, Stream stream,
            Arguments&&... arguments) {
  if (blocks == 0) return;
#if defined(IMPCORE_CUDA_HOST)
  (void)stream;
  cuda_host::launch(kernel, blocks, threads, arguments...);
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "a CUDA kernel could not be launched");
#endif
}

// Calls f(T{}) with the traits of the dtype (csrc/keys.h).
template <class F>
void with_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(Float32{});
    case DType::kBFloat16:
      return f(BFloat16{});
    case DType::kFloat16:
      return f(Float16{});
    case DType::kFloat64:
      break;
  }
  throw Error("masked weights must be float32, bfloat16 or float16");
}

// Tile t of a plan lies in chunk t / 8; tiles beyond the end of a short chunk are empty. Tiles come
// in the order of (tensor, offset).
struct Tile {
  int64_t tensor;
  int64_t offset;  // first element, in the tensor's storage order
  int64_t word;    // first word in the mask arena
  int length;      // elements
};

__device__ inline Tile tile_of(const Chunk* chunks, int64_t tile) {
  const Chunk& chunk = chunks[tile / kTilesPerChunk];
  const int64_t start = tile % kTilesPerChunk * kTile;
  const int64_t left = chunk.length - start;
  return Tile{chunk.tensor, chunk.offset + start, chunk.word + start / kWordBits,
              int(left < 0 ? 0 : (left < kTile ? left : kTile))};
}

template <class Bits>
__device__ Bits* at(const int64_t* pointers, const Tile& tile) {
  return reinterpret_cast<Bits*>(pointers[tile.tensor]) + tile.offset;
}

// As many weights as fit in 16 bytes.
template <class Bits>
struct Pack {
  static constexpr int kSize = 16 / int(sizeof(Bits));
  union {
    uint4 whole;
    Bits values[kSize];
  };
};

// Reads a pack, or those of its weights that are wanted (a bit each), and 0 for the others. `whole`
// says that all of it may be read at once: aligned to 16 bytes, and within the tensor.
template <class Bits>
__device__ __forceinline__ Pack<Bits> load(const Bits* from, unsigned wanted, bool whole) {
  Pack<Bits> pack;
  pack.whole = make_uint4(0, 0, 0, 0);
  if (wanted == 0) return pack;
  if (whole) {
    pack.whole = __ldcs(reinterpret_cast<const uint4*>(from));
  } else {
#pragma unroll
    for (int j = 0; j < Pack<Bits>::kSize; ++j) {
      if (wanted >> j & 1) pack.values[j] = from[j];
    }
  }
  return pack;
}

// Writes the first `left` weights of a pack, or all of it at once.
template <class Bits>
__device__ __forceinline__ void store(Bits* to, const Pack<Bits>& pack, int left, bool whole) {
  if (whole) {
    *reinterpret_cast<uint4*>(to) = pack.whole;
    return;
  }
#pragma unroll
  for (int j = 0; j < Pack<Bits>::kSize; ++j) {
    if (j < left) to[j] = pack.values[j];
  }
}

template <class Bits>
__device__ __forceinline__ bool is_aligned(const Bits* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// How a warp walks over its span: in steps of 32 packs, a pack a lane. The lanes' packs are
// consecutive, so that elements come in storage order: step, lane, place in the pack.
template <class Bits>
struct Span {
  static constexpr int kPack = Pack<Bits>::kSize;
  static constexpr int kStep = kLanes * kPack;
  static constexpr int kSteps = kWarpSpan / kStep;
  static constexpr unsigned kPackBits = (1u << kPack) - 1;

  // The mask bits of this lane's pack in a step, from the word that each lane holds.
  static __device__ __forceinline__ unsigned bits(uint32_t words, int step) {
    const int first = step * kStep + int(threadIdx.x) % kLanes * kPack;
    return __shfl_sync(kAllLanes, words, first / int(kWordBits)) >> (first % int(kWordBits)) &
           kPackBits;
  }
};

// This lane's mask word of a warp's span; 0 beyond the tile's end.
__device__ __forceinline__ uint32_t span_word(const uint32_t* mask, const Tile& tile, int span) {
  const int word = span / int(kWordBits) + int(threadIdx.x) % kLanes;
  return word < words_of(tile.length) ? mask[tile.word + word] : 0;
}

// body(step, first element in the tile, mask bits of the pack, pack) for every step of this warp's
// span of a tile; all lanes of a warp take part in each. Dead packs are not read. Four reads a lane
// are under way before the first is used.
template <class Bits, class Body>
__device__ __forceinline__ void for_packs(const Bits* weights, uint32_t words, const Tile& tile,
                                          int span, const Body& body) {
  using S = Span<Bits>;
  constexpr int kAtOnce = 4;
  static_assert(S::kSteps % kAtOnce == 0, "a span is read in whole batches");
  const bool aligned = is_aligned(weights);
  const int mine = span + int(threadIdx.x) % kLanes * S::kPack;
#pragma unroll 1
  for (int batch = 0; batch < S::kSteps; batch += kAtOnce) {
    Pack<Bits> packs[kAtOnce];
    unsigned bits[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int first = mine + (batch + i) * S::kStep;
      bits[i] = S::bits(words, batch + i);
      packs[i] = load(weights + first, bits[i], aligned && first + S::kPack <= tile.length);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      body(batch + i, mine + (batch + i) * S::kStep, bits[i], packs[i]);
    }
  }
}

template <class Value>
__device__ __forceinline__ Value warp_sum(Value value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// The sum over the block in a fixed order, on thread 0. All threads take part.
template <class Value>
__device__ Value block_sum(Value value) {
  __shared__ Value warps[kWarps];
  value = warp_sum(value);
  if (threadIdx.x % kLanes == 0) warps[threadIdx.x / kLanes] = value;
  __syncthreads();
  Value sum = 0;
  if (threadIdx.x == 0) {
    for (int w = 0; w < int(blockDim.x) / kLanes; ++w) sum += warps[w];
  }
  __syncthreads();
  return sum;
}

// Sums of one plan block over its tiles, in a fixed order: out[block] = sum of the values,
// out[num_blocks + block] = sum of the counts; 0 if `dirty`. For one block of threads.
__device__ inline void fold_tiles(const BlockOrder& blocks, int64_t block, const double* values,
                                  const int32_t* counts, bool dirty, double* out) {
  const int64_t end = blocks.first[block + 1] * kTilesPerChunk;
  double value = 0;
  int64_t count = 0;
  for (int64_t i = blocks.first[block] * kTilesPerChunk + threadIdx.x; i < end; i += blockDim.x) {
    const int64_t tile = blocks.order[i / kTilesPerChunk] * kTilesPerChunk + i % kTilesPerChunk;
    value += values[tile];
    count += counts[tile];
  }
  value = block_sum(value);
  count = block_sum(count);
  if (threadIdx.x == 0) {
    out[block] = dirty ? 0 : value;
    out[blocks.num_blocks + block] = dirty ? 0 : double(count);
  }
}

// Blocks of threads that fill the current device, for kernels that walk over their work.
inline int64_t filling_blocks() {
  int device = 0, processors = 0;
  check(cudaGetDevice(&device), "no current CUDA device");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
        "the CUDA device does not tell its size");
  return int64_t(processors) * 4;
}

}  // namespace impcore::cuda
