// Packed masks: one bit a weight, least significant bit first, padding bits 0. A thread makes or
// reads a word.
#include <algorithm>

#include "common.cuh"

namespace impcore::cuda {

namespace {

// Four bools, a byte each, as four bits: every byte is folded to its lowest bit, and a product
// without carries brings these side by side.
__device__ __forceinline__ uint32_t nibble_of(uint32_t bytes) {
  bytes |= bytes >> 4;
  bytes |= bytes >> 2;
  bytes |= bytes >> 1;
  return (bytes & 0x01010101u) * 0x10204080u >> 28;
}

__device__ __forceinline__ uint32_t bytes_of(uint32_t nibble) {
  return nibble * 0x00204081u & 0x01010101u;
}

__device__ __forceinline__ int64_t global_index() {
  return int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
}

__global__ void __launch_bounds__(kThreads)
    pack_words(const uint8_t* __restrict__ bools, int64_t numel, uint32_t* __restrict__ words) {
  const int64_t w = global_index(), first = w * kWordBits;
  if (first >= numel) return;
  uint32_t bits = 0;
  if (first + kWordBits <= numel && is_aligned(bools)) {
    const auto* from = reinterpret_cast<const uint4*>(bools + first);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint4 bytes = from[half];
      const uint32_t four = nibble_of(bytes.x) | nibble_of(bytes.y) << 4 | nibble_of(bytes.z) << 8 |
                            nibble_of(bytes.w) << 12;
      bits |= four << (16 * half);
    }
  } else {
    const int64_t lanes = min(kWordBits, numel - first);
    for (int64_t i = 0; i < lanes; ++i) bits |= uint32_t(bools[first + i] != 0) << i;
  }
  words[w] = bits;
}

__global__ void __launch_bounds__(kThreads)
    unpack_words(const uint32_t* __restrict__ words, int64_t numel, uint8_t* __restrict__ bools) {
  const int64_t w = global_index(), first = w * kWordBits;
  if (first >= numel) return;
  const uint32_t bits = words[w];
  if (first + kWordBits <= numel && is_aligned(bools)) {
    auto* to = reinterpret_cast<uint4*>(bools + first);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t four = bits >> (16 * half);
      to[half] = make_uint4(bytes_of(four & 15u), bytes_of(four >> 4 & 15u),
                            bytes_of(four >> 8 & 15u), bytes_of(four >> 12 & 15u));
    }
  } else {
    const int64_t lanes = min(kWordBits, numel - first);
    for (int64_t i = 0; i < lanes; ++i) bools[first + i] = bits >> i & 1;
  }
}

__global__ void __launch_bounds__(kThreads) zero(int64_t* ones, int64_t count) {
  const int64_t i = global_index();
  if (i < count) ones[i] = 0;
}

// Adds what the threads of a block have found; integers, so the order does not matter.
__device__ __forceinline__ void add_of_block(int64_t* ones, int64_t mine) {
  mine = block_sum(mine);
  if (threadIdx.x == 0) {
    atomicAdd(reinterpret_cast<unsigned long long*>(ones), static_cast<unsigned long long>(mine));
  }
}

// Blocks of threads stride over the words, so that there are few additions to one place.
__global__ void __launch_bounds__(kThreads)
    count_words(const uint32_t* __restrict__ words, int64_t num_words, int64_t* ones) {
  int64_t mine = 0;
  for (int64_t w = global_index(); w < num_words; w += int64_t(gridDim.x) * blockDim.x) {
    mine += __popc(words[w]);
  }
  add_of_block(ones, mine);
}

// A block of threads counts a chunk.
__global__ void __launch_bounds__(kThreads)
    count_chunks(const Chunk* __restrict__ chunks, const uint32_t* __restrict__ words,
                 int64_t* each) {
  const Chunk chunk = chunks[blockIdx.x];
  int64_t mine = 0;
  for (int64_t w = threadIdx.x; w < words_of(chunk.length); w += blockDim.x) {
    mine += __popc(words[chunk.word + w]);
  }
  add_of_block(each + chunk.tensor, mine);
}

// A tensor's dimensions of size > 1, from the outermost to the innermost of the new storage order.
struct Permutation {
  static constexpr int kDims = 64;
  int64_t sizes[kDims];
  int64_t strides[kDims];  // in the old storage order
  int dims;

  __device__ __forceinline__ int64_t source_of(int64_t index) const {
    int64_t source = 0;
    for (int d = dims - 1; d >= 0; --d) {
      source += index % sizes[d] * strides[d];
      index /= sizes[d];
    }
    return source;
  }
};

// A warp makes a word, a lane one of its bits.
__global__ void __launch_bounds__(kThreads)
    permute_bits(const uint32_t* __restrict__ from, uint32_t* __restrict__ to, int64_t numel,
                 const __grid_constant__ Permutation order) {
  const int64_t index = global_index();
  bool bit = false;
  if (index < numel) {
    const int64_t source = order.source_of(index);
    bit = from[source / kWordBits] >> (source % kWordBits) & 1;
  }
  const uint32_t bits = __ballot_sync(kAllLanes, bit);
  if (index < numel && threadIdx.x % kLanes == 0) to[index / kWordBits] = bits;
}

}  // namespace

void pack(const uint8_t* bools, int64_t numel, uint32_t* words, Stream stream) {
  launch(pack_words, ceil_div(words_of(numel), kThreads), kThreads, stream, bools, numel, words);
}

void unpack(const uint32_t* words, int64_t numel, uint8_t* bools, Stream stream) {
  launch(unpack_words, ceil_div(words_of(numel), kThreads), kThreads, stream, words, numel, bools);
}

void count(const uint32_t* words, int64_t num_words, int64_t* ones, Stream stream) {
  constexpr int64_t kMaxBlocks = 1024;
  const int64_t blocks = std::min(ceil_div(num_words, kThreads), kMaxBlocks);
  launch(zero, 1, kThreads, stream, ones, int64_t(1));
  launch(count_words, blocks, kThreads, stream, words, num_words, ones);
}

void counts(const Chunk* chunks, int64_t num_chunks, const uint32_t* words, int64_t* each,
            int64_t tensors, Stream stream) {
  launch(zero, ceil_div(tensors, kThreads), kThreads, stream, each, tensors);
  launch(count_chunks, num_chunks, kThreads, stream, chunks, words, each);
}

void permute(const uint32_t* from, uint32_t* to, const std::vector<int64_t>& shape,
             const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides,
             Stream stream) {
  std::vector<size_t> dims;
  int64_t numel = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    numel *= shape[d];
    if (shape[d] > 1) dims.push_back(d);
  }
  if (dims.size() > size_t(Permutation::kDims)) throw Error("a mask has too many dimensions");
  std::sort(dims.begin(), dims.end(),
            [&](size_t a, size_t b) { return to_strides[a] > to_strides[b]; });
  Permutation order = {};
  for (const size_t d : dims) {
    order.sizes[order.dims] = shape[d];
    order.strides[order.dims++] = from_strides[d];
  }
  launch(permute_bits, ceil_div(numel, kThreads), kThreads, stream, from, to, numel, order);
}

}  // namespace impcore::cuda
