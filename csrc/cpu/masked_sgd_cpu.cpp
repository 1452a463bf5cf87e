// One step of SGD over many tensors: theta, gradient, momentum and mask bits are each read once.
#include <algorithm>

#include "ops.h"

namespace impcore::cpu {

namespace {

int64_t item_size(DType dtype) {
  return dtype == DType::kFloat64 ? 8 : dtype == DType::kFloat32 ? 4 : 2;
}

}  // namespace

void masked_sgd(const SgdTensors& t, const SgdScalars& scalars, int threads) {
  const ChunkKernels& kernels = chunk_kernels(t.dtype);
  const int64_t size = item_size(t.dtype);
  const std::vector<int64_t> blocks(t.numels.size(), 0);
  std::vector<Chunk> chunks(size_t(count_chunks(t.numels.data(), int64_t(t.numels.size()))));
  fill_chunks(t.numels.data(), blocks.data(), int64_t(t.numels.size()), chunks.data());
  // Waking a thread for less than a chunk's worth of weights does not pay.
  int64_t total = 0;
  for (const int64_t numel : t.numels) total += numel;
  const int useful = int(std::min(int64_t(threads), ceil_div(total, kChunkLength)));
  parallel_for(int64_t(chunks.size()), useful, [&](int64_t c) {
    const Chunk& chunk = chunks[size_t(c)];
    const size_t i = size_t(chunk.tensor);
    const auto at = [&](const std::vector<int64_t>& tensors) {
      return reinterpret_cast<char*>(tensors[i]) + chunk.offset * size;
    };
    const uint32_t* mask =
        t.words[i] < 0 ? nullptr : t.mask + t.words[i] + chunk.offset / kWordBits;
    kernels.sgd(at(t.weights), at(t.grads), t.momenta.empty() ? nullptr : at(t.momenta), mask,
                chunk.length, scalars);
  });
}

}  // namespace impcore::cpu
