// Launches: a few blocks of a grid at a time, in turns, on poisoned shared memory.
#include <link.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <array>
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

// The blocks under way, each with what it has in shared memory while another has its turn.
class Turns {
 public:
  explicit Turns(const SharedMemory& shared) : shared_(shared) {
    if (shared.size == 0) at_once_ = 1;
    for (auto& kept : kept_) kept.resize(shared.size);
  }

  void run(const std::vector<unsigned>& order, unsigned threads,
           const std::function<void()>& thread, Random& random) {
    size_t next = 0, under_way = 0;
    bool busy[kAtOnce] = {};
    do {
      const size_t turn = size_t(random() % at_once_);
      if (!busy[turn] && next == order.size()) continue;
      take(turn);
      if (!busy[turn]) {
        static constexpr int kPoisons[] = {0xff, 0xa5, 0x7f};
        if (shared_.size) std::memset(shared_.begin, kPoisons[random() % 3], shared_.size);
        blocks()[turn].start(order[next++], threads, thread);
        busy[turn] = true;
        ++under_way;
      }
      for (size_t passes = passes_of_turn(random); busy[turn] && passes > 0; --passes) {
        if (blocks()[turn].pass(random)) busy[turn] = false, --under_way;
      }
    } while (under_way > 0 || next < order.size());
  }

 private:
  static constexpr size_t kAtOnce = 3;

  // Often few, sometimes many: a change of turns costs as much as several passes.
  static size_t passes_of_turn(Random& random) {
    return 1 + random() % (size_t(1) << (random() % 6));
  }

  static std::array<Block, kAtOnce>& blocks() {
    static std::array<Block, kAtOnce> all;
    return all;
  }

  void take(size_t turn) {
    if (turn == last_ || shared_.size == 0) return;
    std::memcpy(kept_[last_].data(), shared_.begin, shared_.size);
    std::memcpy(shared_.begin, kept_[turn].data(), shared_.size);
    last_ = turn;
  }

  SharedMemory shared_;
  size_t at_once_ = kAtOnce, last_ = 0;
  std::array<std::vector<char>, kAtOnce> kept_;
};

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

int barrier(int value, const char* name, Site site) {
  return Block::running->barrier(value, name, site);
}

uint64_t warp(Warp operation, unsigned mask, uint64_t value, int operand, int width, Site site) {
  return Block::running->warp(operation, mask, value, operand, width, site);
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
  Turns(shared).run(order, unsigned(threads), thread, random);
}

}  // namespace cuda_host

extern "C" void cuda_host_seed(uint64_t seed) {
  cuda_host::generator().seed(unsigned(seed % 2147483646) + 1);
}
