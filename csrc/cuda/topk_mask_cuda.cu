// Exact global magnitude selection: sample, bracket, one full read, a small exact finish; and radix
// selection over everything where the bracket missed. csrc/README.md explains the stages.
//
// Eleven launches after one clear, and nothing read back: what a stage finds is in the state on the
// device, and decides what the next does. So a captured graph follows k and the masks from replay
// to replay.
#include <algorithm>

#include "topk_mask_finish.cuh"
#include "topk_mask_sample.cuh"
#include "topk_mask_scan.cuh"

namespace impcore::cuda {

int64_t topk_mask_workspace(int64_t num_chunks, int64_t total) {
  return Workspace(nullptr, num_chunks, total).bytes;
}

void topk_mask(const Weights& weights, int64_t total, const BlockOrder& blocks,
               const uint32_t* mask_in, uint32_t* mask_out, const int64_t* k, void* workspace,
               int64_t* status, double* sums_before, double* sums_after, const Bracket* forced,
               Stream stream) {
  const Workspace work(workspace, weights.num_chunks, total);
  const int64_t tiles = weights.num_chunks * kTilesPerChunk;
  check(cudaMemsetAsync(workspace, 0, size_t(work.cleared), static_cast<cudaStream_t>(stream)),
        "the workspace could not be cleared");
  const int64_t one = 1;
  const int64_t filling = std::max(one, std::min(filling_blocks(), tiles));
  const Bracket bracket = forced == nullptr ? Bracket{0, 0} : *forced;
  with_dtype(weights.dtype, [&](auto dtype) {
    using T = decltype(dtype);
    const Job job{weights.chunks, weights.num_chunks, tiles,     total,        weights.pointers,
                  mask_in,        mask_out,           k,         status,       work.state,
                  work.bins,      work.tiles,         work.keys, work.offsets, work.capacity,
                  kPlace<T>,      sample_share(total)};
    launch(sample<T>, std::max(one, weights.num_chunks), kThreads, stream, job, bracket,
           forced != nullptr);
    launch_next(refine, filling, kThreads, stream, job, kLo1);
    launch_next(refine, filling, kThreads, stream, job, kLo2);
    launch_next(scan<T>, std::max(one, tiles), kThreads, stream, job);
    for (int number = 0; number < 4; ++number) {
      launch_next(step<T>, filling, kThreads, stream, job, number);
    }
    launch_next(share_ties<T>, filling, kThreads, stream, job);
    launch_next(settle<T>, ceil_div(tiles, kWarps), kThreads, stream, job);
    launch_next(fold, 2 * blocks.num_blocks, kFoldThreads, stream, job, blocks, sums_before,
                sums_after);
  });
}

}  // namespace impcore::cuda
