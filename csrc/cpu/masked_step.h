// What the optimisers' steps share: one pass in chunks over many tensors.
#pragma once

#include <algorithm>

#include "ops.h"

namespace impcore::cpu {

// body(tensor's index, the chunk's rows, its mask words (null: all ones), its length) for every
// chunk of every tensor, in parallel.
template <class Body>
void for_step_chunks(const StepTensors& t, int threads, const Body& body) {
  const int64_t size = t.dtype == DType::kFloat64 ? 8 : t.dtype == DType::kFloat32 ? 4 : 2;
  const int64_t count = int64_t(t.numels.size());
  const std::vector<int64_t> blocks(t.numels.size(), 0);
  std::vector<Chunk> chunks(size_t(count_chunks(t.numels.data(), count)));
  fill_chunks(t.numels.data(), blocks.data(), count, chunks.data());
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
    StepRows rows{at(t.weights), at(t.grads), {}};
    for (size_t s = 0; s < t.states.size(); ++s) rows.states[s] = at(t.states[s]);
    const uint32_t* mask =
        t.words[i] < 0 ? nullptr : t.mask + t.words[i] + chunk.offset / kWordBits;
    body(i, rows, mask, chunk.length);
  });
}

}  // namespace impcore::cpu
