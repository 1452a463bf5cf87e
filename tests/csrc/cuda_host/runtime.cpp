// Launches: the blocks of a grid one after another, on poisoned shared memory.
#include <link.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <mutex>

#include "block.h"

CudaHostIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_host {

namespace {

constexpr int64_t kMaxThreads = 1024;

// All __shared__ variables of all kernels: the thread-local storage of this library.
struct SharedMemory {
  char* begin = nullptr;
  size_t size = 0;
};

#if !defined(__SANITIZE_ADDRESS__)
__thread char shared_anchor;

int find_shared(dl_phdr_info* info, size_t, void* found) {
  auto* shared = static_cast<SharedMemory*>(found);
  const char* data = static_cast<char*>(info->dlpi_tls_data);
  for (int i = 0; data && i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_TLS) continue;
    if (&shared_anchor < data || &shared_anchor >= data + header.p_memsz) continue;
    *shared = {static_cast<char*>(info->dlpi_tls_data), header.p_memsz};
    return 1;
  }
  return 0;
}
#endif

SharedMemory shared_memory() {
  SharedMemory shared;
#if !defined(__SANITIZE_ADDRESS__)
  shared_anchor = 1;  // makes it exist
  dl_iterate_phdr(find_shared, &shared);
  if (shared.begin == nullptr) throw std::logic_error("no shared memory found to poison");
#endif
  return shared;
}

Random& generator() {
  static Random random(1);
  return random;
}

// A device keeps subnormals, whatever torch.set_flush_denormal says of the host.
class KeepSubnormals {
 public:
#if defined(__x86_64__)
  KeepSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~0x8040u); }
  ~KeepSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

}  // namespace

int barrier(int value, const char* name, Site site) { return block().barrier(value, name, site); }

uint64_t warp(Warp operation, unsigned mask, uint64_t value, int operand, int width, Site site) {
  return block().warp(operation, mask, value, operand, width, site);
}

void run(int64_t grid, int64_t threads, const std::function<void()>& thread) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  if (grid < 1 || grid > 0x7fffffff || threads < 1 || threads > kMaxThreads) {
    throw std::runtime_error("CUDA emulator: invalid launch of " + std::to_string(grid) +
                             " blocks of " + std::to_string(threads) + " threads");
  }
  const KeepSubnormals guard;
  const SharedMemory shared = shared_memory();
  Random& random = generator();
  std::vector<unsigned> order(size_t(grid), 0);
  std::iota(order.begin(), order.end(), 0u);
  std::shuffle(order.begin(), order.end(), random);
  gridDim.x = unsigned(grid);
  blockDim.x = unsigned(threads);
  for (const unsigned at : order) {
    static constexpr int kPoisons[] = {0xff, 0xa5, 0x7f};
    if (shared.size) std::memset(shared.begin, kPoisons[random() % 3], shared.size);
    blockIdx.x = at;
    block().run(unsigned(threads), thread, random);
  }
}

}  // namespace cuda_host

extern "C" void cuda_host_seed(uint64_t seed) {
  cuda_host::generator().seed(unsigned(seed % 2147483646) + 1);
}
