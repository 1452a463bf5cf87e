// A block's threads as fibers: each runs until it waits or exits, in passes over those that can.
//
// Invariant: passes bring every thread to its end or throw; none hangs at a barrier or a warp
// intrinsic.
#pragma once

#include <deque>
#include <numeric>
#include <random>
#include <sstream>
#include <vector>

#include "cuda_host.h"
#include "fiber.h"

namespace cuda_host {

constexpr unsigned kWarpSize = 32;
// A small, fast generator: one for every thread and pass is drawn from it.
using Random = std::minstd_rand;

enum class State : uint8_t { kReady, kAtBarrier, kAtWarp, kExited };

struct Thread {
  State state;
  Warp operation;
  const char* name;  // of the intrinsic
  Site site;
  unsigned mask;
  uint64_t value, result;
  int operand, width;
};

inline const char* name_of(Warp operation) {
  static constexpr const char* kNames[] = {"__syncwarp",       "__shfl_sync",     "__shfl_up_sync",
                                           "__shfl_down_sync", "__shfl_xor_sync", "__ballot_sync"};
  return kNames[int(operation)];
}

// What a shuffle's lane reads, as the programming guide has it: its own value if the source lies
// outside its segment.
inline unsigned source_lane(const Thread& t, unsigned lane) {
  const int width = t.width, segment = int(lane) / width * width, at = int(lane) - segment;
  int source = at;
  switch (t.operation) {
    case Warp::kIndex:
      source = int(unsigned(t.operand) % unsigned(width));
      break;
    case Warp::kUp:
      if (at >= t.operand) source = at - t.operand;
      break;
    case Warp::kDown:
      if (at + t.operand < width) source = at + t.operand;
      break;
    default:  // kXor
      if ((at ^ t.operand) < width) source = at ^ t.operand;
      break;
  }
  return unsigned(segment + source);
}

class Block {
 public:
  // Makes the threads of block `index` ready.
  void start(unsigned index, unsigned count, const std::function<void()>& body) {
    index_ = index;
    count_ = count;
    body_ = &body;
    error_.clear();
    at_barrier_ = exited_ = 0;
    sum_ = 0;
    threads_.assign(count, Thread{});
    arrived_.assign((count + kWarpSize - 1) / kWarpSize, 0u);
    while (fibers_.size() < count) fibers_.emplace_back(fibers_.size());
    for (unsigned i = 0; i < count; ++i) fibers_[i].start(&Block::entry);
  }

  // Runs each thread that is ready, once, in an order of its own. Whether all have ended.
  bool pass(Random& random) {
    running = this;
    blockIdx.x = index_;
    unsigned stride = 1 + unsigned(random() % count_);
    while (std::gcd(stride, count_) != 1) ++stride;
    unsigned i = unsigned(random() % count_);
    bool progress = false;
    for (unsigned done = 0; done < count_; ++done, i = (i + stride) % count_) {
      if (threads_[i].state != State::kReady) continue;
      progress = true;
      current_ = i;
      threadIdx.x = i;
      fibers_[i].enter();
      if (!error_.empty()) report(error_);
    }
    if (!progress) report("deadlock");
    return exited_ == count_;
  }

  // The block of the last pass.
  static inline Block* running = nullptr;

  int barrier(int value, const char* name, Site site) {
    Thread& self = wait(State::kAtBarrier, name, site);
    sum_ += value;
    if (++at_barrier_ == count_) release_barrier();
    yield();
    return int(self.result);
  }

  uint64_t warp(Warp operation, unsigned mask, uint64_t value, int operand, int width, Site site) {
    const unsigned lane = current_ % kWarpSize;
    Thread& self = wait(State::kAtWarp, name_of(operation), site);
    self.operation = operation;
    self.mask = mask;
    self.value = value;
    self.operand = operand;
    self.width = width;
    if (!(mask >> lane & 1)) fail("the mask does not name the calling lane");
    unsigned& arrived = arrived_[current_ / kWarpSize];
    arrived |= 1u << lane;
    if ((arrived & mask) == mask) {
      arrived &= ~mask;
      release_warp(self);
    }
    yield();
    return self.result;
  }

 private:
  static void entry();

  Thread& wait(State state, const char* name, Site site) {
    Thread& self = threads_[current_];
    self.state = state;
    self.name = name;
    self.site = site;
    return self;
  }

  void yield() { fibers_[current_].leave(); }

  // Ends the launch; the block's fibers are given up where they stand.
  [[noreturn]] void fail(const std::string& what) {
    error_ = what;
    yield();
    __builtin_unreachable();
  }

  void release_barrier() {
    const Thread& self = threads_[current_];
    for (Thread& t : threads_) {
      if (t.site.line != self.site.line || std::strcmp(t.name, self.name) != 0) {
        fail("threads of one block are at different barriers");
      }
      t.state = State::kReady;
      t.result = uint64_t(sum_);
    }
    at_barrier_ = 0;
    sum_ = 0;
  }

  void release_warp(const Thread& self) {
    Thread* lanes = &threads_[current_ / kWarpSize * kWarpSize];
    unsigned ballot = 0;
    for (unsigned left = self.mask; left; left &= left - 1) {
      const unsigned lane = unsigned(__builtin_ctz(left));
      const Thread& t = lanes[lane];
      if (t.operation != self.operation || t.mask != self.mask || t.site.line != self.site.line) {
        fail("lanes of one warp are at different intrinsics");
      }
      ballot |= unsigned(t.value != 0) << lane;
    }
    const bool shuffles = self.operation != Warp::kSync && self.operation != Warp::kBallot;
    for (unsigned left = self.mask; left; left &= left - 1) {
      const unsigned lane = unsigned(__builtin_ctz(left));
      const unsigned source = shuffles ? source_lane(lanes[lane], lane) : lane;
      if (!(self.mask >> source & 1)) fail("a lane reads from one that the mask does not name");
      lanes[lane].result = shuffles ? lanes[source].value : ballot;
      lanes[lane].state = State::kReady;
    }
  }

  [[noreturn]] void report(const std::string& what) const {
    std::ostringstream out;
    out << "CUDA emulator: " << what << " in block " << blockIdx.x << " of " << gridDim.x << ":";
    for (unsigned i = 0; i < count_;) {
      unsigned end = i + 1;
      while (end < count_ && same_place(threads_[i], threads_[end])) ++end;
      const Thread& t = threads_[i];
      out << "\n  threads " << i << " to " << end - 1 << ": ";
      if (t.state == State::kExited) {
        out << "exited";
      } else if (t.state == State::kReady) {
        out << "ready";
      } else {
        out << "wait at " << t.name << ", " << t.site.file << ":" << t.site.line;
        if (t.state == State::kAtWarp) out << ", mask 0x" << std::hex << t.mask << std::dec;
      }
      i = end;
    }
    throw std::runtime_error(out.str());
  }

  static bool same_place(const Thread& a, const Thread& b) {
    if (a.state != b.state) return false;
    if (a.state == State::kReady || a.state == State::kExited) return true;
    return std::strcmp(a.name, b.name) == 0 && a.site.line == b.site.line &&
           (a.state == State::kAtBarrier || a.mask == b.mask);
  }

  unsigned index_ = 0, count_ = 0, current_ = 0, at_barrier_ = 0, exited_ = 0;
  int sum_ = 0;
  const std::function<void()>* body_ = nullptr;
  std::string error_;
  std::vector<Thread> threads_;
  std::vector<unsigned> arrived_;  // a warp's lanes at a warp intrinsic
  std::deque<Fiber> fibers_;
};

inline void Block::entry() {
  Fiber::entered();
  Block& self = *running;
  (*self.body_)();
  self.threads_[self.current_].state = State::kExited;
  ++self.exited_;
  self.yield();
  __builtin_unreachable();
}

}  // namespace cuda_host
