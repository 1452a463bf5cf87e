// The block sums of the magnitude flow: sum |m theta| and sum m per block (Redman et al., eq. 13).
#include <algorithm>
#include <vector>

#include "ops.h"

namespace impcore::cpu {

void block_l1(const Weights& weights, int64_t num_blocks, const uint32_t* mask, double* sums,
              int threads) {
  const ChunkKernels& kernels = chunk_kernels(weights.dtype);
  std::vector<double> partials(size_t(2 * weights.num_chunks));
  parallel_for(weights.num_chunks, threads, [&](int64_t c) {
    const Chunk& chunk = weights.chunks[c];
    int64_t alive = 0;
    kernels.block_l1(weights.at(chunk), mask + chunk.word, chunk.length, &partials[2 * c], &alive);
    partials[2 * c + 1] = double(alive);
  });
  // Folded in the order of the chunks: the same bits at any number of threads.
  std::fill(sums, sums + 2 * num_blocks, 0.0);
  for (int64_t c = 0; c < weights.num_chunks; ++c) {
    sums[weights.chunks[c].block] += partials[2 * c];
    sums[num_blocks + weights.chunks[c].block] += partials[2 * c + 1];
  }
}

}  // namespace impcore::cpu
