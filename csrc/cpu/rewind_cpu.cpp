// theta <- m ? source : +0, by selection: what a dead weight holds never matters.
#include "ops.h"

namespace impcore::cpu {

void rewind(const Weights& weights, const std::vector<int64_t>& sources, const uint32_t* mask,
            int threads) {
  const ChunkKernels& kernels = chunk_kernels(weights.dtype);
  const std::vector<int64_t>& from = sources.empty() ? weights.pointers : sources;
  parallel_for(weights.num_chunks, threads, [&](int64_t c) {
    const Chunk& chunk = weights.chunks[c];
    kernels.select(weights.at(chunk), weights.at(from, chunk), mask + chunk.word, chunk.length);
  });
}

}  // namespace impcore::cpu
