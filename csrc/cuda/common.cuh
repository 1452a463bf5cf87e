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

// Whether this build has code for sm_90 or newer, which knows how to be launched beside the kernel
// before it (below). A build without runs on newer devices too: they compile its PTX.
constexpr bool knows_overlap() {
#if defined(__CUDA_ARCH_LIST__)
  for (const int architecture : {__CUDA_ARCH_LIST__}) {
    if (architecture >= 900) return true;
  }
#endif
  return false;
}

// Whether a kernel may be launched so: the device's code knows how.
inline bool can_overlap() {
  if (!knows_overlap()) return false;
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "no current CUDA device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "the CUDA device does not tell its architecture");
  return major >= 9;
}

template <class... Parameters, class... Arguments>
void start(bool overlapping, void (*kernel)(Parameters...), int64_t blocks, int threads,
           Stream stream, Arguments&&... arguments) {
  if (blocks == 0) return;
#if defined(IMPCORE_CUDA_HOST)
  (void)stream;
  if (overlapping) return cuda_host::launch_next(kernel, blocks, threads, arguments...);
  cuda_host::launch(kernel, blocks, threads, arguments...);
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &overlap;
  config.numAttrs = overlapping && can_overlap() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "a CUDA kernel could not be launched");
#endif
}

// Runs kernel(arguments...) on so many blocks of threads; nothing for no blocks.
template <class Kernel, class... Arguments>
void launch(Kernel* kernel, int64_t blocks, int threads, Stream stream, Arguments&&... arguments) {
  start(false, kernel, blocks, threads, stream, arguments...);
}

// Likewise, right after another kernel of ours on the stream. That one begins with let_next_come
// and await_launches, this one with await_launches at least: so it may take its place on the device
// while the other still runs ("programmatic dependent launch"), and short kernels in a row do not
// pay for each other's start.
template <class Kernel, class... Arguments>
void launch_next(Kernel* kernel, int64_t blocks, int threads, Stream stream,
                 Arguments&&... arguments) {
  start(true, kernel, blocks, threads, stream, arguments...);
}

__device__ __forceinline__ void let_next_come() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Waits until all launches before are complete and what they wrote is visible. Every thread calls
// it before it touches memory, also those that then have nothing to do: the end of a launch must
// mean the end of all before it.
__device__ __forceinline__ void await_launches() {
#if defined(IMPCORE_CUDA_HOST)
  ++cuda_host::awaits;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
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
//
// The read at once stands alone under its condition, so that it becomes one predicated instruction,
// and several calls have their reads under way together.
template <class Bits>
__device__ __forceinline__ Pack<Bits> load(const Bits* from, unsigned wanted, bool whole) {
  Pack<Bits> pack;
  pack.whole = make_uint4(0, 0, 0, 0);
  if (wanted != 0 && whole) pack.whole = __ldcs(reinterpret_cast<const uint4*>(from));
  if (wanted != 0 && !whole) {
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
    // An assignment would be taken apart into stores of 4 bytes.
    __stcg(reinterpret_cast<uint4*>(to), pack.whole);
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
//
// Its 32 mask words, a lane each, hold as many bits as the lanes' packs of all steps together. So a
// lane can have either a word (32 consecutive weights), or the bits of its own packs, step by step.
template <class Bits>
struct Span {
  static constexpr int kPack = Pack<Bits>::kSize;
  static constexpr int kStep = kLanes * kPack;
  static constexpr int kSteps = kWarpSpan / kStep;
  static constexpr unsigned kPackBits = (1u << kPack) - 1;
  static_assert(kSteps * kPack == int(kWordBits), "a lane's packs have as many bits as a word");

  // From each lane's word to its packs' bits, and back. All lanes take part.
  static __device__ __forceinline__ uint32_t packs_of(uint32_t word) {
    const int lane = int(threadIdx.x) % kLanes;
    return transposed(__shfl_sync(kAllLanes, word, lane % kSteps * kPack + lane / kSteps));
  }
  static __device__ __forceinline__ uint32_t word_of(uint32_t packs) {
    const int lane = int(threadIdx.x) % kLanes;
    return __shfl_sync(kAllLanes, transposed(packs), lane % kPack * kSteps + lane / kPack);
  }

 private:
  // Of every kSteps lanes side by side: the i-th pack of the j-th lane for the j-th of the i-th.
  static __device__ __forceinline__ uint32_t transposed(uint32_t packs) {
    uint32_t low = 0x0000ffffu;  // alternating runs of `shift` bits
#pragma unroll
    for (int shift = 16; shift >= kPack; shift /= 2) {
      const uint32_t other = __shfl_xor_sync(kAllLanes, packs, shift / kPack);
      packs = threadIdx.x & unsigned(shift / kPack) ? (packs & ~low) | (other >> shift & low)
                                                    : (packs & low) | (other << shift & ~low);
      low ^= low << shift / 2;
    }
    return packs;
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
  const int last_whole = is_aligned(weights) ? tile.length - S::kPack : -1;
  const uint32_t alive = S::packs_of(words);
  const int mine = span + int(threadIdx.x) % kLanes * S::kPack;
#pragma unroll 1
  for (int batch = 0; batch < S::kSteps; batch += kAtOnce) {
    Pack<Bits> packs[kAtOnce];
    unsigned bits[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int first = mine + (batch + i) * S::kStep;
      bits[i] = alive >> ((batch + i) * S::kPack) & S::kPackBits;
      packs[i] = load(weights + first, bits[i], first <= last_whole);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      body(batch + i, mine + (batch + i) * S::kStep, bits[i], packs[i]);
    }
  }
}

// The keys of a pack's weights, and 0 where the mask bit is 0.
template <class T>
__device__ __forceinline__ uint32_t key_of(const Pack<typename T::Bits>& pack, unsigned alive,
                                           int j) {
  return alive >> j & 1 ? T::key(pack.values[j]) : 0;
}

// Adds |theta| of the weights of a pack that a bit each names, one after the other.
template <class T>
__device__ __forceinline__ void add_magnitudes(const Pack<typename T::Bits>& pack, unsigned bits,
                                               double* sum) {
#pragma unroll
  for (int j = 0; j < Pack<typename T::Bits>::kSize; ++j) {
    *sum += double(T::magnitude(key_of<T>(pack, bits, j)));
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
  __shared__ Value warps[kLanes];
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

constexpr int kFoldThreads = 1024;

// Sums of one plan block over its tiles, in a fixed order: out[block] = sum of the values,
// out[num_blocks + block] = sum of the counts; nothing is read and both are 0 if `dirty`. For one
// block of kFoldThreads threads, each of which has several reads under way.
__device__ inline void fold_tiles(const BlockOrder& blocks, int64_t block, const double* values,
                                  const int32_t* counts, bool dirty, double* out) {
  constexpr int kAtOnce = 4;
  const int64_t end = dirty ? 0 : blocks.first[block + 1] * kTilesPerChunk;
  double value = 0;
  int64_t count = 0;
  for (int64_t i = blocks.first[block] * kTilesPerChunk + threadIdx.x; i < end;
       i += kAtOnce * kFoldThreads) {
#pragma unroll
    for (int64_t j = i; j < i + kAtOnce * kFoldThreads; j += kFoldThreads) {
      const bool within = j < end;
      const int64_t chunk = within ? blocks.order[j / kTilesPerChunk] : 0;
      const int64_t tile = chunk * kTilesPerChunk + j % kTilesPerChunk;
      value += within ? values[tile] : 0;
      count += within ? counts[tile] : 0;
    }
  }
  value = block_sum(value);
  count = block_sum(count);
  if (threadIdx.x == 0) {
    out[block] = value;
    out[blocks.num_blocks + block] = double(count);
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
