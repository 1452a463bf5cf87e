// The block sums of the magnitude flow: sum |m theta| and sum m per block (Redman et al., eq. 13).
#include "common.cuh"

namespace impcore::cuda {

namespace {

template <class T>
__global__ void __launch_bounds__(kThreads)
    l1_tile(const Chunk* chunks, const int64_t* pointers, const uint32_t* mask, double* values,
            int32_t* counts) {
  using Bits = typename T::Bits;
  let_next_come();
  await_launches();
  const Tile tile = tile_of(chunks, blockIdx.x);
  const int span = int(threadIdx.x) / kLanes * kWarpSpan;
  double sum = 0;
  int count = 0;
  if (span < tile.length) {
    const uint32_t words = span_word(mask, tile, span);
    count = __popc(words);
    for_packs(at<const Bits>(pointers, tile), words, tile, span,
              [&](int, int, unsigned alive, const Pack<Bits>& pack) {
                add_magnitudes<T>(pack, alive, &sum);
              });
  }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x == 0) {
    values[blockIdx.x] = sum;
    counts[blockIdx.x] = count;
  }
}

__global__ void __launch_bounds__(kFoldThreads)
    fold(BlockOrder blocks, const double* values, const int32_t* counts, double* sums) {
  await_launches();
  fold_tiles(blocks, blockIdx.x, values, counts, false, sums);
}

}  // namespace

int64_t block_l1_workspace(int64_t num_chunks) {
  return num_chunks * kTilesPerChunk * int64_t(sizeof(double) + sizeof(int32_t));
}

void block_l1(const Weights& weights, const BlockOrder& blocks, const uint32_t* mask,
              void* workspace, double* sums, Stream stream) {
  const int64_t tiles = weights.num_chunks * kTilesPerChunk;
  auto* values = static_cast<double*>(workspace);
  auto* counts = reinterpret_cast<int32_t*>(values + tiles);
  with_dtype(weights.dtype, [&](auto dtype) {
    launch(l1_tile<decltype(dtype)>, tiles, kThreads, stream, weights.chunks, weights.pointers,
           mask, values, counts);
  });
  launch_next(fold, blocks.num_blocks, kFoldThreads, stream, blocks, values, counts, sums);
}

}  // namespace impcore::cuda
