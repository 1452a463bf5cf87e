// What the CPU ops share: how work is spread over threads.
//
// OpenMP through torch's own libgomp: a pool of our own would fight torch's spinning workers
// (csrc/README.md has the measurement). The number of threads is always passed in, never taken from
// the environment, so that torch.get_num_threads() rules (a DataLoader worker has set it to 1).
#pragma once

#include <omp.h>

#include <atomic>
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

// Deals out [0, count) to the threads of a parallel region: to each its own consecutive share, so
// that what one stage leaves in a core's cache is there for the next stage, and to whoever is done
// early what the others have left.
class Shares {
 public:
  Shares(int64_t count, int threads) : next_(size_t(threads)) {
    for (int t = 0; t < threads; ++t) {
      next_[size_t(t)].at.store(count * t / threads, std::memory_order_relaxed);
      next_[size_t(t)].end = count * (t + 1) / threads;
    }
  }

  // body(i) for all that the calling thread gets.
  template <class Body>
  void run(const Body& body) {
    const size_t mine = size_t(omp_get_thread_num());
    for (size_t t = 0; t < next_.size(); ++t) {
      Share& share = next_[(mine + t) % next_.size()];
      for (;;) {
        const int64_t i = share.at.fetch_add(1, std::memory_order_relaxed);
        if (i >= share.end) break;
        body(i);
      }
    }
  }

 private:
  struct alignas(64) Share {
    std::atomic<int64_t> at;
    int64_t end;
  };
  std::vector<Share> next_;
};

// body(i) for every i in [0, count), on up to `threads` threads. What body writes must depend on i
// alone; then no result depends on the number of threads.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
  if (threads <= 1 || count <= 1) {
    const KeepSubnormals guard;
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  Shares shares(count, threads);
#pragma omp parallel num_threads(threads)
  {
    const KeepSubnormals guard;
    shares.run(body);
  }
}

}  // namespace impcore::cpu
