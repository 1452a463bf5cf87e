// What the CPU ops share: how work is spread over threads.
//
// OpenMP through torch's own libgomp: a pool of our own would fight torch's spinning workers
// (csrc/README.md has the measurement). The number of threads is always passed in, never taken from
// the environment, so that torch.get_num_threads() rules (a DataLoader worker has set it to 1).
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../keys.h"
#include "../plan.h"
#include "simd/chunk_kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace impcore::cpu {

// A plan with the tensors it is applied to.
struct Weights {
  DType dtype;
  const Chunk* chunks;
  int64_t num_chunks;
  const std::vector<int64_t>& pointers;  // one a tensor

  int64_t item_size() const { return dtype == DType::kFloat32 ? 4 : 2; }
  char* at(const Chunk& chunk) const { return at(pointers, chunk); }
  char* at(const std::vector<int64_t>& tensors, const Chunk& chunk) const {
    return reinterpret_cast<char*>(tensors[size_t(chunk.tensor)]) + chunk.offset * item_size();
  }
};

// While it lives, this thread's arithmetic keeps subnormals, whatever torch.set_flush_denormal
// says.
class KeepSubnormals {
 public:
#if defined(__x86_64__)
  KeepSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~0x8040u); }
  ~KeepSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

// How many consecutive indices a thread takes at a time: several, so that most of what a loop
// prefetches past its end is its own, but few enough that all threads end together.
inline int64_t run_length(int64_t count, int threads) {
  return std::clamp(count / (16 * int64_t(threads)), int64_t(1), int64_t(4));
}

// body(i) for every i in [0, count), on up to `threads` threads. What body writes must depend on i
// alone; then no result depends on the number of threads.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    const KeepSubnormals guard;
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const int64_t run = run_length(count, threads);
#pragma omp parallel num_threads(threads)
  {
    const KeepSubnormals guard;
#pragma omp for schedule(dynamic, run)
    for (int64_t i = 0; i < count; ++i) body(i);
  }
}

}  // namespace impcore::cpu
